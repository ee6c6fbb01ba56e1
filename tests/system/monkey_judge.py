"""What must be true after everything that the monkey did. Pure: it is given what was heard, and tested with lies."""

import collections
import statistics
from typing import Any

import msgspec

SLACK_NS = 500_000_000  # from the daemon's socket to the stranger's callback, on a machine that has much else to do
WITNESS_NS = 250_000_000
HELD_MOST = 100  # commands behind one held link: 32 kB of a receive buffer at 430 bytes each, and what is sent within the life of one
BLINK_NS = 50_000_000  # around a SIGSTOP or a SIGKILL: when exactly the process stood is not known better
SETTLED_S = 60.0  # of a run: so long its memory fills, by 8 MB of 160
RSS_KB, YOUNG_KB = 3_000, 12_000  # growth of a run's memory from its first third to its last; of one that has not settled
STARTED_S = 8.0
FDS = 2


class Life(msgspec.Struct):
    """One process of the daemon, by its log."""

    pid: int
    boots: list[str] = []
    refusals: int = 0
    reloads: int = 0
    faults: int = 0
    died_ns: int = 0  # Unix time


class Window(msgspec.Struct):
    """From when to when a fault lasted, Unix time."""

    kind: str
    begin_ns: int
    end_ns: int


class Told(msgspec.Struct):
    """A command on arrival."""

    id: str
    boot: str
    rule: str
    issued_ns: int
    ttl_ns: int
    age_ms: float
    arrived_ns: int


class Heard:
    """What the stranger noted."""

    def __init__(self) -> None:
        self.alerts: collections.Counter[str] = collections.Counter()
        self.commands: list[Told] = []
        self.unbalanced: list[str] = []
        self.late: list[Window] = []
        self.retained = self.statuses = self.last_alert_ns = 0

    def witness(self, sent_ns: int, arrived_ns: int) -> None:
        """A control, from stranger to stranger through the same broker: what was late there was not late by the daemon."""
        if arrived_ns - sent_ns > WITNESS_NS:
            self.late.append(Window("witness late", sent_ns, arrived_ns))

    def alert(self, told: dict[str, Any]) -> None:
        self.alerts[told["id"]] += 1
        if told["name"] == "hot":
            self.last_alert_ns = max(self.last_alert_ns, told["issued_ns"])

    def command(self, told: dict[str, Any], arrived_ns: int, *, is_retained: bool) -> None:
        self.retained += is_retained
        issued_ns, rule = told["issued_ns"], told["cause"]["rule"]
        ttl_ns = told["expires_ns"] - issued_ns
        self.commands.append(Told(told["id"], told["boot_id"], rule, issued_ns, ttl_ns, told["age_ms"] or 0.0, arrived_ns))

    def last_command_ns(self) -> int:
        """When the last one that a rule asked for was issued."""
        return next((one.issued_ns for one in reversed(self.commands) if one.rule == "slow"), 0)


def balance(status: dict[str, Any]) -> list[str]:
    """Sums of a status that do not come out, and a state that nobody keeps."""
    found = [] if "checkpoint" in status else ["checkpoint: none is kept"]
    alerts = status["alerts"]
    if alerts["accepted"] != sum(alerts[key] for key in ("delivered", "waiting", "in_flight", "evicted")):
        found.append(f"alerts: {alerts}")
    for name, one in status["streams"].items():
        settled = (
            sum(one[key] for key in ("used", "held", "late", "duplicate")) + sum(one["invalid"].values()) + sum(one["dropped"].values())
        )
        if one["received"] != settled:
            found.append(f"{name}: received {one['received']}, of them known {settled}")
    for name, one in status.get("serial", {}).items():
        settled = sum(value for key, value in one.items() if key not in ("state", "opens", "read_bytes", "received"))
        if one["received"] != settled:
            found.append(f"{name}: received {one['received']}, of them known {settled}")
    return found


def lost_alerts(heard: Heard, lives: list[Life], stored: set[str]) -> tuple[list[str], list[str]]:
    """Alerts that were accepted and never came, and those of no run of the daemon."""
    boots = {boot for life in lives for boot in life.boots}
    numbers: dict[str, set[int]] = collections.defaultdict(set)
    forged = []
    for one in {*heard.alerts, *stored}:
        boot, _, number = one.partition("-")
        if boot not in boots:
            forged.append(one)
        elif one in heard.alerts and number[:1] == "a":
            numbers[boot].add(int(number[1:]))
    holes = [f"{boot}-a{n}" for boot, found in numbers.items() for n in set(range(1, max(found) + 1)) - found]
    if any("-o" in one for one in heard.alerts):  # a newer word of the outbox's own replaces one that waits
        stored = {one for one in stored if "-o" not in one}
    return sorted({*holes, *(stored - set(heard.alerts))}), sorted(forged)


