"""The one table of the serial protocol: frame, message types, fields, sizes, limits, versions.

The C header, the Python messages and docs/bridge-protocol.md are printed from here (``python -m firmware_bridge.protocol --write``); a
test compares them. Owns no code that touches bytes.
"""

from firmware_bridge.fields import Field, Message

VERSION = 1  # of the wire; a frame of another version is counted and not used
DELIMITER = 0  # one byte before and after every frame; COBS keeps it out of the frame itself
MAX_PAYLOAD = 4096  # bytes, what the host accepts; a board may have a smaller limit and says so in its hello
MAX_BOARD_PAYLOAD = 1024  # bytes, the C code's default
MIN_BOARD_PAYLOAD = 64  # bytes: every message without its rest, and a hello that says why it has no schema
TAG_BYTES = 8  # of keyed BLAKE2s
COUNTER_BYTES = 4
CRC_BYTES = 4  # CRC-32C (Castagnoli), little-endian, over everything before it
KEY_BYTES = 32
SEQ_WINDOW = 32  # frames: how far back a frame is known as repeated or as late
REMEMBERED = 16  # commands whose acks a board can give again
SCHEMA_MAX = 896  # bytes of schema text in a hello

FLAG_SIGNED = 1  # counter and tag follow the payload
FLAG_TO_BOARD = 2  # set by the host: bytes that come back from a looped line are not taken for the peer's

HEADER = (
    Field("version", "u8", "of the wire, 1"),
    Field("type", "u8", "code of the message"),
    Field("flags", "u8", "1: signed; 2: to the board"),
    Field("stream", "u8", "which telemetry, scan or log stream; otherwise 0"),
    Field("seq", "u16", "counts the sender's frames of all types, wraps"),
    Field("length", "u16", "bytes of the payload"),
    Field("stamp_us", "u64", "sender's clock, microseconds since it started; telemetry: of the first row"),
)
HEADER_FORMAT = "<BBBBHHQ"
HEADER_BYTES = 16
MIN_FRAME = HEADER_BYTES + CRC_BYTES  # bytes before COBS
MAX_FRAME = HEADER_BYTES + MAX_PAYLOAD + COUNTER_BYTES + TAG_BYTES + CRC_BYTES

