"""The pipeline file as types: every key, its default, its range and its meaning, once.

The reference in docs/pipeline.md and the JSON Schema are generated from here. Nothing is read or opened here.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edge.config.lidar import Lidar
from edge.config.models import Model
from edge.config.monitoring import Drift, LabelsTable
from edge.config.recording import HealthTable, RecordingTable
from edge.config.stored import CheckpointTable, OutboxTable

_YEAR_MS = 31_622_400_000  # in ns it is far from the end of an int64


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every table of a pipeline file: immutable, keyword only, unknown keys refused."""


class Broker(Section, frozen=True, kw_only=True):
    """Where the MQTT broker is and how to prove who we are."""

    url: Annotated[str, Meta(description="`mqtt://host[:port]` or `mqtts://host[:port]` (TLS); ports default to 1883 and 8883")] = (
        "mqtt://127.0.0.1:1883"
    )
    insecure: Annotated[bool, Meta(description="allow plaintext to a host that is not loopback")] = False
    username: Annotated[str | None, Meta(description="user name, when the broker asks for one")] = None
    password: Annotated[str | None, Meta(description="password; prefer `password_file`")] = None
    password_file: Annotated[str | None, Meta(description="file whose first line is the password")] = None
    ca_file: Annotated[str | None, Meta(description="PEM file of the CA to trust instead of the system's (mqtts)")] = None
    cert_file: Annotated[str | None, Meta(description="PEM file of the client certificate (mqtts)")] = None
    key_file: Annotated[str | None, Meta(description="PEM file of the client key (mqtts)")] = None
    client_id: Annotated[str | None, Meta(description="MQTT client id; default `edge-<name>-<random>`")] = None
    keepalive_s: Annotated[int, Meta(ge=5, le=3600, description="a link silent for 1.5 times this is dead")] = 30
    connect_timeout_s: Annotated[float, Meta(gt=0, le=60, description="for address lookup, TCP, TLS and CONNACK together")] = 5.0
    retry_min_s: Annotated[float, Meta(gt=0, le=60, description="first wait before reconnecting; doubles, with jitter")] = 0.25
    retry_max_s: Annotated[float, Meta(gt=0, le=3600, description="longest wait before reconnecting")] = 10.0


class Serial(Section, frozen=True, kw_only=True):
    """A board, a GNSS receiver or an autopilot on a serial line: its streams come on `serial/<name>/<stream>`."""

    url: Annotated[
        str,
        Meta(
            description="`serial:///dev/ttyUSB0?baud=921600`; `&flow=rtscts`, `&parity=E`, `&stop=2`; `&protocol=nmea` or `mavlink` for "
            "devices that speak no docs/bridge-protocol.md"
        ),
    ]
    key_file: Annotated[str | None, Meta(description="file with the board's key, mode 0600: commands are signed; default: not")] = None


class Calibrate(Section, frozen=True, kw_only=True):
    """How a raw value becomes a measurement: `(x - offset) * scale`."""

    offset: Annotated[float, Meta(description="raw value that means zero")] = 0.0
    scale: Annotated[float, Meta(description="not 0")] = 1.0


class Matrix(Section, frozen=True, kw_only=True):
    """Misalignment and cross-sensitivity of three axes: the rows times the three calibrated values."""

    channels: Annotated[list[str], Meta(min_length=3, max_length=3, description="three channels with one unit")]
    rows: Annotated[list[list[float]], Meta(min_length=3, max_length=3, description="3 x 3, invertible")]


class Spike(Section, frozen=True, kw_only=True):
    """A value too far from the median of the last ones, itself included, is replaced by that median (Hampel filter)."""

    window: Annotated[int, Meta(ge=3, le=255, description="values of the channel; fewer judge nothing")] = 11
    sigmas: Annotated[float, Meta(gt=0, le=1e6, description="how many times 1.4826 * MAD (median absolute deviation) is too far")] = 6.0
    floor: Annotated[
        dict[str, float], Meta(description="per channel, the least standard deviation; without one, a MAD of 0 finds no spikes")
    ] = {}
    channels: Annotated[Annotated[list[str], Meta(min_length=1)] | None, Meta(description="default: all")] = None


