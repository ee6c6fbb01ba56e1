"""The outbox against a slow model of itself, and the cost of its operations."""

import time

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from edge.messages import Alert, Cause, Outgoing, Severity
from edge.store.outbox import Outbox
from edge.store.outbox_refused import AGAIN_NS

SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")


def make(number: int, severity: Severity = "warning", device: str = "d0") -> Outgoing:
    alert = Alert(
        id=f"a{number}",
        device=device,
        boot_id="boot",
        seq=number,
        issued_ns=number,
        name="hot",
        state="raised",
        severity=severity,
        value=1.0,
        cause=Cause("hot", 1.0),
        stamp_ns=number,
        topic="alerts",
    )
    return Outgoing("alert", "alerts", f"a{number}".encode(), alert)


def alert_of(message: Outgoing) -> Alert:
    assert isinstance(message.message, Alert)
    return message.message


class OutboxMachine(RuleBasedStateMachine):
    """Adds, sends, acknowledges and loses the link in any order; the model keeps plain lists and sorts them."""

    tokens = Bundle("tokens")

    def __init__(self) -> None:
        super().__init__()
        self.box: Outbox | None = None
        self.number = 0
        self.token = 0
        self.waiting: list[Outgoing] = []
        self.flying: dict[int, Outgoing] = {}
        self.delivered: list[Outgoing] = []
        self.evicted: list[Outgoing] = []
        self.stray = 0

    @precondition(lambda self: self.box is None)
    @rule(capacity=st.integers(1, 6), window=st.integers(1, 6))
    def start(self, capacity: int, window: int) -> None:
        self.box = Outbox(capacity, min(window, capacity))

    @precondition(lambda self: self.box is not None)
    @rule(severity=st.sampled_from(SEVERITIES), device=st.sampled_from(["d0", "d1"]))
    def add(self, severity: Severity, device: str) -> None:
        assert self.box is not None
        message = make(self.number, severity, device)
        self.number += 1
        expected = None
        self.waiting.append(message)
        if len(self.waiting) + len(self.flying) > self.box.capacity:
            expected = min(self.waiting, key=lambda m: (SEVERITIES.index(alert_of(m).severity), alert_of(m).seq))
            self.waiting.remove(expected)
            self.evicted.append(expected)
        assert self.box.add(message) is expected

    @precondition(lambda self: self.box is not None)
    @rule(target=tokens)
    def send(self) -> int:
        assert self.box is not None
        message = self.box.ready()
        assert self.box.ready() is message
        if len(self.flying) >= self.box.window or not self.waiting:
            assert message is None
            return -1
        assert message is self.waiting.pop(0)
        self.token += 1
        self.flying[self.token] = message
        self.box.sent(self.token)
        return self.token

    @precondition(lambda self: self.box is not None)
    @rule(token=consumes(tokens))
    def acknowledge(self, token: int) -> None:
        """Also tokens that became void when the link was lost."""
        assert self.box is not None
        message = self.flying.pop(token, None)
        self.box.acked(token)
        if message is None:
            self.stray += 1
        else:
            self.delivered.append(message)

    @precondition(lambda self: self.box is not None)
    @rule(token=st.integers(10**6, 10**6 + 3))
    def acknowledge_unknown(self, token: int) -> None:
        assert self.box is not None
        self.box.acked(token)
        self.stray += 1

    @precondition(lambda self: self.box is not None)
    @rule(is_offered=st.booleans())
    def lose_link(self, is_offered: bool) -> None:
        assert self.box is not None
        if is_offered:
            self.box.ready()
        self.box.link_lost()
        self.waiting = sorted([*self.flying.values(), *self.waiting], key=lambda m: alert_of(m).seq)
        self.flying.clear()

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        if self.box is None:
            return
        counts = self.box.counts()
        assert counts == {
            "accepted": self.number,
            "delivered": len(self.delivered),
            "waiting": len(self.waiting),
            "in_flight": len(self.flying),
            "evicted": len(self.evicted),
            "stray_acks": self.stray,
        }
        assert counts["accepted"] == counts["delivered"] + counts["waiting"] + counts["in_flight"] + counts["evicted"]
        assert len(self.box) == len(self.waiting) + len(self.flying) <= self.box.capacity

    def teardown(self) -> None:
        """A link that works delivers what is left, in order, each once."""
        if self.box is None:
            return
        self.lose_link(is_offered=False)
        rest = []
        while (message := self.box.ready()) is not None:
            rest.append(message)
            self.box.sent(1)
            self.box.acked(1)
        assert rest == self.waiting
        assert len(self.delivered) + len(rest) + len(self.evicted) == self.number


TestOutbox = OutboxMachine.TestCase
TestOutbox.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


def drain(box: Outbox) -> list[str]:
    sent = []
    while (message := box.ready()) is not None:
        sent.append(alert_of(message).id)
        box.sent(1)
        box.acked(1)
    return sent


def test_after_a_lost_link_only_the_unacknowledged_are_sent_again() -> None:
    box = Outbox(capacity=10, window=4)
    for number in range(6):
        box.add(make(number))
    for token in range(4):
        assert box.ready() is not None
        box.sent(token)
    assert box.ready() is None
    box.acked(1)
    box.acked(2)
    box.link_lost()
    box.acked(0)
    assert box.counts()["stray_acks"] == 1, "an acknowledgement over the old link means nothing any more"
    assert drain(box) == ["a0", "a3", "a4", "a5"]