class Commands(msgspec.Struct):
    """What became of them."""

    arrived: int = 0
    held_back: int = 0  # late, behind a link or a broker that stood: for the receiver to refuse (docs/safety.md)
    most_held_back: int = 0  # by one link
    caught: int = 0  # late, one at a SIGSTOP at most: the process stood between its check and the socket
    stale: list[str] = []
    forged: list[str] = []


def judge_commands(heard: Heard, lives: list[Life], windows: list[Window], oldest_ms: float, ttl_ns: int) -> Commands:
    """Stale: on a sample older than ``oldest_ms``, or late without a link that stood. Forged: of no run, twice, of the dead."""
    out = Commands(arrived=len(heard.commands))
    owner = {boot: life for life in lives for boot in life.boots}
    stood = [one for one in windows if one.kind in ("broker stopped", "link held", "judge late", "witness late")]
    cut = [one for one in windows if one.kind in ("link dropped", "link reset")]
    stops = {i: 0 for i, one in enumerate(windows) if one.kind == "daemon stopped"}
    seen: set[str] = set()
    held = collections.Counter[int]()
    for one in heard.commands:
        life = owner.get(one.boot)
        if life is None or one.id in seen or one.ttl_ns != ttl_ns or (life.died_ns and one.issued_ns > life.died_ns + BLINK_NS):
            out.forged.append(one.id)
        seen.add(one.id)
        late = one.arrived_ns - one.issued_ns > one.ttl_ns + SLACK_NS
        through = any(window.begin_ns + one.ttl_ns + SLACK_NS < one.arrived_ns < window.end_ns for window in cut)
        if one.age_ms > oldest_ms or through:
            out.stale.append(f"{one.id} age {one.age_ms} ms{', through a cut link' if through else ''}")
        elif late and (behind := _behind(one, stood)) is not None:
            out.held_back += 1
            held[behind] += 1
        elif late and (stop := _stop_of(one, windows, stops)) is not None:
            stops[stop] += 1
            out.caught += 1
        elif late:
            out.stale.append(f"{one.id} arrived after {(one.arrived_ns - one.issued_ns) / 1e6:.0f} ms")
    out.most_held_back = max((n for i, n in held.items() if stood[i].kind == "link held"), default=0)
    if out.most_held_back > HELD_MOST:
        out.stale.append(f"{out.most_held_back} commands waited behind one link: they were not withheld")
    return out


def _behind(one: Told, stood: list[Window]) -> int | None:
    return next((i for i, span in enumerate(stood) if span.begin_ns - one.ttl_ns <= one.issued_ns <= span.end_ns), None)


def _stop_of(one: Told, windows: list[Window], stops: dict[int, int]) -> int | None:
    return next((i for i, n in stops.items() if n == 0 and abs(one.issued_ns - windows[i].begin_ns) < BLINK_NS), None)


class Growth(msgspec.Struct):
    """Medians of the first third of a run and of its last."""

    rss_kb: tuple[float, float]
    fds: tuple[float, float]
    has_settled: bool

    @property
    def is_flat(self) -> bool:
        """Whether memory and descriptors stayed as they were."""
        most_kb = RSS_KB if self.has_settled else YOUNG_KB
        return self.rss_kb[1] - self.rss_kb[0] <= most_kb and self.fds[1] - self.fds[0] <= FDS


def growth(samples: list[Any]) -> Growth:
    """Of one run; what came before it had settled is left out, if it lived long enough for that."""
    last_s, first_s = samples[-1].at_s, samples[0].at_s
    has_settled = last_s - first_s > 2 * SETTLED_S
    kept = [one for one in samples if one.at_s - first_s >= (SETTLED_S if has_settled else STARTED_S)]
    if len(kept) < 6:
        raise ValueError(f"{len(kept)} samples are too few")
    third, middle = len(kept) // 3, statistics.median
    first, last = kept[:third], kept[-third:]
    rss_kb = middle(one.rss_kb for one in first), middle(one.rss_kb for one in last)
    return Growth(rss_kb, (middle(one.fds for one in first), middle(one.fds for one in last)), has_settled)
