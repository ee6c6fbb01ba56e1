"""Recordings: exact return, killed writers, damage anywhere in the file, files of other programs."""

import io
import signal
import struct
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcap.reader import make_reader
from mcap.writer import CompressionType, Writer

from edge.errors import TransportError
from edge.messages import RawMessage
from edge.store.recording import RecordingWriter, info, read

OFFSET_NS = 1_700_000_000_123_456_789
FACTS = {"monotonic_offset_ns": str(OFFSET_NS), "started_ns": "5", "boot_id": "b00t"}


def record(path: Path, messages: list[RawMessage], flush_s: float = 2.0) -> Path:
    with RecordingWriter(path, FACTS, overwrite=True, flush_s=flush_s, clock=lambda: 10**12) as writer:
        for message in messages:
            writer.write(message)
    return path


def some(count: int, step_ns: int = 1_000_000) -> list[RawMessage]:
    return [RawMessage(f"plant/d{i % 3}/imu", bytes([i % 256]) * (i % 40), 1_000 + i * step_ns) for i in range(count)]


messages_strategy = st.lists(
    st.builds(
        RawMessage,
        topic=st.sampled_from(["a", "a/b", "ä/µ", "x" * 200]),
        payload=st.binary(max_size=300),
        received_ns=st.integers(0, 5) | st.integers(0, 10**15),
        is_retained=st.booleans(),
    ),
    max_size=30,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(messages=messages_strategy, flush_s=st.sampled_from([0.0, 1e-9, 2.0]))
def test_messages_come_back_exactly_and_in_order(tmp_path: Path, messages: list[RawMessage], flush_s: float) -> None:
    """Equal times, times that go back, retained copies, empty payloads, chunk borders anywhere."""
    path = record(tmp_path / "r.mcap", messages, flush_s)
    assert list(read(path)) == messages
    assert list(read(path, topics=["a"])) == [message for message in messages if message.topic == "a"]
    held = info(path)
    assert held.messages == len(messages)
    assert held.topics == {topic: sum(m.topic == topic for m in messages) for topic in {m.topic for m in messages}}
    times = [message.received_ns for message in messages]
    assert (held.start_ns, held.end_ns) == ((min(times), max(times)) if times else (None, None))
    assert (held.offset_ns, held.started_ns, held.stopped_ns, held.is_truncated) == (OFFSET_NS, 5, 10**12, False)


def test_other_programs_read_our_file(tmp_path: Path) -> None:
    sent = [RawMessage("j", b'{"a": 1}', 7), RawMessage("m", b"\x81\xa1v\x01", 7), RawMessage("j", b'{"a": 2}', 9, is_retained=True)]
    with record(tmp_path / "r.mcap", sent).open("rb") as file:
        reader = make_reader(file, validate_crcs=True)
        seen = list(reader.iter_messages())
        assert [(channel.topic, message.data, message.log_time, message.publish_time) for _, channel, message in seen] == [
            (m.topic, m.payload, m.received_ns + OFFSET_NS, m.received_ns + OFFSET_NS) for m in sent
        ]
        assert [channel.message_encoding for _, channel, _ in seen] == ["json", "msgpack", "json"]
        both = [record.metadata for record in reader.iter_metadata() if record.name == "edge"]
    assert both[0] | {"version": ""} == {**FACTS, "version": ""}
    assert both[1] == {"stopped_ns": str(10**12)}


def test_facts_of_this_machine_are_added(tmp_path: Path) -> None:
    with RecordingWriter(tmp_path / "r.mcap") as writer:
        pass
    held = info(writer.path)
    assert set(held.metadata) == {"version", "boot_id", "started_ns", "stopped_ns", "monotonic_offset_ns"}
    assert held.started_ns is not None
    assert held.stopped_ns is not None
    assert 0 < held.started_ns <= held.stopped_ns < held.offset_ns


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[RawMessage], bytes]:
    """A file of four chunks, small enough to try every byte of it."""
    messages = some(24)
    path = record(tmp_path_factory.mktemp("small") / "r.mcap", messages, flush_s=0.006)
    return path, messages, path.read_bytes()


