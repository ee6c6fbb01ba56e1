"""The JSON Schema of pipeline files, for editors that complete and check TOML."""

from typing import Any

import msgspec

from edge.config.types import RuntimeConfig


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a pipeline file. TOML has no null, so a key without a default is simply optional."""
    schema: dict[str, Any] = _without_null(msgspec.json.schema(RuntimeConfig))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "edge pipeline file", **schema}


def _without_null(node: Any) -> Any:
    if isinstance(node, list | tuple):
        return [_without_null(item) for item in node if item != {"type": "null"}]
    if not isinstance(node, dict):
        return node
    cleaned = {key: _without_null(value) for key, value in node.items() if value is not None}
    alternatives = cleaned.get("anyOf", ())
    if len(alternatives) == 1:
        del cleaned["anyOf"]
        cleaned = {**alternatives[0], **cleaned}
    return cleaned