MESSAGES = (
    Message(
        "hello_request",
        0x01,
        "host",
        False,
        (Field("session", "u64", "random number of the host's process; numbers its commands, makes the answer fresh"),),
        "",
        "Who is there? Starts a session: the board forgets the host's frame counter.",
    ),
    Message(
        "hello",
        0x02,
        "board",
        True,
        (
            Field("boot_id", "u64", "another one after every reset, random when commands are signed"),
            Field("session", "u64", "of the request that this answers, or 0"),
            Field("counter", "u32", "newest counter taken from a signed frame of the host in this boot"),
            Field("max_payload", "u16", "bytes, largest payload the board takes"),
            Field("firmware", "u16", "version of the firmware, major * 256 + minor"),
        ),
        "text",
        "Schema of the board: streams with rates and units, actuators, parameters.",
    ),
    Message(
        "heartbeat",
        0x03,
        "both",
        True,
        (
            Field("boot_id", "u64", "the board's; the host repeats it"),
            Field("received", "u32", "frames that came in, good or bad"),
            Field("refused", "u32", "of them, not used"),
            Field("lost", "u32", "frames of the peer that never came, by their counter"),
            Field("state", "u8", "0 starting, 1 running, 2 safe, 3 fault"),
            Field("load", "u8", "percent, or 255"),
        ),
        "",
        "I live. A board whose host is silent goes to its safe state by itself.",
    ),
    Message(
        "time_request",
        0x04,
        "host",
        False,
        (Field("host_us", "u64", "host's clock when this was sent"),),
        "",
        "What time is it? Deadlines of commands are by the board's clock.",
    ),
    Message(
        "time_response",
        0x05,
        "board",
        True,
        (
            Field("host_us", "u64", "of the request"),
            Field("received_us", "u64", "board's clock when the request came"),
            Field("sent_us", "u64", "board's clock when this was sent"),
        ),
        "",
        "The board's clock, with the time that the answer took.",
    ),
    Message(
        "telemetry",
        0x10,
        "board",
        False,
        (
            Field("number", "u32", "counts the blocks of the stream, wraps"),
            Field("period_ns", "u32", "between two rows"),
            Field("rows", "u16", "n >= 1"),
            Field("channels", "u8", "C >= 1"),
            Field("encoding", "u8", "0: little-endian float32, row by row"),
        ),
        "bytes",
        "n samples of C channels.",
    ),
    Message(
        "scan_chunk",
        0x11,
        "board",
        False,
        (
            Field("number", "u32", "counts the scans of the stream, wraps"),
            Field("points", "u32", "of the whole scan"),
            Field("first", "u32", "index of the first point in this chunk"),
            Field("columns", "u8", "values a point"),
            Field("encoding", "u8", "0: little-endian float32, point by point"),
        ),
        "bytes",
        "Part of a scan. Chunks may come in any order; a scan with a missing one is dropped when a newer scan starts.",
    ),
    Message(
        "command",
        0x20,
        "host",
        True,
        (
            Field("deadline_us", "u64", "board's clock; never obeyed after it"),
            Field("boot", "u32", "low 32 bits of the board's boot id: no command outlives a reset"),
            Field("session", "u32", "low 32 bits of the host's session"),
            Field("number", "u32", "counts the commands of the session; a repeated one is acknowledged again, not obeyed again"),
            Field("value", "f32", "in the actuator's unit"),
            Field("actuator", "u16", "which"),
            Field("mode", "u16", "0"),
        ),
        "",
        "Set an actuator, until the deadline.",
    ),
    Message(
        "command_ack",
        0x21,
        "board",
        True,
        (
            Field("session", "u32", "of the command"),
            Field("number", "u32", "of the command"),
            Field("left_us", "u32", "time that was left when it came"),
            Field("value", "f32", "what was set"),
            Field("actuator", "u16", "which"),
            Field("status", "u8", "see the table of statuses"),
            Field("repeats", "u8", "times that this command came again"),
        ),
        "",
        "What became of a command.",
    ),
    Message(
        "parameter_get",
        0x30,
        "host",
        False,
        (Field("request", "u16", "comes back in the answer"), Field("parameter", "u16", "which")),
        "",
        "Read a parameter.",
    ),
    Message(
        "parameter_set",
        0x31,
        "host",
        True,
        (Field("request", "u16", "comes back in the answer"), Field("parameter", "u16", "which"), Field("value", "f32", "new value")),
        "",
        "Write a parameter.",
    ),
    Message(
        "parameter_value",
        0x32,
        "board",
        True,
        (
            Field("request", "u16", "of the request"),
            Field("parameter", "u16", "which"),
            Field("value", "f32", "now in force"),
            Field("status", "u8", "as in command_ack"),
        ),
        "",
        "Answer to both.",
    ),
    Message(
        "log",
        0x40,
        "board",
        False,
        (Field("level", "u8", "0 debug, 1 info, 2 warning, 3 error"),),
        "text",
        "A line of the board's log.",
    ),
    Message(
        "fault",
        0x41,
        "board",
        False,
        (
            Field("count", "u32", "times since boot"),
            Field("code", "u16", "the board's own number"),
            Field("severity", "u8", "0 info, 1 warning, 2 critical"),
        ),
        "text",
        "Something is wrong on the board.",
    ),
)

STATUSES = (
    ("ok", "obeyed"),
    ("expired", "came after its deadline"),
    ("too_far", "deadline further ahead than the board allows"),
    ("old", "a newer command came before it"),
    ("wrong_boot", "meant for the board before its reset"),
    ("unknown", "no such actuator or parameter"),
    ("range", "value not finite or outside the allowed range"),
    ("refused", "the board's state forbids it"),
)

STATES = ("starting", "running", "safe", "fault")

REASONS = (  # why a received frame was not used; received = used + the sum of these
    ("oversized", "no end within the largest frame"),
    ("cobs", "not COBS"),
    ("short", "smaller than a header and its CRC"),
    ("crc", "CRC-32C is wrong"),
    ("version", "of another protocol version"),
    ("length", "right CRC, but not the length that the header says"),
    ("direction", "our own bytes came back"),
    ("unknown", "no such type, or a payload that does not fit its type"),
    ("repeated", "came twice"),
    ("unsigned", "the type must be signed and is not"),
    ("forged", "the tag is wrong"),
    ("replayed", "the counter did not rise"),
)

SCHEMA_GRAMMAR = """\
T1 imu 1000 ax=m/s^2,ay=m/s^2     telemetry stream 1: name, rows a second, channels with units
S1 lidar 10 x,y,z,intensity       scan stream 1: name, scans a second, columns
A1 brake % 0 100 100              actuator 1: name, unit, lowest, highest, safe value
P1 gain 1/s                       parameter 1: name, unit
Nname                             name of the board
?why                              instead of all: the board cannot tell its schema
"""


def main(arguments: list[str] | None = None) -> int:
    """Print or write what is made from this table."""
    from firmware_bridge import printing

    return printing.main(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
