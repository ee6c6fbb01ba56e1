"""What the hot process hands to the recorder: one slot or many, dropped and counted, kept until it is safe."""

import os
import random

import pytest

from edge.store.ring import RingReader, RingWriter
from edge.store.tape import RETAINED, SENT, TapeReader, TapeWriter, matches


@pytest.fixture
def tape():
    made = []

    def make(slots=16, slot_bytes=64, filters=()):
        ring = RingWriter(slots, slot_bytes)
        made.append(ring)
        writer = TapeWriter(ring, filters)

        def attach():
            reader = RingReader(os.dup(ring.descriptor), keeps=True)
            made.append(reader)
            return TapeReader(reader)

        return writer, attach

    yield make
    for one in reversed(made):
        one.close()


def drain(reader):
    found = []
    while (noted := reader.take()) is not None:
        found.append(noted)
    return found


def test_messages_of_any_size_come_out_as_they_went_in(tape):
    rng = random.Random(4)
    writer, attach = tape(slots=512)
    reader = attach()
    sent = []
    for i in range(300):
        flags = rng.choice([0, SENT, RETAINED])
        message = (flags, i, f"a/{'x' * rng.randrange(30)}", rng.randbytes(rng.choice([0, 1, 20, 40, 300, 1500])))
        writer.note(*message)
        sent.append(message)
        if rng.random() < 0.5:
            found = drain(reader)
            reader.release()
            assert [(n.is_sent * SENT | n.is_retained * RETAINED, n.at_ns, n.topic, n.payload) for n in found] == sent
            assert [n.number for n in found] == list(range(i - len(sent) + 2, i + 2))
            sent = []
    assert writer.noted == 300
    assert writer.dropped == reader.missed == 0


def test_what_finds_no_room_is_dropped_whole_and_counted_on_both_sides(tape):
    writer, attach = tape(slots=4)
    reader = attach()
    for i in range(4):
        writer.note(0, i, "t", b"small")
    writer.note(0, 4, "t", b"small")
    assert writer.dropped == 1
    assert len(drain(reader)) == 4
    reader.release()
    writer.note(0, 5, "t", bytes(120))  # three slots
    writer.note(0, 6, "t", bytes(120))  # no room for three
    writer.note(0, 7, "t", b"one more")
    assert [n.at_ns for n in drain(reader)] == [5, 7]
    assert writer.dropped == reader.missed == 2


def test_a_reader_that_died_before_it_released_is_followed_by_one_that_sees_the_same(tape):
    writer, attach = tape(slots=32)
    first = attach()
    for i in range(6):
        writer.note(0, i, "t", bytes(100) if i % 2 else b"x")
    assert first.take().at_ns == 0
    assert first.take().at_ns == 1
    first.release()
    assert first.take().at_ns == 2
    assert [n.at_ns for n in drain(attach())] == [2, 3, 4, 5]


def test_rewinding_gives_again_what_is_not_safe_and_nothing_else(tape):
    writer, attach = tape(slots=32)
    reader = attach()
    for i in range(5):
        writer.note(0, i, "t", b"x")
    reader.take()
    reader.release()
    reader.take()
    reader.take()
    assert reader.held == 2
    reader.rewind()
    assert [n.at_ns for n in drain(reader)] == [1, 2, 3, 4]
    assert reader.missed == 0


def test_only_what_the_filters_want_is_noted(tape):
    writer, attach = tape(filters=("plant/+/temp", "edge/#"))
    reader = attach()
    for topic in ("plant/a/temp", "plant/a/vib", "edge/x/alerts", "plant/a/b/temp", "edge"):
        writer.note(0, 0, topic, b"")
    assert [n.topic for n in drain(reader)] == ["plant/a/temp", "edge/x/alerts", "edge"]
    assert writer.noted == 3


@pytest.mark.parametrize(
    ("wanted", "topic", "is_match"),
    [("#", "a/b", True), ("a/+", "a", False), ("a/+", "a/b/c", False), ("+/b", "a/b", True), ("a", "a", True), ("a/b/#", "a", False)],
)
def test_filters_are_those_of_mqtt(wanted, topic, is_match):
    assert matches(wanted, topic) is is_match