def test_cut_at_every_byte_reads_up_to_the_cut(
    small: tuple[Path, list[RawMessage], bytes], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, messages, data = small
    path, longest, errors = tmp_path / "cut.mcap", 0, 0
    for size in range(len(data)):
        path.write_bytes(data[:size])
        reading = read(path)
        try:
            taken = list(reading)
        except TransportError:
            errors += 1
            assert size < 8 + 9 + 60, "only a file without even a header is refused"
            continue
        assert reading.is_truncated
        assert taken == messages[: len(taken)]
        assert len(taken) >= longest
        longest = len(taken)
        held = info(path)
        assert (held.is_truncated, held.messages) == (True, len(taken))
    assert longest == len(messages)
    assert errors > 8
    assert "cut at byte" in caplog.text


def refusal(attempt: Callable[[], object]) -> str | None:
    """The text of the TransportError, or None when it went well. Anything else fails the test."""
    try:
        attempt()
    except TransportError as error:
        return str(error)
    return None


def test_one_changed_byte_is_never_unnoticed(small: tuple[Path, list[RawMessage], bytes], tmp_path: Path) -> None:
    """Each byte of the file, three changes each: TransportError, or all messages (a checksum turned off, the end mark)."""
    _, messages, data = small
    path, refused = tmp_path / "flip.mcap", 0
    for offset in range(len(data)):
        for flip in (0x01, 0x80, 0xFF):
            path.write_bytes(data[:offset] + bytes([data[offset] ^ flip]) + data[offset + 1 :])
            taken: list[RawMessage] = []
            text = refusal(lambda taken=taken: taken.extend(read(path)))  # type: ignore[misc]
            assert text is None or str(path) in text
            assert text is not None or taken == messages
            refused += text is not None
            refusal(lambda: info(path))
    assert refused > 2.8 * len(data)


@given(data=st.binary(max_size=400))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_bytes_are_refused_clearly(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "noise.mcap"
    for content in (data, b"\x89MCAP0\r\n" + data, b"\x89MCAP0\r\n" + data + b"\x89MCAP0\r\n"):
        path.write_bytes(content)
        for text in (refusal(lambda: list(read(path))), refusal(lambda: info(path))):
            assert text is None or str(path) in text


@pytest.mark.parametrize(("content", "text"), [(b"", "empty"), (b"ax,ay\n1,2\n3,4\n", "not an MCAP file"), (b"\x89MCAP0\r\n", "byte 8")])
def test_other_files_are_named_as_such(tmp_path: Path, content: bytes, text: str) -> None:
    path = tmp_path / "r.mcap"
    path.write_bytes(content)
    with pytest.raises(TransportError, match=text):
        list(read(path))


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(TransportError, match="No such file"):
        list(read(tmp_path / "none.mcap"))
    with pytest.raises(TransportError, match="directory"):
        info(tmp_path)
    with pytest.raises(TransportError, match="No such file"):
        RecordingWriter(tmp_path / "none" / "r.mcap")


def test_huge_lengths_do_not_cost_memory(tmp_path: Path) -> None:
    """A chunk of 300 bytes that says that it holds 2^60."""
    body = struct.pack("<QQQI", 0, 0, 1 << 60, 0) + struct.pack("<I", 4) + b"zstd" + struct.pack("<Q", 4) + b"\x28\xb5\x2f\xfd"
    header = struct.pack("<BQ", 1, 8) + bytes(8)
    path = tmp_path / "r.mcap"
    path.write_bytes(b"\x89MCAP0\r\n" + header + struct.pack("<BQ", 6, len(body)) + body + bytes(300) + b"\x89MCAP0\r\n")
    tracemalloc.start()
    try:
        with pytest.raises(TransportError):
            list(read(path))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_zeros_left_by_a_power_cut_read_as_a_cut(small: tuple[Path, list[RawMessage], bytes], tmp_path: Path) -> None:
    _, messages, data = small
    path = tmp_path / "r.mcap"
    end = data.rindex(b"\x0f" + struct.pack("<Q", 4))  # the record that ends the data
    path.write_bytes(data[:end] + bytes(4096))
    reading = read(path)
    assert list(reading) == messages
    assert reading.is_truncated


def test_an_existing_file_is_kept(tmp_path: Path) -> None:
    path = record(tmp_path / "r.mcap", some(3))
    with pytest.raises(TransportError, match="exists"):
        RecordingWriter(path)
    assert list(read(path)) == some(3)


def test_times_and_topics_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with RecordingWriter(tmp_path / "r.mcap", FACTS) as writer:
        for received_ns in (-OFFSET_NS - 1, 1 << 64):
            with pytest.raises(TransportError, match="outside the times"):
                writer.write(RawMessage("t", b"", received_ns))
        writer.write(RawMessage("t", b"good", 1))
        for number in range(65_534):
            writer.write(RawMessage(str(number), b"", 1))
        with pytest.raises(TransportError, match="65535 topics"):
            writer.write(RawMessage("one more", b"", 1))
    assert next(read(writer.path)) == RawMessage("t", b"good", 1)
    assert info(writer.path).messages == 65_535


def run(code: str, path: Path) -> subprocess.Popen[str]:
    prelude = "import sys, signal, pathlib\nfrom edge.messages import RawMessage\nfrom edge.store.recording import RecordingWriter\n"
    return subprocess.Popen([sys.executable, "-c", prelude + code, str(path)], stdout=subprocess.PIPE, text=True)


ENDLESS = """
with RecordingWriter(pathlib.Path(sys.argv[1]), flush_s=0.01) as writer:
    for i in range(10**9):
        writer.write(RawMessage("t", str(i).encode() * 20, i * 1_000_000))
        if i % 1000 == 0:
            print(i, flush=True)
"""


def numbers(path: Path) -> Iterator[int]:
    for message in read(path):
        yield message.received_ns // 1_000_000


@pytest.mark.parametrize("after", [1, 20, 77])
def test_killed_writer_leaves_everything_but_the_last_moment(tmp_path: Path, after: int) -> None:
    path = tmp_path / "r.mcap"
    with run(ENDLESS, path) as process:
        assert process.stdout is not None
        printed = [int(process.stdout.readline()) for _ in range(after)][-1]
        process.kill()
    taken = list(numbers(path))
    assert taken == list(range(len(taken)))
    assert len(taken) > printed - 10, "flush_s is 10 ms and messages are 1 ms apart"
    assert info(path).is_truncated


def test_handler_that_exits_leaves_a_file_that_reads(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """sys.exit in the handler may strike in the middle of a write; then the last moment is missing, never more."""
    code = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n" + ENDLESS
    whole = 0
    for attempt in range(6):
        path = tmp_path / f"r{attempt}.mcap"
        with run(code, path) as process:
            assert process.stdout is not None
            printed = [int(process.stdout.readline()) for _ in range(attempt + 1)][-1]
            process.send_signal(signal.SIGTERM)
        assert process.returncode == 0
        taken = list(numbers(path))
        assert taken == list(range(len(taken)))
        assert len(taken) > printed - 10
        whole += not info(path).is_truncated
    assert whole + caplog.text.count("cut at byte") // 2 == 6


def test_operation_broken_off_half_way_costs_only_the_chunk(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    messages = some(10)
    writer = RecordingWriter(tmp_path / "r.mcap", FACTS)
    for message in messages:
        writer.write(message)
    writer.flush()
    writer.write(some(11)[10])
    with pytest.raises(TypeError), writer:
        writer.write(RawMessage("t", None, 5))  # type: ignore[arg-type]  # fails when half of the record has been written
    assert "broken off" in caplog.text
    reading = read(writer.path)
    assert list(reading) == messages
    assert reading.is_truncated


def test_full_disk_is_a_transport_error_and_what_was_written_reads(tmp_path: Path) -> None:
    code = """
import resource
from edge.errors import TransportError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    with RecordingWriter(pathlib.Path(sys.argv[1]), flush_s=0.5) as writer:
        for i in range(100_000):
            writer.write(RawMessage("t", i.to_bytes(8, "little") * 8, i * 1_000_000))
except TransportError as error:
    print("refused:", error)
"""
    path = tmp_path / "r.mcap"
    with run(code, path) as process:
        out, _ = process.communicate(timeout=30)
    assert "refused" in out
    assert "File too large" in out
    assert process.returncode == 0
    taken = list(numbers(path))
    assert taken == list(range(len(taken)))
    assert len(taken) > 100


def test_device_without_room_is_refused_at_once() -> None:
    with pytest.raises(TransportError, match="No space left"):
        RecordingWriter(Path("/dev/full"), overwrite=True)


def test_closing_twice_is_closing_once(tmp_path: Path) -> None:
    writer = RecordingWriter(tmp_path / "r.mcap", FACTS)
    writer.close()
    size = writer.path.stat().st_size
    writer.close()
    assert writer.path.stat().st_size == size


def test_memory_does_not_grow_with_the_recording(tmp_path: Path) -> None:
    """40,000 messages of 1 kB: 40 MB in, a few MB at the peak, writing and reading."""
    payloads = [struct.pack("<I", i) * 256 for i in range(50)]
    tracemalloc.start()
    try:
        with RecordingWriter(tmp_path / "r.mcap", FACTS) as writer:
            for i in range(40_000):
                writer.write(RawMessage("t", payloads[i % 50], i * 1_000_000))
        for i, message in enumerate(read(writer.path)):
            assert message.received_ns == i * 1_000_000
        assert tracemalloc.get_traced_memory()[1] < 6 << 20
    finally:
        tracemalloc.stop()


def foreign(path: Path, chunks: list[list[tuple[int, str]]], *, use_chunking: bool = True, is_finished: bool = True) -> Path:
    """A file as another program might write it: no metadata, times out of order, chunks that overlap."""
    with path.open("wb") as file:
        writer = Writer(file, compression=CompressionType.LZ4, use_chunking=use_chunking)
        writer.start("ros2", "another")
        channels = {name: writer.register_channel(name, "json", 0) for name in ("a", "b")}
        number = 0
        for chunk in chunks:
            for log_time, name in chunk:
                writer.add_message(channels[name], log_time, str(number).encode(), log_time)
                number += 1
            writer.flush()  # type: ignore[no-untyped-call]
        if is_finished:
            writer.finish()  # type: ignore[no-untyped-call]
    return path


def expected(chunks: list[list[tuple[int, str]]]) -> list[tuple[int, str, bytes]]:
    flat = [(log_time, name, str(number).encode()) for number, (log_time, name) in enumerate(pair for chunk in chunks for pair in chunk)]
    return sorted(flat, key=lambda entry: entry[0])


@given(chunks=st.lists(st.lists(st.tuples(st.integers(0, 9), st.sampled_from("ab")), max_size=6), max_size=6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_foreign_files_are_read_by_log_time_and_file_order(tmp_path: Path, chunks: list[list[tuple[int, str]]]) -> None:
    path = foreign(tmp_path / "f.mcap", chunks)
    assert [(m.received_ns, m.topic, m.payload) for m in read(path)] == expected(chunks)
    assert info(path).offset_ns == 0


def test_foreign_file_without_chunks_or_end(tmp_path: Path) -> None:
    chunks = [[(1, "a"), (1, "b")], [(1, "a"), (2, "a")]]
    loose = foreign(tmp_path / "loose.mcap", chunks, use_chunking=False)
    assert [(m.received_ns, m.topic, m.payload) for m in read(loose)] == expected(chunks)
    open_end = foreign(tmp_path / "open.mcap", chunks, is_finished=False)
    reading = read(open_end)
    assert [(m.received_ns, m.topic, m.payload) for m in reading] == expected(chunks)
    assert reading.is_truncated
    assert info(open_end).topics == {"a": 3, "b": 1}


def test_foreign_file_with_an_attachment_of_some_size(tmp_path: Path) -> None:
    path = tmp_path / "f.mcap"
    with path.open("wb") as file:
        writer = Writer(file, enable_data_crcs=True)
        writer.start("ros2", "another")
        channel = writer.register_channel("a", "json", 0)
        writer.add_message(channel, 3, b"{}", 3)
        writer.add_attachment(1, 1, "map.bin", "application/octet-stream", bytes(3 << 20))
        writer.add_metadata("other", {"monotonic_offset_ns": "7"})
        writer.finish()  # type: ignore[no-untyped-call]
    assert list(read(path)) == [RawMessage("a", b"{}", 3)]


def test_a_channel_that_does_not_exist_is_damage(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    writer = Writer(buffer)
    writer.start("edge", "another")
    writer.add_message(9, 3, b"{}", 3)
    writer.finish()  # type: ignore[no-untyped-call]
    path = tmp_path / "f.mcap"
    path.write_bytes(buffer.getvalue())
    with pytest.raises(TransportError, match="channel 9"):
        list(read(path))


def test_reading_can_stop_early(tmp_path: Path) -> None:
    path = record(tmp_path / "r.mcap", some(1000), flush_s=0.01)
    reading = read(path)
    first = [next(reading) for _ in range(5)]
    del reading
    assert first == some(5)
    assert all(a.received_ns < b.received_ns for a, b in pairwise(first))
