"""What the protocol table is written in: numbers of a message, and messages. Owns no message."""

from typing import Literal, NamedTuple

Kind = Literal["u8", "u16", "u32", "u64", "f32"]
KINDS: dict[str, tuple[str, int, str]] = {  # struct character, bytes, C type
    "u8": ("B", 1, "uint8_t"),
    "u16": ("H", 2, "uint16_t"),
    "u32": ("I", 4, "uint32_t"),
    "u64": ("Q", 8, "uint64_t"),
    "f32": ("f", 4, "float"),
}


class Field(NamedTuple):
    """One little-endian number of a message."""

    name: str
    kind: Kind
    text: str


class Message(NamedTuple):
    """One type of message: numbers, then (``rest``) bytes or UTF-8 text to the payload's end.

    Args:
        name, code: in words and on the wire.
        sender: who may send it.
        is_signed: carries counter and tag when the two sides share a key, and is refused without.
        fields: in order, packed without gaps.
        rest: what follows them.
        text: what it is for.
    """

    name: str
    code: int
    sender: Literal["host", "board", "both"]
    is_signed: bool
    fields: tuple[Field, ...]
    rest: Literal["", "bytes", "text"]
    text: str

    @property
    def format(self) -> str:
        """For ``struct``."""
        return "<" + "".join(KINDS[field.kind][0] for field in self.fields)

    @property
    def size(self) -> int:
        """Bytes of the numbers."""
        return sum(KINDS[field.kind][1] for field in self.fields)
