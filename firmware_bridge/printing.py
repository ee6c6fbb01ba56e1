"""Prints the protocol table as Python messages and as a page of documentation. Owns their layout only."""

import argparse
from pathlib import Path

from firmware_bridge import protocol as table
from firmware_bridge.fields import Message
from firmware_bridge.printing_c import c_header

_HERE = Path(__file__).parent
_PYTHON = {"u8": "int", "u16": "int", "u32": "int", "u64": "int", "f32": "float"}


def python_messages() -> str:
    """``messages.py``."""
    lines = [
        '"""The messages of the serial protocol as Python values. Made by ``python -m firmware_bridge.protocol --write``; do not edit."""',
        "",
        "from enum import IntEnum",
        "from struct import Struct, error",
        "from typing import ClassVar",
        "",
        "import msgspec",
        "",
        "",
        "class Status(IntEnum):",
        '    """What became of a command or a parameter."""',
        "",
        *(f"    {name.upper()} = {number}  # {text}" for number, (name, text) in enumerate(table.STATUSES)),
        "",
        "",
        "class State(IntEnum):",
        '    """Of a board, or of a host."""',
        "",
        *(f"    {name.upper()} = {number}" for number, name in enumerate(table.STATES)),
    ]
    for message in table.MESSAGES:
        lines += ["", "", *_python_message(message)]
    lines += ["", "", "Message = ("]
    lines += [f"    {'| ' if number else ''}{_class(message.name)}" for number, message in enumerate(table.MESSAGES)]
    lines += [")", "", "TYPES: dict[int, type[Message]] = {"]
    lines += [f"    0x{message.code:02X}: {_class(message.name)}," for message in table.MESSAGES]
    lines += ["}", "SIGNED = frozenset((" + ", ".join(f"0x{m.code:02X}" for m in table.MESSAGES if m.is_signed) + "))"]
    lines += ["FROM_HOST = frozenset((" + ", ".join(f"0x{m.code:02X}" for m in table.MESSAGES if m.sender != "board") + "))"]
    lines += ["FROM_BOARD = frozenset((" + ", ".join(f"0x{m.code:02X}" for m in table.MESSAGES if m.sender != "host") + "))"]
    lines += ["", "", "def decode(code: int, payload: bytes) -> Message:", '    """Payload to message; ValueError when it is none."""']
    lines += ["    kind = TYPES.get(code)", "    if kind is None:"]
    lines += ['        raise ValueError(f"no message has type 0x{code:02x}")', "    try:", "        return kind.unpack(payload)"]
    lines += ["    except error as fault:", '        raise ValueError(f"{len(payload)} bytes are no {kind.__name__}: {fault}") from None']
    return "\n".join([*lines, ""])


