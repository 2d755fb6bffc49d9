"""A writer of flatbuffers, the encoding of Arrow's metadata, with one byte string for one value.

Arrow libraries write the same metadata differently from version to version. Segments are named by their digest and
checked byte by byte, so their metadata is written here, always the same way: parents before children, the fields of
a table from the widest to the narrowest. Only what Arrow's `Schema.fbs`, `Message.fbs` and `File.fbs` need is there.
The format: https://flatbuffers.dev/internals/

A `Slot` is an int64 whose value is filled in later: `encode` returns where each lies, so that a message can serve as
a template to write by, and to compare with when reading.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scalar:
    """A number in a table; `code` is its `struct` code: b, B, h, i, q."""

    code: str
    value: int


@dataclass(frozen=True, slots=True)
class Slot:
    """An int64 in a table, zero until it is filled in."""

    name: str


@dataclass(frozen=True, slots=True)
class Structs:
    """A vector of `count` structs, 8-byte aligned, laid out already; `slot` names where the first begins."""

    data: bytes
    count: int
    slot: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    """A string; `slot` names where its bytes begin."""

    data: bytes
    slot: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table: field number of the .fbs file -> value."""

    fields: Mapping[int, Value]


Value = Scalar | Slot | Structs | Text | Table | Sequence[Table]


def encode(root: Table) -> tuple[bytes, dict[str, int]]:
    """The flatbuffer of `root`, a multiple of 8 bytes long, and the position of every named slot in it."""
    encoder = _Encoder()
    encoder.out += bytes(4)
    encoder.refer(0, root)
    encoder.pad(8)
    return bytes(encoder.out), encoder.slots


class _Encoder:
    def __init__(self) -> None:
        self.out = bytearray()
        self.slots: dict[str, int] = {}

    def pad(self, alignment: int, after: int = 0) -> None:
        """Zeros until the position `after` bytes further on is aligned."""
        self.out += bytes(-(len(self.out) + after) % alignment)

    def refer(self, place: int, value: Table | Structs | Text | Sequence[Table]) -> None:
        """Write `value` at the end, and at `place` the distance to it."""
        match value:
            case Table():
                position = self.table(value)
            case Structs():
                self.pad(8, after=4)
                position = len(self.out)
                self.out += struct.pack("<I", value.count)
                self.note(value.slot)
                self.out += value.data
            case Text():
                self.pad(4)
                position = len(self.out)
                self.out += struct.pack("<I", len(value.data))
                self.note(value.slot)
                self.out += value.data + b"\0"
            case _:
                self.pad(4)
                position = len(self.out)
                self.out += struct.pack("<I", len(value)) + bytes(4 * len(value))
        struct.pack_into("<I", self.out, place, position - place)
        if not isinstance(value, (Table, Structs, Text)):
            for i, item in enumerate(value):
                self.refer(position + 4 + 4 * i, item)

    def note(self, slot: str) -> None:
        if slot:
            self.slots[slot] = len(self.out)

    def table(self, table: Table) -> int:
        """Write one table, its vtable before it and what it refers to behind it; returns its position."""
        codes = {n: _code(value) for n, value in table.fields.items()}
        order = sorted(codes, key=lambda n: (-struct.calcsize(codes[n]), n))
        offsets, size = {}, 4
        for n in order:
            size += -(size + 4) % struct.calcsize(codes[n])  # the table begins 4 bytes before a multiple of 8
            offsets[n] = size
            size += struct.calcsize(codes[n])
        entries = [offsets.get(n, 0) for n in range(max(offsets, default=-1) + 1)]
        vtable = struct.pack(f"<HH{len(entries)}H", 4 + 2 * len(entries), size, *entries)
        self.pad(8, after=len(vtable) + 4)
        self.out += vtable
        position = len(self.out)
        self.out += struct.pack("<i", len(vtable)) + bytes(size - 4)
        for n in order:
            value, place = table.fields[n], position + offsets[n]
            match value:
                case Scalar():
                    struct.pack_into("<" + value.code, self.out, place, value.value)
                case Slot():
                    self.slots[value.name] = place
        for n in sorted(codes):
            value = table.fields[n]
            if not isinstance(value, (Scalar, Slot)):
                self.refer(position + offsets[n], value)
        return position


def _code(value: Value) -> str:
    match value:
        case Scalar():
            return value.code
        case Slot():
            return "q"
        case _:
            return "I"
