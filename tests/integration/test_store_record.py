"""`edge record` as a process: through a real broker, with signals, lost links, and files that must always be complete."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge.cli.main import main
from edge.cli.record import is_filter
from edge.store.recording import info, read
from tests.broker import Mosquitto, broker, free_port, needs_mosquitto  # noqa: F401 - a fixture

pytestmark = [needs_mosquitto, pytest.mark.timeout(120)]

UP = "(MQTT 5)"  # logged once the subscription stands

PIPELINE = """
name = "guard"
budget_ms = 50

[broker]
url = "{url}"
client_id = "the-daemon"

[streams.temp]
topic = "plant/{{device}}/temp"
format = "json"
channels = {{ celsius = "degC" }}

[[features]]
stream = "temp"
channels = ["celsius"]
window = 2
stats = ["mean"]

[[rules]]
name = "hot"
score = "temp.celsius.mean.2"
enter = 60
exit = 50
emit = "alert"
topic = "plant/{{device}}/alerts"

[[rules]]
name = "cool"
score = "temp.celsius.mean.2"
enter = 60
exit = 50
emit = "command"
actuator = "fan"
value = 1.0

[actuators.fan]
topic = "plant/{{device}}/cmd/fan"
unit = "1"
min = 0.0
max = 1.0
ttl_ms = 200
safe_value = 0.3
stale_ms = 300

[publish.predictions]
topic = "plant/{{device}}/pred"
"""


class Recording:
    """`edge record` at work; its log is read line by line."""

    def __init__(self, path: Path, *arguments: str) -> None:
        self.path = path
        self.log = path.with_suffix(".log")
        with self.log.open("wb") as log:
            command = [sys.executable, "-m", "edge", "record", str(path), *arguments]
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)

    def wait_for(self, text: str, count: int = 1) -> None:
        until(lambda: self.log.read_text().count(text) >= count or self.process.poll() is not None)
        assert self.log.read_text().count(text) >= count, self.log.read_text()

    def wait_for_bytes(self, size: int) -> None:
        until(lambda: self.path.stat().st_size > size)

    def end(self, number: signal.Signals | None = signal.SIGTERM) -> str:
        if number is not None:
            self.process.send_signal(number)
        out, _ = self.process.communicate(timeout=30)
        return out


@pytest.fixture
def start() -> Iterator[Callable[..., Recording]]:
    started: list[Recording] = []

    def begin(path: Path, *arguments: str) -> Recording:
        started.append(Recording(path, *arguments))
        return started[-1]

    yield begin
    for recording in started:
        assert recording.process.stdout is not None
        recording.process.kill()
        recording.process.wait(10)
        recording.process.stdout.close()


def until(condition: Callable[[], object], timeout_s: float = 40.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def pub(broker: Mosquitto, topic: str, *payloads: str, options: tuple[str, ...] = ()) -> None:  # noqa: F811
    for payload in payloads:
        command = ["mosquitto_pub", "-p", str(broker.port), "-q", "1", "-t", topic, "-m", payload, *options]
        subprocess.run(command, check=True, timeout=20)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_records_what_arrives_until_it_is_told_to_stop(
    broker: Mosquitto,  # noqa: F811
    tmp_path: Path,
    start: Callable[..., Recording],
    number: signal.Signals,
) -> None:
    pub(broker, "a/old", "kept by the broker, of unknown age", options=("-r",))
    recording = start(tmp_path / "r.mcap", "--topic", "a/#", "--topic", "b", "--url", broker.url)
    recording.wait_for(UP)
    sent = [("a/x", '{"v": 1}'), ("b", "text"), ("a/y/z", "2"), ("a/x", '{"v": 2}')]
    for topic, payload in sent:
        pub(broker, topic, payload)
    pub(broker, "c", "not asked for")
    empty = recording.path.stat().st_size
    recording.wait_for_bytes(empty)
    out = recording.end(number)
    assert recording.process.returncode == 0
    assert [(raw.topic, raw.payload.decode(), raw.is_retained) for raw in read(recording.path)] == [(*pair, False) for pair in sent]
    held = info(recording.path)
    assert not held.is_truncated
    assert held.started_ns is not None
    assert held.stopped_ns is not None
    times = [raw.received_ns for raw in read(recording.path)]
    assert held.started_ns < times[0]
    assert times == sorted(times)
    assert times[-1] < held.stopped_ns
    assert held.metadata["filters"] == "a/# b"
    assert out.startswith(f"4 messages in {recording.path}")
    assert "a/x: 2" in out


def test_ends_by_itself_after_so_many_seconds(broker: Mosquitto, tmp_path: Path, start: Callable[..., Recording]) -> None:  # noqa: F811
    recording = start(tmp_path / "r.mcap", "--topic", "a", "--url", broker.url, "--seconds", "1.5")
    assert recording.end(None).startswith("0 messages")
    assert recording.process.returncode == 0
    held = info(recording.path)
    assert held.stopped_ns is not None
    assert held.started_ns is not None
    assert held.stopped_ns - held.started_ns >= 1_500_000_000


def test_inputs_of_a_pipeline_file_with_its_broker(broker: Mosquitto, tmp_path: Path, start: Callable[..., Recording]) -> None:  # noqa: F811
    """--all adds what the pipeline sends; the recorder takes neither the daemon's name nor its availability topic."""
    file = tmp_path / "guard.toml"
    file.write_text(PIPELINE.format(url=broker.url))
    inputs = start(tmp_path / "in.mcap", "--pipeline", str(file))
    both = start(tmp_path / "all.mcap", "--pipeline", str(file), "--all", "--topic", "plant/+/extra")
    topics = [
        "plant/d/temp",
        "plant/d/alerts",
        "plant/d/cmd/fan",
        "plant/d/pred",
        "plant/d/extra",
        "plant/d/none",
        "edge/guard/availability",
    ]
    for recording in (inputs, both):
        recording.wait_for(UP)
    sizes = [recording.path.stat().st_size for recording in (inputs, both)]
    for topic in topics:
        pub(broker, topic, "1")
    for recording, size in zip((inputs, both), sizes, strict=True):
        recording.wait_for_bytes(size)
        recording.end()
        assert recording.log.read_text().count(UP) == 1, "two clients with one name throw each other out"
    assert list(info(inputs.path).topics) == topics[:1]
    assert list(info(both.path).topics) == topics[:5]


