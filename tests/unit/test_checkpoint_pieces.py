"""The file of the state is made in bounded pieces, with a turn for the loop after each; it is read whole or not at all."""

import itertools
import os
import resource
import struct
import types
import zlib

import msgspec
import pytest

from edge.store import checkpoint as store
from edge.store.checkpoint import PIECE, Checkpoint, CheckpointWriter, pieces, read, write

HEADER_BYTES = 24
SMALL = 256  # bytes of a piece, where every boundary is tried


def lanes(n, *sizes):
    return {f"device-{i:05d}": {f"part {k}": bytes([(i + k) % 251]) * size for k, size in enumerate(sizes)} for i in range(n)}


def taken(states, whole=None):
    return Checkpoint.of("guard", states, whole)


STATES = {
    "none": taken({}),
    "many small lanes": taken(lanes(20_000, 200, 20)),
    "without bytes": taken({f"d{i}": {} for i in range(30_000)}),
    "lanes of kilobytes": taken(lanes(600, 14_000, 300)),
    "a part as large as a piece, and one more and less": taken(lanes(3, PIECE - 1, PIECE, PIECE + 1, 0)),
    "large parts": taken(lanes(5, 10, 400_000, 70_000, 10)),
    "much of no device": taken(lanes(2, 100), {"drift": bytes(300_000), "other": b"x"}),
}


@pytest.mark.parametrize("state", STATES.values(), ids=STATES.keys())
def test_pieces_are_bounded_and_together_they_are_the_state(state):
    found = list(pieces(state))
    assert msgspec.msgpack.decode(b"".join(found), type=Checkpoint) == state
    given = {id(part) for parts in (*state.lanes.values(), state.whole) for part in parts.values()}
    alone = [piece for piece in found if len(piece) > PIECE]
    assert all(id(piece) in given for piece in alone), "what is larger than a piece is no copy"
    assert len(found) <= 1 + 2 * sum(map(len, found)) / PIECE + 2 * len(alone), "not a step for each lane either"


def test_the_loop_has_a_turn_after_each_piece_and_while_the_state_is_let_go(tmp_path, monkeypatch):
    state, turns = taken(lanes(20_000, 200, 20)), []
    n, most = len(list(pieces(state))), len(state.lanes)
    assert n > 50
    monkeypatch.setattr(store, "time", types.SimpleNamespace(sleep=lambda _s: turns.append(len(state.lanes))))
    writer = CheckpointWriter(tmp_path / "c")
    writer.post(state)
    writer.close()
    assert writer.written == 1
    assert turns[:n] == [most] * n, "a turn after each piece"
    left = [most, *turns[n:]]
    assert left[-1] == 0
    assert all(0 < before - after <= 100 for before, after in itertools.pairwise(left)), "a few lanes at a time"
    assert len(read(tmp_path / "c").lanes) == most


def test_a_file_that_was_encoded_in_one_step_is_read(tmp_path):
    body = msgspec.msgpack.encode(STATES["much of no device"])
    (tmp_path / "c").write_bytes(struct.pack("<8sIIQ", b"edgestat", 1, zlib.crc32(body), len(body)) + body)
    assert read(tmp_path / "c") == STATES["much of no device"]


@pytest.fixture
def cut(tmp_path, monkeypatch):
    """A state of many pieces, one of them a large part; the file of it, and its pieces."""
    monkeypatch.setattr(store, "PIECE", SMALL)
    state = taken(
        {f"first {name}": parts for name, parts in lanes(12, 60, 20).items()}
        | {"large": {"a": b"1", "b": bytes(range(256)) * 3, "c": b"2"}}
        | lanes(40, 90),
        {"drift": b"d" * 700},
    )
    write(tmp_path / "c", state)
    whole, parts = (tmp_path / "c").read_bytes(), [bytes(piece) for piece in pieces(state)]
    assert whole[HEADER_BYTES:] == b"".join(parts)
    assert len(parts) > 15
    assert read(tmp_path / "c") == state
    return whole, parts


def ends(parts):
    """Where pieces end in the file, the header's end first."""
    found = [HEADER_BYTES]
    for part in parts:
        found.append(found[-1] + len(part))
    return found


def refused(path, data, why):
    path.write_bytes(data)
    with pytest.raises(ValueError, match=why):
        read(path)


def test_a_file_that_is_cut_or_damaged_at_any_boundary_is_refused_whole(tmp_path, cut):
    whole, parts = cut
    path = tmp_path / "d"
    for end in ends(parts):
        for at in (end - 1, end, end + 1):
            if at < len(whole):
                refused(path, whole[:at], "is cut off|is no checkpoint")
                refused(path, whole[:at] + bytes(len(whole) - at), "is damaged|is no checkpoint")  # its room was there, its bytes were not
                refused(path, whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :], "is damaged|is cut off")
    refused(path, whole + b"\0", "is cut off")


def test_a_piece_that_is_lost_twice_there_or_in_another_place_is_refused(tmp_path, cut):
    whole, parts = cut

    def with_pieces(others):
        """The file with other pieces, its length set right, so that nothing but the checksum can tell."""
        return whole[:16] + struct.pack("<Q", sum(map(len, others))) + b"".join(others)

    refused(tmp_path / "d", whole[:16] + struct.pack("<Q", 0), "is damaged")
    for i, part in enumerate(parts):
        for others in ([], [part, part], [bytes(len(part))]):
            refused(tmp_path / "d", with_pieces([*parts[:i], *others, *parts[i + 1 :]]), "is damaged")
        if i and part != parts[i - 1]:
            refused(tmp_path / "d", with_pieces([*parts[: i - 1], part, parts[i - 1], *parts[i + 1 :]]), "is damaged")


def test_a_disk_that_is_full_at_any_piece_leaves_the_old_file_and_no_other(tmp_path, cut):
    whole, parts = cut
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    state = read(tmp_path / "c")
    state.lanes["large"]["a"] = b"new"
    for end in ends(parts)[:-1]:
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (end, hard))
            with pytest.raises(OSError, match="File too large"):
                write(tmp_path / "c", state)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert (tmp_path / "c").read_bytes() == whole
        assert os.listdir(tmp_path) == ["c"]
    write(tmp_path / "c", state)
    assert read(tmp_path / "c") == state
