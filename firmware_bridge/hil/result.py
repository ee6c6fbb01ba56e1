"""What a run of a scenario found."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Check:
    """One expectation: what it says, what was found, and whether it holds."""

    what: str
    found: str
    holds: bool


@dataclass(frozen=True)
class Series:
    """One channel by the board's clock: seconds since the loop was closed."""

    name: str
    unit: str
    times_s: list[float]
    values: list[float]


@dataclass
class Result:
    """A run. `error` says why it ended early, if it did."""

    name: str
    title: str
    board: str
    seed: int
    seconds: float = 0.0
    checks: list[Check] = field(default_factory=list)
    figures: dict[str, str] = field(default_factory=dict)
    series: list[Series] = field(default_factory=list)
    marks: list[tuple[float, str]] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    error: str = ""

    @property
    def passed(self) -> bool:
        """Whether the run came to its end and every expectation holds."""
        return not self.error and bool(self.checks) and all(check.holds for check in self.checks)