class Stuck(Section, frozen=True, kw_only=True):
    """A value that stays exactly equal for too long is bad until it changes."""

    ms: Annotated[float, Meta(gt=0, le=_YEAR_MS, description="equal for longer than this, by the sender's stamps")]
    channels: Annotated[Annotated[list[str], Meta(min_length=1)] | None, Meta(description="default: all")] = None


class Missing(Section, frozen=True, kw_only=True):
    """What becomes of a value that is absent, not finite, out of range, too fast or stuck. Filled values are marked."""

    policy: Annotated[
        Literal["reject", "hold", "linear", "constant"],
        Meta(
            description="`reject` the row; `hold` the last good value; a `linear` fill between the last good value and the next, for which "
            "rows wait up to `lateness_ms`; a `constant`"
        ),
    ] = "reject"
    max_age_ms: Annotated[
        Annotated[float, Meta(gt=0, le=_YEAR_MS)] | None, Meta(description="hold: an older value is not held, and the row is rejected")
    ] = None
    values: Annotated[dict[str, float], Meta(description="constant: per channel; a row that lacks another one is rejected")] = {}


class Resample(Section, frozen=True, kw_only=True):
    """Rows onto an even grid, whatever the sender's rhythm. Needs `max_gap_ms`: nothing is made up across a longer step."""

    rate_hz: Annotated[
        float, Meta(ge=1e-3, le=1e6, description="stamps are `i * 10^9 // rate_hz` for every integer i; at most three decimals")
    ]
    method: Annotated[Literal["linear", "hold"], Meta(description="on a line between two rows, or the row before")] = "linear"


class Clean(Section, frozen=True, kw_only=True):
    """What a sample must satisfy to be used, and what is done to it, see docs/cleaning.md. Everything is counted."""

    calibrate: Annotated[dict[str, Calibrate], Meta(description="per channel `{ offset, scale }`")] = {}
    matrix: Annotated[list[Matrix], Meta(description="mixes three axes, after `calibrate`")] = []
    convert: Annotated[
        dict[str, str], Meta(description="per channel, the unit from here on, of the same quantity as in `channels`; after `matrix`")
    ] = {}
    range: Annotated[
        dict[str, tuple[float, float]], Meta(description="per channel `[lowest, highest]`, in the unit after `convert`, bounds included")
    ] = {}
    max_rate: Annotated[
        dict[str, Annotated[float, Meta(gt=0)]],
        Meta(description="per channel, largest change per second since its last good value, in the unit after `convert`"),
    ] = {}
    spike: Annotated[Spike | None, Meta(description="default: off")] = None
    stuck: Annotated[Stuck | None, Meta(description="default: off")] = None
    missing: Annotated[Missing, Meta(description="what becomes of bad and absent values")] = Missing()
    resample: Annotated[Resample | None, Meta(description="default: rows keep their stamps")] = None
    derive: Annotated[
        dict[str, Annotated[list[str], Meta(min_length=1)]],
        Meta(description="new channel to the channels whose Euclidean norm it is; they have one unit"),
    ] = {}
    lateness_ms: Annotated[
        float,
        Meta(
            ge=0,
            le=60_000,
            description="how long a frame may wait for one with a lower `seq` that is still missing, and a row for a `linear` fill, "
            "out of its budget; 0: never waits",
        ),
    ] = 0.0
    max_gap_ms: Annotated[
        Annotated[float, Meta(gt=0, le=_YEAR_MS)] | None, Meta(description="a longer step between two stamps is a gap; default: never")
    ] = None
    on_gap: Annotated[Literal["reset", "keep"], Meta(description="what a gap does to the windows of that device and stream")] = "reset"
    max_age_ms: Annotated[
        Annotated[float, Meta(gt=0, le=_YEAR_MS)] | None,
        Meta(description='older samples are dropped on arrival (needs `clock = "synced"`)'),
    ] = None
    max_ahead_ms: Annotated[
        Annotated[float, Meta(gt=0, le=_YEAR_MS)] | None,
        Meta(
            description="a stamp this far ahead is refused: of wall time (synced clock, default 2000), or of the previous stamp (free "
            "clock, default 3600000)"
        ),
    ] = None


