"""What a check is given and what it gives back."""

from pathlib import Path
from typing import Literal

import msgspec

from edge.config.types import RuntimeConfig

State = Literal["OK", "WARN", "FAIL"]
OK: State = "OK"
WARN: State = "WARN"
FAIL: State = "FAIL"

BUDGET_MS = 5.0  # of a machine in general


class Subject(msgspec.Struct, frozen=True):
    """What is examined.

    Args:
        config: of the pipeline file; None: a machine in general.
        folder: of the file.
        seconds: how long the jitter is measured.
    """

    config: RuntimeConfig | None
    folder: Path
    seconds: float

    @property
    def budget_ms(self) -> float:
        """What a frame may take."""
        return BUDGET_MS if self.config is None else self.config.budget_ms


class Finding(msgspec.Struct, frozen=True):
    """One result.

    Args:
        name: of the check.
        state: WARN: it works, but not as well as it could; FAIL: something that the pipeline file says cannot be kept.
        found: what was seen or measured.
        meaning: what follows from it; "" when all is well.
        mend: what to do; "" when all is well.
        measured: numbers, by name with unit.
    """

    name: str
    state: State
    found: str
    meaning: str = ""
    mend: str = ""
    measured: dict[str, float] = {}


def judge(value: float, warn: float, fail: float) -> State:
    """The state of a number of which less is better."""
    return FAIL if value >= fail else WARN if value >= warn else OK