def test_waits_for_a_broker_that_is_absent_and_for_one_that_was_killed(
    broker: Mosquitto,  # noqa: F811
    tmp_path: Path,
    start: Callable[..., Recording],
) -> None:
    broker.kill()
    recording = start(tmp_path / "r.mcap", "--topic", "a", "--url", broker.url)
    recording.wait_for("not connected to")
    broker.start()
    recording.wait_for(UP)
    pub(broker, "a", "1")
    broker.kill()
    recording.wait_for("not connected to", 2)
    broker.start()
    recording.wait_for(UP, 2)
    pub(broker, "a", "2")
    recording.wait_for_bytes(recording.path.stat().st_size)
    out = recording.end()
    assert [raw.payload for raw in read(recording.path)] == [b"1", b"2"]
    assert "the link came up 2 times" in out


def test_killed_recorder_has_written_what_came_before(broker: Mosquitto, tmp_path: Path, start: Callable[..., Recording]) -> None:  # noqa: F811
    recording = start(tmp_path / "r.mcap", "--topic", "a", "--url", broker.url)
    recording.wait_for(UP)
    size = recording.path.stat().st_size
    pub(broker, "a", "1", "2")
    recording.wait_for_bytes(size)  # within two seconds, although nothing more arrives
    recording.end(signal.SIGKILL)
    assert [raw.payload for raw in read(recording.path)][:1] == [b"1"]
    assert info(recording.path).is_truncated


def test_full_disk_ends_it_with_one_line_and_a_file_that_reads(broker: Mosquitto, tmp_path: Path) -> None:  # noqa: F811
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000));"
        "from edge.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    path = tmp_path / "r.mcap"
    with subprocess.Popen(
        [sys.executable, "-B", "-c", code, "record", str(path), "--topic", "a", "--url", broker.url], stderr=subprocess.PIPE, text=True
    ) as process:
        noise = tmp_path / "noise"
        noise.write_bytes(bytes((i * i * 7919 >> 5) % 256 for i in range(40_000)))
        while process.poll() is None:
            subprocess.run(["mosquitto_pub", "-p", str(broker.port), "-t", "a", "-f", str(noise)], check=True, timeout=20)
        assert process.stderr is not None
        err = process.stderr.read()
    assert process.returncode == 4
    assert err.splitlines()[-1] == f"edge: {path}: File too large"
    list(read(path))
    assert info(path).is_truncated


def test_a_broker_that_never_came_is_an_error_and_leaves_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "r.mcap"
    url = f"mqtt://127.0.0.1:{free_port()}"
    assert main(["record", str(path), "--topic", "a", "--url", url, "--seconds", "0.5"]) == 4
    assert f"edge: nothing was recorded: not connected to {url}" in capsys.readouterr().err
    assert not path.exists()


def test_an_existing_recording_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "r.mcap"
    path.write_text("precious")
    assert main(["record", str(path), "--topic", "a", "--seconds", "0.1"]) == 4
    assert "exists; --force replaces it" in capsys.readouterr().err
    assert path.read_text() == "precious"


def test_force_replaces_a_recording(tmp_path: Path, broker: Mosquitto) -> None:  # noqa: F811
    path = tmp_path / "r.mcap"
    path.write_text("not so precious")
    assert main(["record", str(path), "--topic", "a", "--url", broker.url, "--seconds", "1", "--force"]) == 0
    assert (info(path).messages, info(path).is_truncated) == (0, False)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "--topic"),
        (["--all", "--topic", "a"], "--pipeline"),
        (["--topic", "a/#/b"], "topic filter"),
        (["--topic", ""], "topic filter"),
        (["--topic", "a", "--url", "http://localhost"], "mqtt://"),
        (["--topic", "a", "--url", "mqtt://"], "mqtt://"),
        (["--topic", "a", "--url", "mqtt://localhost:99999"], "not an address"),
        (["--topic", "a", "--url", "mqtt://broker.example"], "in the clear"),
        (["--topic", "a", "--url", "mqtt://192.0.2.1:1883"], "in the clear"),
        (["--topic", "a", "--url", "mqtt://me:secret@localhost"], "credentials"),
    ],
)
def test_wrong_command_lines_end_with_2(tmp_path: Path, arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "r.mcap"
    assert main(["record", str(path), *arguments]) == 2
    assert text in capsys.readouterr().err
    assert not path.exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a", True), ("#", True), ("+/b/#", True), ("/", True), ("a+", False), ("#/a", False), ("a/b#", False), ("", False), ("a\0", False)],
)
def test_topic_filters(text: str, expected: object) -> None:
    assert is_filter(text) is expected


def test_recording_topics_loads_nothing_of_a_pipeline(tmp_path: Path) -> None:
    code = (
        "import sys; from edge.cli.main import main;"
        f"main(['record', {str(tmp_path / 'r.mcap')!r}, '--topic', 'a', '--url', 'mqtt://127.0.0.1:{free_port()}', '--seconds', '0.1']);"
        "sys.exit(any(name in sys.modules for name in ('numba', 'onnxruntime', 'edge.pipeline')))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False).returncode == 0