class Stream(Section, frozen=True, kw_only=True):
    """One logical input: where it comes from, what it carries, how it is cleaned."""

    topic: Annotated[str, Meta(min_length=1, description="MQTT topic; `{device}` stands for one level and names the lane")]
    qos: Annotated[Literal[0, 1], Meta(description="of the subscription; 1 costs an acknowledgement a message")] = 0
    kind: Annotated[Literal["telemetry", "scan"], Meta(description="samples of named channels, or LIDAR scans")] = "telemetry"
    format: Annotated[Literal["msgpack", "json"], Meta(description="how payloads are encoded, see docs/wire.md")] = "msgpack"
    channels: Annotated[dict[str, str], Meta(description="channel name to unit, in column order (telemetry)")] = {}
    rate_hz: Annotated[
        Annotated[float, Meta(ge=1e-6, le=1e6)] | None,
        Meta(description="nominal samples per second of one device; windows and hops in time need it"),
    ] = None
    fields: Annotated[
        dict[str, str],
        Meta(description="JSON only: channel (or `seq`, `t`, `dt`) to its dotted path in the device's own JSON; default: the same name"),
    ] = {}
    stamp_unit: Annotated[
        Literal["ns", "us", "ms", "s"],
        Meta(
            description="JSON only: unit of `t` and `dt`; of two samples within one unit the second is refused (`stamp_past`): take a "
            "finer one above 100 Hz, and where a sender that catches up stamps while it sends"
        ),
    ] = "ns"
    clock: Annotated[
        Literal["free", "synced"], Meta(description="`synced`: stamps are Unix time and ages are checked; `free`: any origin")
    ] = "free"
    max_rows: Annotated[int, Meta(ge=1, le=65_536, description="most samples in one message")] = 1024
    max_points: Annotated[int, Meta(ge=1, le=4_000_000, description="most points in one scan")] = 262_144
    max_bytes: Annotated[int, Meta(ge=64, le=64_000_000, description="largest payload; larger ones are skipped unread")] = 65_536
    silent_ms: Annotated[
        Annotated[float, Meta(gt=0, le=_YEAR_MS)] | None,
        Meta(description="nothing came for so long: the stream is silent; default: 10 periods of `rate_hz`, at least 250 ms, or never"),
    ] = None
    on_silence: Annotated[Literal["note", "alert"], Meta(description="silence is a state; with `alert` one is sent as well")] = "note"
    asof_max_ms: Annotated[
        Annotated[float, Meta(gt=0, le=_YEAR_MS)] | None,
        Meta(description="when another stream triggers, this one's newest sample may be so old, or no vector is made; default: any age"),
    ] = None
    clean: Annotated[Clean, Meta(description="what a sample must satisfy")] = Clean()
    scan: Annotated[Lidar, Meta(description='`kind = "scan"` only: what is looked for in a scan')] = Lidar()

    @property
    def max_ahead_ms(self) -> float:
        """What ``clean.max_ahead_ms`` says, or what fits the clock."""
        return self.clean.max_ahead_ms or (2000.0 if self.clock == "synced" else 3_600_000.0)


class Table(Section, frozen=True, kw_only=True):
    """Values that belong to a device and change seldom: a file keyed by device, read again when it changes."""

    path: Annotated[str, Meta(min_length=1, description="`.parquet`, `.csv`, `.sqlite` or `.db`, relative to this file")]
    sql_table: Annotated[str | None, Meta(description="SQLite only: name of the table")] = None
    key: Annotated[str, Meta(min_length=1, description="column with the device's name")] = "device"
    columns: Annotated[dict[str, str], Meta(min_length=1, description="column name to unit")]
    refresh_s: Annotated[float, Meta(ge=0.1, le=86_400, description="how often the file is looked at")] = 5.0
    max_age_s: Annotated[
        Annotated[float, Meta(gt=0, le=3_153_600_000)] | None,
        Meta(description="rows of a file that has not changed for longer count as missing (in the daemon); default: any age"),
    ] = None
    missing: Annotated[
        Literal["skip", "default"], Meta(description="of a device without a row: no vectors are made, or `defaults` are used")
    ] = "skip"
    defaults: Annotated[dict[str, float], Meta(description='values with `missing = "default"`, one a column')] = {}


