"""What was found wrong so far. Owns the rule that a consequence of a known problem is not reported as a second one."""

import difflib
from collections.abc import Iterable
from typing import Any

from edge.config.describe import toml_key
from edge.errors import Problem

_COMPARED = 5000  # names that are tried as a hint: comparing costs up to 10 us each


class Findings:
    """Problems of one file, and the keys that cannot be relied on because of them.

    Attributes:
        problems: in the order in which they were found.
    """

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._unsound: set[str] = set()
        self._above: set[str] = set()

    def add(self, path: str, reason: str, hint: str = "", needs: Iterable[str] = ()) -> None:
        """Note a problem, unless it follows from one that is noted already.

        Args:
            path: the key that must be changed; no later problem is noted for it.
            reason: what is wrong and what would be right.
            hint: nearest valid name, or empty.
            needs: other keys that the reason relies on.
        """
        if self.is_sound(path, *needs):
            self.problems.append(Problem(path, reason, hint))
            self.distrust(path)

    def distrust(self, path: str) -> None:
        """Nothing that relies on this key is noted from now on."""
        self._unsound.add(path)
        self._above.update(_parents(path))

    def is_sound(self, *paths: str) -> bool:
        """Whether no problem is known of these keys, of the tables they are in, and of anything in them."""
        return not any(path in self._above or self._unsound & {path, *_parents(path)} for path in paths)


def in_file_order(problems: list[Problem], tables: dict[str, Any]) -> list[Problem]:
    """Problems as a reader comes across them; what is missing comes with the table that it is missing from.

    Args:
        problems: of one file.
        tables: what TOML made of the file, in its order.
    """
    places: dict[str, int] = {}

    def walk(value: Any, path: str) -> None:
        places.setdefault(path, len(places))
        inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, below in inner:
            walk(below, join(path, key) if isinstance(key, str) else f"{path}[{key}]")

    def place(problem: Problem) -> int:
        return next((places[path] for path in (problem.path, *reversed(_parents(problem.path))) if path in places), 0)

    walk(tables, "")
    return sorted(problems, key=place)


def join(path: str, key: str) -> str:
    """The path of a key in the table at ``path``; quoted the way TOML wants it."""
    return f"{path}.{toml_key(key)}" if path else toml_key(key)


def near(name: str, valid: Iterable[str]) -> str:
    """The valid name that comes closest, or empty."""
    names = list(valid)[:_COMPARED]
    alike = next((other for other in names if other.lower() == name.lower()), None)
    return alike or next(iter(difflib.get_close_matches(name, names, n=1)), "")


def _parents(path: str) -> list[str]:
    """The tables that a key is in, outermost first; a quoted name counts as one."""
    parents: list[str] = []
    is_quoted = is_escaped = False
    for i, c in enumerate(path):
        if c == '"' and not is_escaped:
            is_quoted = not is_quoted
        elif c in ".[" and not is_quoted:
            parents.append(path[:i])
        is_escaped = c == "\\" and not is_escaped
    return parents
