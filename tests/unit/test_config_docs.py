"""The reference and the schema are those of the types, and the example in the reference is right."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from edge.cli.main import main
from edge.config import reference
from edge.config.load import loads
from edge.config.schema import json_schema
from edge.config.types import RuntimeConfig

STALE = f"run: {reference.COMMAND}"


def test_the_reference_is_up_to_date() -> None:
    assert (reference.DOCS / "pipeline.md").read_text(encoding="utf-8") == reference.document(), STALE


def test_the_schema_is_up_to_date() -> None:
    assert (reference.DOCS / "pipeline.schema.json").read_text(encoding="utf-8") == reference.schema_text(), STALE


def test_the_example_of_the_reference_passes_the_check(tmp_path: Path) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", reference.document(), re.DOTALL)
    assert blocks == [reference.EXAMPLE]
    assert isinstance(loads(blocks[0], tmp_path), RuntimeConfig)


def test_every_key_has_a_meaning() -> None:
    rows = [line.split(" | ") for line in reference.document().splitlines() if re.match(r"\| `\w+` \| .* \| .* \| .* \|", line)]
    assert len(rows) > 60
    assert all(row[-1].strip(" |") for row in rows)


def test_the_command_prints_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json_schema()


def test_the_schema_knows_every_table_and_no_null() -> None:
    schema = json_schema()
    assert {"Broker", "Stream", "Clean", "Features", "Model", "Rule", "Ramp", "Actuator", "PublishStatus"} <= set(schema["$defs"])
    assert all(table["additionalProperties"] is False for table in schema["$defs"].values())
    assert not list(_nulls(schema))


def _nulls(node: Any) -> list[Any]:
    if isinstance(node, dict):
        return [found for value in node.values() for found in _nulls(value)]
    if isinstance(node, list):
        return [found for value in node for found in _nulls(value)]
    return [node] if node is None or node == "null" else []