class Features(Section, frozen=True, kw_only=True):
    """Rolling statistics of some channels of one stream over one window; or columns of a table keyed by device."""

    stream: Annotated[str | None, Meta(description="name under `streams`")] = None
    channels: Annotated[list[str], Meta(description="channels of that stream")] = []
    window: Annotated[str | int | None, Meta(description='duration such as `"1s"`, or a number of samples')] = None
    hop: Annotated[
        str | int, Meta(description="a new vector every so often: duration or number of samples; counted from the stamps' own zero")
    ] = 1
    stats: Annotated[list[str], Meta(description="statistics, see the list below, or functions of `module`")] = []
    module: Annotated[str | None, Meta(description="Python file with statistics of your own, see docs/features.md")] = None
    table: Annotated[str | None, Meta(description="name under `tables`, instead of a stream; not in the first entry")] = None
    columns: Annotated[list[str], Meta(description="columns of that table")] = []


class Ramp(Section, frozen=True, kw_only=True):
    """A value that follows the score."""

    at_enter: Annotated[float, Meta(description="value when the score equals `enter`")]
    at_one: Annotated[float, Meta(description="value when the score is 1; linear between the two")]


class Rule(Section, frozen=True, kw_only=True):
    """When a score matters, and what is sent then."""

    name: Annotated[str, Meta(min_length=1, description="unique; appears as `cause.rule`")]
    score: Annotated[str, Meta(description="a label of the model, or the name of a feature")]
    enter: Annotated[float, Meta(description="active at or beyond this value; below `exit` means: triggers downwards")]
    exit: Annotated[float, Meta(description="inactive again beyond this value, on the other side of `enter`")]
    hold_ms: Annotated[
        float, Meta(ge=0, le=_YEAR_MS, description="how long the score must stay beyond `enter`, by the sender's stamps")
    ] = 0.0
    emit: Annotated[Literal["alert", "command"], Meta(description="what an active rule sends")]
    severity: Annotated[Literal["info", "warning", "critical"], Meta(description="of an alert")] = "warning"
    topic: Annotated[str | None, Meta(description="of an alert; may contain `{device}`")] = None
    actuator: Annotated[str | None, Meta(description="of a command: name under `actuators`")] = None
    value: Annotated[float | Ramp | None, Meta(description="of a command: a number, or `{ at_enter, at_one }`")] = None
    otherwise: Annotated[float | None, Meta(description="of a command: value sent while the rule is inactive; default: nothing")] = None


class Actuator(Section, frozen=True, kw_only=True):
    """The only outputs that exist, and the limits that nothing can exceed."""

    topic: Annotated[str, Meta(min_length=1, description="where commands go; may contain `{device}`")]
    unit: Annotated[str, Meta(description="unit of the value")]
    min: Annotated[float, Meta(description="smallest value ever sent")]
    max: Annotated[float, Meta(description="largest value ever sent")]
    slew_per_s: Annotated[
        Annotated[float, Meta(gt=0)] | None, Meta(description="fastest change in units per second; default: unlimited")
    ] = None
    ttl_ms: Annotated[float, Meta(gt=0, le=60_000, description="a command is void after this")]
    safe_value: Annotated[float, Meta(description="sent when decisions stop coming; within min and max")]
    stale_ms: Annotated[float, Meta(gt=0, le=600_000, description="no decision for this long: safe value, latched")]
    rearm_ms: Annotated[
        Annotated[float, Meta(ge=0, le=_YEAR_MS)] | None,
        Meta(description="decisions must flow this long before the latch opens; default: `stale_ms`"),
    ] = None


class PublishPredictions(Section, frozen=True, kw_only=True):
    """Publishes predictions, for dashboards and for measuring from outside."""

    topic: Annotated[str, Meta(min_length=1, description="may contain `{device}`")]
    every: Annotated[int, Meta(ge=1, description="one of so many predictions per device")] = 1
    features: Annotated[bool, Meta(description="include the feature vector")] = False
    format: Annotated[Literal["msgpack", "json"] | None, Meta(description="default: the file's `format`")] = None


