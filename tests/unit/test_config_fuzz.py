"""Whatever is done to a file, loading it gives a config or a ConfigError, and what loads can be built."""

import copy
import tomllib
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.build import feature_plan
from edge.config.check import find_problems
from edge.config.describe import toml_value
from edge.config.effective import to_toml
from edge.config.findings import Findings
from edge.config.load import loads
from edge.config.typed import typed
from tests.unit.config_files import BUNDLES, FULL, problems

TABLES = tomllib.loads(FULL)
ODD: list[Any] = [
    "", 0, 1, -1, 1.5, True, [], {}, [1], {"a": 1}, "x",
    "1s", "0s", "{device}", "a/{device}", "\0", "nan", float("inf"), float("nan"),
    10**30, 1e300, 5e-324, "mqtts://[::1]", "mqtts://[", "mqtt://h:99999", "9" * 400 + "h", [[1]], [{}], [""],
    "imu", "shaken", "alert", "command",
]  # fmt: skip


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [path, *(place for key, item in items for place in places(item, (*path, key)))]


def at(node: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        node = node[key]
    return node


def edit(tables: Any, data: st.DataObject) -> None:
    there = places(tables)[1:]
    if not there:
        return
    path = data.draw(st.sampled_from(there))
    holder, key = at(tables, path[:-1]), path[-1]
    action = data.draw(st.sampled_from(["drop", "rename", "retype", "swap", "repeat"]))
    if action == "drop":
        del holder[key]
    elif action == "rename" and isinstance(holder, dict):
        holder[data.draw(st.sampled_from([str(key)[:-1], str(key) + "x", "", "a.b", 'q"', "seq", "ax", "shaken"]))] = holder.pop(key)
    elif action == "swap":
        other = data.draw(st.sampled_from(there))
        try:
            value = copy.deepcopy(at(tables, other))
        except (KeyError, IndexError, TypeError):
            return
        holder[key] = value
    elif action == "repeat" and isinstance(holder, list):
        holder.append(copy.deepcopy(holder[key]))
    else:
        # A copy: a later edit of this value must not reach the next example.
        holder[key] = copy.deepcopy(data.draw(st.sampled_from(ODD) | st.floats() | st.integers() | st.text(max_size=20)))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_edit_gives_a_config_that_can_be_built_or_a_config_error(data: st.DataObject) -> None:
    tables = copy.deepcopy(TABLES)
    for _ in range(data.draw(st.integers(1, 4))):
        edit(tables, data)
    tables.get("model", {}).update(bundle=str(BUNDLES / "watch-linear")) if isinstance(tables.get("model"), dict) else None
    found = Findings()
    config = typed(tables, found)
    find_problems(config, found)
    assert all(problem.path and problem.reason for problem in found.problems)
    if found.problems:
        return
    feature_plan(config)
    again = loads(to_toml(config, hide=False), BUNDLES)
    assert again == config


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_text_gives_a_config_or_a_config_error(data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(FULL)))
    length = data.draw(st.integers(0, 40))
    text = FULL[:cut] + data.draw(st.text(max_size=8)) + FULL[cut + length :]
    assert isinstance(problems(text), list)


@settings(max_examples=200)
@given(st.text(st.characters(exclude_categories=["Cs"])) | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.booleans())
def test_values_survive_toml(value: Any) -> None:
    assert tomllib.loads(f"x = {toml_value(value)}")["x"] == value
