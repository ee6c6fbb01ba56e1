"""Names of features and labels as they are written: one by one, in ranges, in text or TOML files."""

import re
import tomllib
from pathlib import Path

from edge.errors import BundleError

MOST_NAMES = 1 << 20
_RANGE = re.compile(r"(.*)\[(\d{1,7})-(\d{1,7})\](.*)", re.DOTALL)


def expand(text: str) -> list[str]:
    """``pixel[0-3]`` is ``pixel[0]``, ``pixel[1]``, ``pixel[2]``, ``pixel[3]``; anything else is itself.

    Raises:
        BundleError: a range that ends before it begins, or is too long.
    """
    match = _RANGE.fullmatch(text)
    if match is None:
        return [text]
    first, last = int(match[2]), int(match[3])
    if not first <= last < first + MOST_NAMES:
        raise BundleError(f"{text!r}: a range rises and has at most {MOST_NAMES} names, such as pixel[0-150527]")
    return [f"{match[1]}[{i}]{match[4]}" for i in range(first, last + 1)]


def read_labels(text: str) -> list[str]:
    """``calm,shaken`` or ``class[0-999]``.

    Raises:
        BundleError: an empty name.
    """
    found = [name for part in text.split(",") for name in expand(part.strip())]
    if not all(found):
        raise BundleError(f"--labels {text!r}: has an empty name; write a,b,c")
    return found


def read_features(path: Path) -> tuple[list[str], list[str]]:
    """Names and units.

    A text file has a name a line, with a unit after it (``imu.ax.std.2s m/s^2``); a TOML file has ``[[features]]`` with ``name`` and
    ``unit``, or ``features = ["a", "b"]``. So the manifest of another version is such a file.

    Raises:
        BundleError: cannot be read, names nothing, or names something twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as e:
        raise BundleError(f"{path}: cannot be read: {e}; a text file with one feature a line is right") from e
    pairs = _from_toml(path, text) if path.suffix == ".toml" else _from_lines(text)
    names = [name for written, _ in pairs for name in expand(written)]
    units = [unit for written, unit in pairs for _ in expand(written)]
    if not names:
        raise BundleError(f"{path}: names no feature; write one a line, such as: imu.ax.std.2s m/s^2")
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})[:3]
        raise BundleError(f"{path}: {', '.join(twice)} is there more than once; every feature has a name of its own")
    return names, units


def _from_lines(text: str) -> list[tuple[str, str]]:
    lines = [line.split("#", 1)[0].split() for line in text.splitlines()]
    return [(words[0], " ".join(words[1:]) or "1") for words in lines if words]


def _from_toml(path: Path, text: str) -> list[tuple[str, str]]:
    try:
        entries = tomllib.loads(text).get("features", [])
    except (ValueError, RecursionError) as e:
        raise BundleError(f"{path}: not readable as TOML: {e}") from e
    pairs = []
    for entry in entries if isinstance(entries, list) else [entries]:
        table = entry if isinstance(entry, dict) else {"name": entry}
        name, unit = table.get("name"), table.get("unit", "1")
        if not (isinstance(name, str) and name and isinstance(unit, str)):
            wrong = "; a pipeline file is given with --pipeline" if "stats" in table else ""
            raise BundleError(f"{path}: features: {entry!r} has no name; write [[features]] with name and unit{wrong}")
        pairs.append((name, unit))
    return pairs