class PublishStatus(Section, frozen=True, kw_only=True):
    """Publishes counters, latencies and health as JSON."""

    topic: Annotated[str | None, Meta(description="default `edge/<name>/status`")] = None
    every_s: Annotated[float, Meta(ge=0.1, le=3600, description="period")] = 1.0


class Publish(Section, frozen=True, kw_only=True):
    """What is published beside alerts and commands."""

    predictions: Annotated[PublishPredictions | None, Meta(description="default: not published")] = None
    status: Annotated[PublishStatus, Meta(description="always published")] = PublishStatus()


class Process(Section, frozen=True, kw_only=True):
    """The place of the daemon on its machine. Best effort: what is not permitted is said in the log and done without."""

    priority: Annotated[
        Annotated[int, Meta(ge=1, le=99)] | None,
        Meta(description="real-time priority (SCHED_FIFO) of the hot thread; default: none; needs `LimitRTPRIO` or CAP_SYS_NICE"),
    ] = None
    cpu: Annotated[list[Annotated[int, Meta(ge=0, le=4095)]], Meta(description="CPUs to run on; default: any")] = []
    lock_memory: Annotated[bool, Meta(description="nothing that was used once is paged out; needs `LimitMEMLOCK=infinity`")] = False


class RuntimeConfig(Section, frozen=True, kw_only=True):
    """A whole pipeline file."""

    name: Annotated[
        str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$(?!\n)", description="letters, digits, `_ . -`; appears in topics")
    ]
    budget_ms: Annotated[float, Meta(gt=0, le=60_000, description="from reading a frame's bytes to handing over its command")]
    on_overrun: Annotated[
        list[Literal["smaller_model", "skip", "safe_state"]],
        Meta(min_length=1, description="in this order, what happens to a frame that cannot meet the budget"),
    ] = msgspec.field(default_factory=lambda: ["smaller_model", "skip"])
    lanes: Annotated[int, Meta(ge=1, le=100_000, description="devices whose state is kept; one more evicts the longest idle")] = 16
    tick_ms: Annotated[int, Meta(ge=1, le=1000, description="period of the checks that need no frame")] = 20
    format: Annotated[Literal["json", "msgpack"], Meta(description="encoding of alerts, commands and predictions")] = "json"
    broker: Annotated[Broker, Meta(description="the MQTT broker")] = Broker()
    serial: Annotated[dict[str, Serial], Meta(description="serial lines by name, see docs/bridge.md")] = {}
    streams: Annotated[dict[str, Stream], Meta(min_length=1, description="inputs by name")]
    tables: Annotated[dict[str, Table], Meta(description="values by device, from files")] = {}
    features: Annotated[list[Features], Meta(description="the feature vector, in order; the first entry's stream triggers decisions")] = []
    model: Annotated[Model | None, Meta(description="default: rules act on features alone")] = None
    drift: Annotated[Drift, Meta(description="whether features and scores still look as in training")] = Drift()
    labels: Annotated[LabelsTable | None, Meta(description="the truth, after the prediction; default: nobody sends it")] = None
    rules: Annotated[list[Rule], Meta(description="in order of priority for an actuator")] = []
    actuators: Annotated[dict[str, Actuator], Meta(description="outputs by name; anything else is refused")] = {}
    publish: Annotated[Publish, Meta(description="what is published beside alerts and commands")] = Publish()
    process: Annotated[Process, Meta(description="priority, cores and memory of `edge run`")] = Process()
    outbox: Annotated[OutboxTable, Meta(description="where alerts wait for the broker")] = OutboxTable()
    checkpoint: Annotated[CheckpointTable, Meta(description="the state that a restart goes on from")] = CheckpointTable()
    recording: Annotated[RecordingTable, Meta(description="what comes in and goes out, to files, by a second process")] = RecordingTable()
    health: Annotated[HealthTable, Meta(description="how the daemon tells how it is")] = HealthTable()
