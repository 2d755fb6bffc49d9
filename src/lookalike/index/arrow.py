"""The parts of an Arrow IPC file: schema, dictionary and record batch messages, the footer.

These are the tables of Arrow's `Schema.fbs`, `Message.fbs` and `File.fbs`
(https://arrow.apache.org/docs/format/Columnar.html), as far as segments need them. The message of a batch is a
template: its bytes are fixed by the number of nodes and buffers, but for the numbers in its slots.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from lookalike.index.flatbuffer import Scalar, Slot, Structs, Table, Text, Value, encode

MAGIC = b"ARROW1"
PREFIX = 8
"""Bytes before a message: the continuation marker and the length."""
END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"
ALIGNMENT = 64
"""Of every body and every buffer in it: a cache line, so that no 64-byte load straddles two."""
BLOCK = struct.Struct("<qi4xq")

_VERSION_5 = Scalar("h", 4)
_SCHEMA, _DICTIONARY_BATCH, _RECORD_BATCH = (Scalar("B", n) for n in (1, 2, 3))
_INT, _FLOATING_POINT, _UTF8, _LIST, _STRUCT, _FIXED_SIZE_BINARY = (2, 3, 5, 12, 13, 15)
_INT32 = Table({0: Scalar("i", 32), 1: Scalar("B", 1)})


@dataclass(frozen=True, slots=True)
class Field:
    """One column of a schema: the number of its type in `Schema.fbs`, the type's table, its children."""

    name: str
    type: int
    parameters: Table
    nullable: bool = False
    children: tuple[Field, ...] = ()
    dictionary: int | None = None

    def table(self) -> Table:
        fields: dict[int, Value] = {
            0: Text(self.name.encode()),
            1: Scalar("B", self.nullable),
            2: Scalar("B", self.type),
            3: self.parameters,
            5: [child.table() for child in self.children],
        }
        if self.dictionary is not None:
            fields[4] = Table({0: Scalar("q", self.dictionary), 1: _INT32})
        return Table(fields)


def utf8(name: str, *, nullable: bool = False) -> Field:
    return Field(name, _UTF8, Table({}), nullable=nullable)


def dictionary_text(name: str, dictionary: int) -> Field:
    """dictionary<int32, utf8>, nullable; the values are in the dictionary batch of that number."""
    return Field(name, _UTF8, Table({}), nullable=True, dictionary=dictionary)


def int32(name: str) -> Field:
    return Field(name, _INT, _INT32)


def binary(name: str, width: int) -> Field:
    return Field(name, _FIXED_SIZE_BINARY, Table({0: Scalar("i", width)}))


def float64(name: str) -> Field:
    """Nullable."""
    return Field(name, _FLOATING_POINT, Table({0: Scalar("h", 2)}), nullable=True)


def bytes_struct(name: str, children: Sequence[str]) -> Field:
    """A struct of uint8 columns."""
    uint8 = Table({0: Scalar("i", 8), 1: Scalar("B", 0)})
    return Field(name, _STRUCT, Table({}), children=tuple(Field(child, _INT, uint8) for child in children))


def dictionary_list(name: str, dictionary: int) -> Field:
    """list<dictionary<int32, utf8>>; the values are in the dictionary batch of that number."""
    item = Field("item", _UTF8, Table({}), dictionary=dictionary)
    return Field(name, _LIST, Table({}), children=(item,))


def schema(fields: Sequence[Field], metadata: Mapping[str, str]) -> Table:
    """The schema's table, little endian."""
    return Table({0: Scalar("h", 0), 1: [field.table() for field in fields], 2: _pairs(metadata)})


def schema_message(table: Table, start: int) -> bytes:
    """The encapsulated message of a schema; what follows it in a file that has it at `start` is aligned."""
    data, _ = encode(_message(_SCHEMA, table, body=Scalar("q", 0)))
    return _encapsulated(data, start)


@dataclass(frozen=True, slots=True)
class Template:
    """Metadata with zeros in its slots: `rows`, `body`, `nodes`, `buffers` and those of text, for a batch."""

    data: bytes
    slots: Mapping[str, int]
    sizes: Mapping[str, int]
    """How many bytes of each slot are free."""


@cache
def batch_template(nodes: int, buffers: int, key: str = "", length: int = 0) -> Template:
    """The message of a record batch of so many nodes and buffers.

    With `key` it has custom metadata: a value of `length` bytes, filled in later, whose slot is the key.
    """
    pairs = [Table({0: Text(key.encode()), 1: Text(bytes(length), slot=key)})] if key else []
    sizes = {"nodes": 16 * nodes, "buffers": 16 * buffers} | ({key: length} if key else {})
    return _template(_message(_RECORD_BATCH, _batch(nodes, buffers), body=Slot("body"), pairs=pairs), sizes)


@cache
def dictionary_template(dictionary: int) -> Template:
    """The message of a dictionary batch of strings without nulls."""
    data = Table({0: Scalar("q", dictionary), 1: _batch(1, 3), 2: Scalar("B", 0)})
    return _template(_message(_DICTIONARY_BATCH, data, body=Slot("body")), {"nodes": 16, "buffers": 48})


def footer(table: Table, dictionaries: bytes, batches: bytes) -> Template:
    """The footer's flatbuffer; both blocks are arrays of `BLOCK`, in the slots `dictionaries` and `batches`."""
    vectors = {
        2: Structs(dictionaries, len(dictionaries) // BLOCK.size, "dictionaries"),
        3: Structs(batches, len(batches) // BLOCK.size, "batches"),
    }
    sizes = {"dictionaries": len(dictionaries), "batches": len(batches)}
    return Template(*encode(Table({0: _VERSION_5, 1: table, **vectors})), sizes)


def _batch(nodes: int, buffers: int) -> Table:
    vectors = {
        1: Structs(bytes(16 * nodes), nodes, "nodes"),
        2: Structs(bytes(16 * buffers), buffers, "buffers"),
    }
    return Table({0: Slot("rows"), **vectors})


def _message(kind: Scalar, header: Table, body: Value, pairs: Sequence[Table] = ()) -> Table:
    fields: dict[int, Value] = {0: _VERSION_5, 1: kind, 2: header, 3: body}
    return Table(fields | ({4: pairs} if pairs else {}))


def _pairs(metadata: Mapping[str, str]) -> Sequence[Table]:
    return [Table({0: Text(k.encode()), 1: Text(v.encode())}) for k, v in metadata.items()]


def _template(message: Table, sizes: Mapping[str, int]) -> Template:
    data, slots = encode(message)
    places = {name: place + PREFIX for name, place in slots.items()}
    return Template(_encapsulated(data, 0), places, {"rows": 8, "body": 8, **sizes})


def _encapsulated(data: bytes, start: int) -> bytes:
    padding = bytes(-(start + PREFIX + len(data)) % ALIGNMENT)
    return b"\xff\xff\xff\xff" + struct.pack("<i", len(data) + len(padding)) + data + padding