def _class(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _python_message(message: Message) -> list[str]:
    name = _class(message.name)
    rest = {"": "", "bytes": "data", "text": "text"}[message.rest]
    lines = [
        f"class {name}(msgspec.Struct, frozen=True, gc=False):",
        f'    """{message.text}',
        "",
        "    Args:",
        *(f"        {field.name}: {field.text}." for field in message.fields),
        *([f"        {rest}: to the payload's end."] if rest else []),
        '    """',
        "",
        *(f"    {field.name}: {_PYTHON[field.kind]}" for field in message.fields),
        *([f"    {rest}: {'bytes' if rest == 'data' else 'str'}"] if rest else []),
        "",
    ]
    code = [
        f"    CODE: ClassVar[int] = 0x{message.code:02X}",
        f'    LAYOUT: ClassVar[Struct] = Struct("{message.format}")',
        "",
        "    def pack(self) -> bytes:",
        '        """To payload bytes."""',
    ]
    values = ", ".join(f"self.{field.name}" for field in message.fields)
    tail = {"": "", "data": " + self.data", "text": ' + self.text.encode("utf-8", "replace")'}[rest]
    if rest:
        code += [f"        numbers = self.LAYOUT.pack({values})", f"        return numbers{tail}"]
    else:
        code.append(f"        return self.LAYOUT.pack({values})")
    code += [
        "",
        "    @classmethod",
        f'    def unpack(cls, payload: bytes) -> "{name}":',
        '        """From payload bytes; ``struct.error`` otherwise."""',
    ]
    if not rest:
        code.append("        return cls(*cls.LAYOUT.unpack(payload))")
    else:
        end = f"payload[{message.size}:]" + ('.decode("utf-8", "replace")' if rest == "text" else "")
        code.append(f"        return cls(*(*cls.LAYOUT.unpack_from(payload), {end}))")
    return lines + code


def page() -> str:
    """``docs/bridge-protocol.md``."""
    lines = [
        "# The serial protocol",
        "",
        f"Version {table.VERSION}. Made from `firmware_bridge/protocol.py` by `python -m firmware_bridge.protocol --write`.",
        "All numbers are little-endian.",
        "",
        "## Frame",
        "",
        "`00 | COBS( header, payload, [counter, tag], crc ) | 00`",
        "",
        "| Part | Bytes | |",
        "|---|---|---|",
        f"| header | {table.HEADER_BYTES} | see below |",
        f"| payload | 0 .. {table.MAX_PAYLOAD} | `length` bytes; the C code's default limit is {table.MAX_BOARD_PAYLOAD} |",
        f"| counter | {table.COUNTER_BYTES} | only with flag 1; rises with every signed frame of a direction |",
        f"| tag | {table.TAG_BYTES} | only with flag 1; keyed BLAKE2s (RFC 7693), see [signing](#signing) |",
        f"| crc | {table.CRC_BYTES} | CRC-32C (polynomial 0x1EDC6F41, as iSCSI) over all bytes before it, the length included |",
        "",
        "Empty frames (two delimiters in a row) mean nothing. The delimiter before a frame ends whatever noise the idle line made, so",
        "garbage never costs the frame after it.",
        "",
        "| Header | Type | |",
        "|---|---|---|",
        *(f"| `{field.name}` | {field.kind} | {field.text} |" for field in table.HEADER),
        "",
        "## Messages",
        "",
    ]
    for message in table.MESSAGES:
        signed = "; signed when there is a key" if message.is_signed else ""
        lines += [f"### `{message.name}` (0x{message.code:02x})", "", f"{message.text} From: {message.sender}{signed}.", ""]
        lines += ["| Field | Type | |", "|---|---|---|"]
        lines += [f"| `{field.name}` | {field.kind} | {field.text} |" for field in message.fields]
        if message.rest:
            lines.append(f"| | {message.rest} | to the end |")
        lines.append("")
    lines += ["## Statuses", "", "| Code | Name | |", "|---|---|---|"]
    lines += [f"| {number} | `{name}` | {text} |" for number, (name, text) in enumerate(table.STATUSES)]
    lines += ["", "## Why a frame is not used", "", "received = used + the sum of these, on both sides.", "", "| Reason | |", "|---|---|"]
    lines += [f"| `{name}` | {text} |" for name, text in table.REASONS]
    lines += [
        "",
        "## Schema",
        "",
        "Entries of the text in a hello, separated by `;`:",
        "",
        "```",
        table.SCHEMA_GRAMMAR.rstrip(),
        "```",
        "",
        _SIGNING,
    ]
    return "\n".join(lines)


_SIGNING = """\
## Signing

Both sides hold the same 32 bytes. A tag is BLAKE2s with that key and a digest of 8 bytes over

`direction u8 (1: to the board, 0: to the host) | boot_id u64 | session u64 | header | payload | counter u32`

`boot_id` is the board's; `session` is the host's in frames to the host, and 0 in frames to the board. The receiver wants a counter
larger than the newest one it took: the board in its boot, the host of the same boot in its session, a hello included, also after the
line was lost. So a frame that was recorded is refused in the same boot by its counter, after a reset by the boot id, and by another host
process by its session. A board must have a boot id that nobody can
choose or meet again: from a random generator, or a counter in flash that rises at every start. A hello is only taken when it repeats
the session of our own request. Signing proves who sent a command; it hides nothing, and cannot help against a cut line.
"""


def outputs() -> dict[Path, str]:
    """Every file that is made from the table, with what belongs into it."""
    return {
        _HERE / "include" / "edge_bridge_protocol.h": c_header(),
        _HERE / "messages.py": python_messages(),
        _HERE.parent / "docs" / "bridge-protocol.md": page(),
    }


def main(arguments: list[str] | None = None) -> int:
    """``--write``, or one of the files to standard output."""
    parser = argparse.ArgumentParser(prog="python -m firmware_bridge.protocol", description="print what the protocol table says")
    parser.add_argument("what", nargs="?", choices=("header", "messages", "docs"), default="docs")
    parser.add_argument("--write", action="store_true", help="write all three files in the source tree")
    options = parser.parse_args(arguments)
    if options.write:
        for path, text in outputs().items():
            path.write_text(text)
        return 0
    print({"header": c_header, "messages": python_messages, "docs": page}[options.what](), end="")  # noqa: T201
    return 0
