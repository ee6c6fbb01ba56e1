"""Order by topic while the broker refuses alerts, and how soon they are offered again."""

import pytest

from edge.messages import Outgoing
from edge.store.outbox import Outbox
from edge.store.outbox_refused import AGAIN_NS


@pytest.fixture
def clock(monkeypatch):
    now = [0]
    monkeypatch.setattr("edge.store.outbox.boottime_ns", lambda: now[0])
    return now


def say(box: Outbox, text: str, topic: str = "a") -> None:
    box.add(Outgoing("alert", topic, text.encode()))


def send(box: Outbox, token: int) -> str:
    message = box.ready()
    assert message is not None
    box.sent(token)
    return message.payload.decode()


def deliver(box: Outbox) -> list[str]:
    got = []
    while box.ready() is not None:
        got.append(send(box, 99))
        box.acked(99)
    return got


def test_nothing_of_its_topic_overtakes_what_was_refused_and_other_topics_go_on(clock):
    box = Outbox(100, 20)
    say(box, "raised")
    send(box, 1)
    box.refused(1)
    say(box, "cleared")
    say(box, "other", "b")
    assert deliver(box) == ["other"]
    clock[0] += AGAIN_NS
    box.tick()
    assert deliver(box) == ["raised", "cleared"]


def test_what_the_broker_took_of_a_topic_after_a_refusal_is_sent_again_behind_it(clock):
    box = Outbox(100, 20)
    for token, text in enumerate(("raised", "cleared")):
        say(box, text)
        send(box, token)
    box.refused(0)
    box.acked(1)
    assert (box.counts()["delivered"], box.counts()["waiting"]) == (0, 2)
    assert deliver(box) == []
    clock[0] += AGAIN_NS
    box.tick()
    assert deliver(box) == ["raised", "cleared"], "the last word is the last that is heard"
    assert box.counts()["delivered"] == 2


def test_after_a_success_a_refusal_is_tried_again_as_soon_as_the_first(clock):
    box = Outbox(100, 20)
    say(box, "x")
    pauses = []
    for _ in range(5):
        send(box, 1)
        box.refused(1)
        began = clock[0]
        while box.ready() is None:
            clock[0] += AGAIN_NS
            box.tick()
        pauses.append((clock[0] - began) // AGAIN_NS)
    assert pauses == [1, 2, 4, 8, 16]
    assert deliver(box) == ["x"]
    say(box, "y")
    send(box, 1)
    box.refused(1)
    clock[0] += AGAIN_NS
    box.tick()
    assert deliver(box) == ["y"]


def test_what_waits_behind_a_refused_one_goes_on_when_that_is_given_up(clock):
    box = Outbox(2, 2)
    say(box, "first")
    send(box, 1)
    box.refused(1)
    say(box, "second")
    assert deliver(box) == []
    say(box, "third")  # no room: the first is given up
    box.tick()
    assert deliver(box) == ["second", "third"]
    assert box.denied == 0


def test_a_lost_link_after_refusals_restores_the_order(clock):
    box = Outbox(100, 20)
    for token, (text, topic) in enumerate((("a1", "a"), ("b1", "b"), ("a2", "a"), ("b2", "b"))):
        say(box, text, topic)
        send(box, token)
    box.refused(0)
    box.acked(2)
    clock[0] += AGAIN_NS
    box.tick()
    assert send(box, 7) == "a1"
    assert box.ready() is None
    box.link_lost()
    assert deliver(box) == ["a1", "b1", "a2", "b2"]
