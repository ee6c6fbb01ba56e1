"""Prints the protocol table as a C header: constants, structs, and functions that pack and unpack them."""

from firmware_bridge import protocol as table
from firmware_bridge.fields import KINDS, Message

_C_NUMBERS = (
    ("EB_VERSION", "VERSION"),
    ("EB_HEADER_BYTES", "HEADER_BYTES"),
    ("EB_COUNTER_BYTES", "COUNTER_BYTES"),
    ("EB_TAG_BYTES", "TAG_BYTES"),
    ("EB_CRC_BYTES", "CRC_BYTES"),
    ("EB_KEY_BYTES", "KEY_BYTES"),
    ("EB_SEQ_WINDOW", "SEQ_WINDOW"),
    ("EB_FLAG_SIGNED", "FLAG_SIGNED"),
    ("EB_FLAG_TO_BOARD", "FLAG_TO_BOARD"),
    ("EB_SCHEMA_MAX", "SCHEMA_MAX"),
    ("EB_MIN_PAYLOAD", "MIN_BOARD_PAYLOAD"),
    ("EB_LIMIT_PAYLOAD", "MAX_PAYLOAD"),
    ("EB_DEFAULT_MAX_PAYLOAD", "MAX_BOARD_PAYLOAD"),
    ("EB_DEFAULT_REMEMBERED", "REMEMBERED"),
)


def c_header() -> str:
    """``include/edge_bridge_protocol.h``."""
    lines = [
        "/* Made by `python -m firmware_bridge.protocol --write`. Do not edit: change protocol.py. */",
        "#ifndef EDGE_BRIDGE_PROTOCOL_H",
        "#define EDGE_BRIDGE_PROTOCOL_H",
        "",
        "#include <stdint.h>",
        _C_STRING,
        "",
        *(f"#define {name} {getattr(table, constant)}u" for name, constant in _C_NUMBERS),
        "",
        "/* Message types */",
        *(f"#define EB_{message.name.upper()} 0x{message.code:02x}u /* {message.text} */" for message in table.MESSAGES),
        "",
        "/* Statuses of command_ack and parameter_value */",
        *(f"#define EB_STATUS_{name.upper()} {number}u /* {text} */" for number, (name, text) in enumerate(table.STATUSES)),
        "",
        "/* States of heartbeat */",
        *(f"#define EB_STATE_{name.upper()} {number}u" for number, name in enumerate(table.STATES)),
        "",
        "/* Why a frame was not used: index into eb_counters.refused */",
        *(f"#define EB_REASON_{name.upper()} {number}u /* {text} */" for number, (name, text) in enumerate(table.REASONS)),
        f"#define EB_REASONS {len(table.REASONS)}u",
        "",
        f"#define EB_SIGNED_TYPES(type) ({' || '.join(f'(type) == EB_{m.name.upper()}' for m in table.MESSAGES if m.is_signed)})",
        "",
        _c_table(16),
        _c_table(256),
        "",
        _C_HELPERS,
    ]
    for message in table.MESSAGES:
        lines += _c_message(message)
    return "\n".join([*lines, "#endif", ""])


_C_STRING = """\
/* memcpy and memset; a bare compiler without a C library has no string.h. */
#ifdef __has_include
#if !__has_include(<string.h>)
#include <stddef.h>
#define EB_NO_STRING_H
void *memcpy(void *to, const void *from, size_t n);
void *memset(void *to, int byte, size_t n);
#endif
#endif
#ifndef EB_NO_STRING_H
#include <string.h>
#endif"""

_C_HELPERS = """\
static inline uint8_t *eb_put_u8(uint8_t *at, uint8_t value)
{
    at[0] = value;
    return at + 1;
}
static inline uint8_t *eb_put_u16(uint8_t *at, uint16_t value)
{
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
    return at + 2;
}
static inline uint8_t *eb_put_u32(uint8_t *at, uint32_t value)
{
    return eb_put_u16(eb_put_u16(at, (uint16_t)value), (uint16_t)(value >> 16));
}
static inline uint8_t *eb_put_u64(uint8_t *at, uint64_t value)
{
    return eb_put_u32(eb_put_u32(at, (uint32_t)value), (uint32_t)(value >> 32));
}
static inline uint8_t *eb_put_f32(uint8_t *at, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return eb_put_u32(at, bits);
}
static inline uint8_t eb_get_u8(const uint8_t *at)
{
    return at[0];
}
static inline uint16_t eb_get_u16(const uint8_t *at)
{
    return (uint16_t)(at[0] | (uint16_t)((uint16_t)at[1] << 8));
}
static inline uint32_t eb_get_u32(const uint8_t *at)
{
    return eb_get_u16(at) | ((uint32_t)eb_get_u16(at + 2) << 16);
}
static inline uint64_t eb_get_u64(const uint8_t *at)
{
    return eb_get_u32(at) | ((uint64_t)eb_get_u32(at + 4) << 32);
}
static inline float eb_get_f32(const uint8_t *at)
{
    uint32_t bits = eb_get_u32(at);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
"""


def _c_message(message: Message) -> list[str]:
    name = message.name
    lines = [
        f"/* {message.text} From: {message.sender}. */",
        "typedef struct {",
        *(f"    {KINDS[field.kind][2]} {field.name}; /* {field.text} */" for field in message.fields),
        f"}} eb_{name}_t;",
        f"#define EB_{name.upper()}_BYTES {message.size}u{' /* then ' + message.rest + ' to the end */' if message.rest else ''}",
    ]
    if message.sender != "host":
        lines += [
            f"static inline void eb_pack_{name}(uint8_t *at, const eb_{name}_t *message)",
            "{",
            *(f"    at = eb_put_{field.kind}(at, message->{field.name});" for field in message.fields),
            "    (void)at;",
            "}",
        ]
    if message.sender != "board":
        lines += [f"static inline void eb_unpack_{name}(eb_{name}_t *message, const uint8_t *at)", "{"]
        at = 0
        for field in message.fields:
            lines.append(f"    message->{field.name} = eb_get_{field.kind}(at + {at});")
            at += KINDS[field.kind][1]
        lines.append("}")
    return [*lines, ""]


def _c_table(size: int) -> str:
    """Of CRC-32C, for steps of 4 bits (16 entries) or 8 bits (256)."""
    entries = []
    for value in range(size):
        for _ in range(size.bit_length() - 1):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)  # noqa: PLW2901
        entries.append(f"0x{value:08X}u")
    rows = [", ".join(entries[at : at + 8]) for at in range(0, size, 8)]
    return f"#define EB_CRC_TABLE_{size} \\\n    " + ", \\\n    ".join(rows)