def test_at_most_the_window_is_in_flight_after_10000_waited() -> None:
    box = Outbox(capacity=10_000, window=20)
    for number in range(10_000):
        box.add(make(number))
    token = 0
    while box.ready() is not None:
        box.sent(token)
        token += 1
    assert box.counts()["in_flight"] == token == 20


def test_full_box_gives_up_the_oldest_of_the_least_severe() -> None:
    box = Outbox(capacity=4, window=1)
    severities: tuple[Severity, ...] = ("critical", "warning", "info", "info")
    for number, severity in enumerate(severities):
        box.add(make(number, severity))
    evicted = [box.add(make(number, "warning")) for number in range(4, 7)]
    assert [alert_of(message).id for message in evicted if message] == ["a2", "a3", "a1"]
    newcomer = make(7, "info")
    assert box.add(newcomer) is newcomer, "everything that waits is more severe"
    assert drain(box) == ["a0", "a4", "a5", "a6"]


def test_in_flight_is_never_given_up() -> None:
    box = Outbox(capacity=1, window=1)
    box.add(make(0, "info"))
    assert box.ready() is not None
    assert (evicted := box.add(make(1, "critical"))) is not None
    assert alert_of(evicted).id == "a1"
    box.sent(7)
    box.acked(7)
    assert box.counts()["delivered"] == 1


def test_alert_without_its_value_counts_as_critical() -> None:
    box = Outbox(capacity=1, window=1)
    restored = Outgoing("alert", "alerts", b"{}")
    box.add(restored)
    newcomer = make(1, "warning")
    assert box.add(newcomer) is newcomer
    assert box.ready() is restored


@pytest.mark.parametrize("kind", ["command", "prediction", "status"])
def test_only_alerts_are_kept(kind: str) -> None:
    with pytest.raises(ValueError, match="alerts only"):
        Outbox(4, 1).add(Outgoing(kind, "t", b""))  # type: ignore[arg-type]


def test_misuse_is_refused() -> None:
    for capacity, window in ((0, 0), (1, 2), (5, 0)):
        with pytest.raises(ValueError, match="window"):
            Outbox(capacity, window)
    box = Outbox(4, 2)
    with pytest.raises(ValueError, match="nothing was offered"):
        box.sent(1)
    box.add(make(0))
    box.add(make(1))
    box.ready()
    box.sent(1)
    box.ready()
    with pytest.raises(ValueError, match="in flight already"):
        box.sent(1)


def cpu_s(count: int) -> float:
    """For ``count`` alerts that fill the box, as many that evict them, 20 in flight when the link is lost, and delivery of all."""
    box = Outbox(capacity=count, window=20)
    messages = [make(number, SEVERITIES[number % 3]) for number in range(2 * count)]
    start = time.process_time()
    for message in messages:
        box.add(message)
    for token in range(20):
        box.ready()
        box.sent(token)
    box.link_lost()
    for token in range(count):
        box.ready()
        box.sent(token)
        box.acked(token)
    took = time.process_time() - start
    assert box.counts()["delivered"] == box.counts()["evicted"] == count
    return took


def test_cost_of_an_alert_does_not_grow_with_their_number() -> None:
    few, many = (min(cpu_s(count) for _ in range(3)) for count in (1_000, 20_000))
    assert many / few < 100, "20 times the work; 400 times if each operation looked at all alerts"


def test_what_the_broker_refuses_is_kept_overtaken_and_offered_again_later_and_later(monkeypatch):
    now = [0]
    monkeypatch.setattr("edge.store.outbox.boottime_ns", lambda: now[0])
    box = Outbox(capacity=6, window=4)
    messages = [make(n, "info", "d0") for n in range(6)]
    for n in (0, 2):
        messages[n] = msgspec.structs.replace(messages[n], topic=f"t{n}")
    for message in messages:
        box.add(message)
    for token in range(4):
        box.ready()
        box.sent(token)
    assert [box.refused(token) for token in (0, 2)] == [messages[0], messages[2]]
    assert box.refused(0) is None, "it is not in flight any more"
    box.acked(1)
    assert box.denied == 2
    assert (box.counts()["waiting"], box.counts()["in_flight"]) == (4, 1)
    box.tick()
    assert box.ready() is messages[4], "others are not held up"
    box.sent(4)
    box.acked(4)
    now[0] += AGAIN_NS
    box.tick()
    assert box.ready() is messages[0]
    box.sent(5)
    box.refused(5)
    now[0] += AGAIN_NS
    box.tick()
    assert box.ready() is messages[2], "0 waits for twice as long"
    box.add(make(6, "info", "d0"))
    box.add(make(7, "info", "d0"))
    assert box.add(make(8, "info", "d0")) is messages[0], "what is refused is the first to be given up, as the oldest"
    box.link_lost()
    assert box.denied == 1
    assert drain(box) == [alert_of(m).id for m in (messages[2], messages[3], messages[5])] + ["a6", "a7", "a8"]
    assert box.denied == 0
