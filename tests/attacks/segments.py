"""Broken, hostile and foreign segments, each with the rule it must be refused by: (bytes of a sound segment) -> bytes.

Most keep everything right but one thing, so that no earlier rule can catch them; offsets and lengths are aimed where a
reader that trusted them would read outside the file, loop, or allocate without bound.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable

import numpy as np
import pyarrow as pa

from lookalike.index import arrow
from lookalike.index.mapped import MappedSegment
from lookalike.index.segment import Header, Layout

Attack = Callable[[bytes, MappedSegment], bytes]


def put(data: bytes, at: int, value: bytes) -> bytes:
    return data[:at] + value + data[at + len(value) :]


def _message(segment: MappedSegment) -> tuple[int, dict[str, int]]:
    """Start and slots of the first record batch's message, which has no sketch."""
    template = segment.layout.plain_template()
    return int(segment.starts[0, 0]) - len(template.data), dict(template.slots)


def _slot(name: str, number: int, value: int) -> Attack:
    """Overwrite the `number`-th int64 of a slot of the first batch."""

    def attack(data: bytes, segment: MappedSegment) -> bytes:
        start, slots = _message(segment)
        return put(data, start + slots[name] + 8 * number, struct.pack("<q", value))

    return attack


def _block(number: int, field: int, value: int) -> Attack:
    """Overwrite one field of the `number`-th record batch's block in the footer."""

    def attack(data: bytes, segment: MappedSegment) -> bytes:
        counts = len(segment.header.aspects), len(segment.header.categories)
        footer = arrow.footer(segment.layout.schema, *(bytes(24 * n) for n in counts))
        start = len(data) - 10 - len(footer.data) + footer.slots["batches"] + 24 * number
        fields = list(arrow.BLOCK.unpack_from(data, start))
        fields[field] = value
        return put(data, start, arrow.BLOCK.pack(*fields))

    return attack


def _in_footer(value: bytes) -> Attack:
    """Overwrite the beginning of the footer's flatbuffer."""
    return lambda data, segment: put(
        data, len(data) - 10 - struct.unpack_from("<i", data, len(data) - 10)[0], value
    )


def _contents(column: str, part: str, value: bytes, at: int = 0) -> Attack:
    """Overwrite the contents of a buffer of the first batch."""

    def attack(data: bytes, segment: MappedSegment) -> bytes:
        return put(data, int(segment.starts[0, segment.layout.place(column, part)]) + at, value)

    return attack


def _headed(change: dict[str, object]) -> Attack:
    """Another header, with the schema that belongs to it."""

    def attack(data: bytes, segment: MappedSegment) -> bytes:
        old = segment.header
        message = arrow.schema_message(Layout(old).schema, 8)
        body = json.dumps(json.loads(old.to_json()) | change, sort_keys=True, separators=(",", ":"))

        class Lying(Header):
            def to_json(self) -> str:
                return body

        lying = Lying(**{name: getattr(old, name) for name in Header.__slots__})
        return data[:8] + arrow.schema_message(Layout(lying).schema, 8) + data[8 + len(message) :]

    return attack


def _foreign(data: bytes, segment: MappedSegment) -> bytes:
    sink = io.BytesIO()
    table = pa.table({"listing_id": ["a"], "code": pa.array([b"1" * 16], pa.binary(16))})
    with pa.ipc.new_file(sink, table.schema) as file:
        file.write_table(table)
    return sink.getvalue()


def _rewritten(data: bytes, segment: MappedSegment) -> bytes:
    """The same table, written by an Arrow library: equal to Arrow, but not byte by byte."""
    table = pa.ipc.open_file(pa.py_buffer(data)).read_all()
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as file:
        file.write_table(table)
    return sink.getvalue()


def _cut(at: float) -> Attack:
    return lambda data, segment: data[: int(len(data) * at)]


def _null_bit(column: str) -> Attack:
    """Flip the validity of a column's first row, without a word to the count of nulls."""

    def attack(data: bytes, segment: MappedSegment) -> bytes:
        at = int(segment.starts[0, segment.layout.place(column, "validity")])
        return put(data, at, bytes([data[at] ^ 1]))

    return attack


def _nulls(column: str, value: int) -> Attack:
    """Another count of nulls."""

    def attack(data: bytes, segment: MappedSegment) -> bytes:
        return _slot("nodes", 2 * segment.layout.nodes.index(column) + 1, value)(data, segment)

    return attack


BIG = 1 << 62
ATTACKS: dict[str, tuple[str, Attack]] = {
    "empty": ("file", lambda data, segment: b""),
    "one byte": ("magic", lambda data, segment: b"A"),
    "text": ("magic", lambda data, segment: b"listing_id,photo_id\n" * 100),
    "magic only": ("schema", lambda data, segment: arrow.MAGIC + b"\0\0" + bytes(16) + arrow.MAGIC),
    "cut in half": ("length", _cut(0.5)),
    "cut in the header": ("length", _cut(0.01)),
    "last byte missing": ("length", lambda data, segment: data[:-1]),
    "something behind": ("length", lambda data, segment: data + b"\0"),
    "twice": ("blocks", lambda data, segment: data + data),
    "cut in the middle, end kept": ("blocks", lambda data, segment: data[: len(data) // 2] + data[-5000:]),
    "foreign Arrow file": ("schema", _foreign),
    "rewritten by Arrow": ("schema", _rewritten),
    "schema length negative": ("schema", lambda data, segment: put(data, 12, struct.pack("<i", -1))),
    "schema length beyond the file": (
        "schema",
        lambda data, segment: put(data, 12, struct.pack("<i", 2**31 - 1)),
    ),
    "schema offset wild": ("schema", lambda data, segment: put(data, 16, b"\xff\xff\xff\x7f")),
    "footer length negative": (
        "footer",
        lambda data, segment: put(data, len(data) - 10, struct.pack("<i", -8)),
    ),
    "footer length zero": ("footer", lambda data, segment: put(data, len(data) - 10, bytes(4))),
    "footer root": ("footer", _in_footer(b"\x04\0")),
    "newer format": ("format", _headed({"format": 3})),
    "format is a list": ("format", _headed({"format": [1]})),
    "no bits": ("header", _headed({"bits": 0})),
    "odd bits": ("header", _headed({"bits": 100})),
    "bits are text": ("header", _headed({"bits": "128"})),
    "too many bits": ("header", _headed({"bits": 1 << 40})),
    "other bits": ("schema", _headed({"bits": 256})),
    "negative rows": ("header", _headed({"categories": [["a", -1]]})),
    "rows beyond Arrow": ("header", _headed({"categories": [["a", 1 << 31]]})),
    "categories not sorted": ("header", _headed({"categories": [["b", 1], ["a", 1]]})),
    "category twice": ("header", _headed({"categories": [["a", 1], ["a", 1]]})),
    "category of three": ("header", _headed({"categories": [["a", 1, 1]]})),
    "shard out of range": ("header", _headed({"shard": 7})),
    "unknown field": ("header", _headed({"surprise": 1})),
    "block before the file": ("blocks", _block(0, 0, -64)),
    "block beyond the file": ("blocks", _block(0, 0, BIG)),
    "block on another block": ("blocks", _block(1, 0, 4096)),
    "block body negative": ("blocks", _block(0, 2, -64)),
    "block body huge": ("blocks", _block(0, 2, BIG)),
    "block metadata huge": ("blocks", _block(0, 1, 2**31 - 1)),
    "rows of the batch": ("message", _slot("rows", 0, 6)),
    "rows huge": ("message", _slot("rows", 0, BIG)),
    "rows negative": ("message", _slot("rows", 0, -1)),
    "body differs from the footer": ("message", _slot("body", 0, 64)),
    "node length": ("message", _slot("nodes", 0, BIG)),
    "nulls where none may be": ("message", _slot("nodes", 1, 1)),
    "buffer length negative": ("buffers", _slot("buffers", 5, -1)),
    "buffer length huge": ("buffers", _slot("buffers", 5, BIG)),
    "buffer length overflows": ("buffers", _slot("buffers", 5, 2**63 - 1)),
    "buffer offset outside": ("buffers", _slot("buffers", 4, BIG)),
    "buffer offset negative": ("buffers", _slot("buffers", 4, -64)),
    "buffers overlap": ("buffers", _slot("buffers", 4, 0)),
    "text offset outside": ("rows", _contents("listing_id", "offsets", struct.pack("<i", 2**31 - 1), 4)),
    "text offset negative": ("rows", _contents("photo_id", "offsets", struct.pack("<i", -5), 4)),
    "text offsets fall": ("rows", _contents("group", "offsets", struct.pack("<ii", 3, 1), 4)),
    "text not UTF-8": ("rows", _contents("listing_id", "data", b"\xff\xfe")),
    "aspect index outside": ("rows", _contents("aspect_color.item", "data", struct.pack("<i", 1000))),
    "aspect index negative": ("rows", _contents("aspect_color.item", "data", struct.pack("<i", -1))),
    "aspect offset outside": ("rows", _contents("aspect_color", "offsets", struct.pack("<i", 1 << 30), 4)),
    "null without a word": ("rows", _null_bit("price")),
    "nulls negative": ("message", _nulls("price", -1)),
    "more nulls than rows": ("message", _nulls("price", BIG)),
}
"""On segments of every format."""

PRICE = ["price", "number"]
ATTACKS_2: dict[str, tuple[str, Attack]] = {
    "as format 1": ("header", _headed({"format": 1})),
    "columns are text": ("header", _headed({"columns": "price"})),
    "column of an unknown kind": ("header", _headed({"columns": [["price", "pickle"]]})),
    "kind is a list": ("header", _headed({"columns": [["price", []]]})),
    "column twice": ("header", _headed({"columns": [PRICE, PRICE]})),
    "column without a name": ("header", _headed({"columns": [["", "text"]]})),
    "column named as the code": ("header", _headed({"columns": [["code", "text"]]})),
    "column named as an aspect": ("header", _headed({"columns": [["aspect_color", "text"]]})),
    "column named as a descriptor": ("header", _headed({"columns": [["look", "text"]]})),
    "column of another kind": ("schema", _headed({"columns": [["price", "text"]]})),
    "columns forgotten": ("schema", _headed({"columns": []})),
    "descriptor without bytes": ("header", _headed({"descriptors": [["look", 0]]})),
    "descriptor huge": ("header", _headed({"descriptors": [["look", 1 << 40]]})),
    "descriptor of another width": ("schema", _headed({"descriptors": [["look", 25]]})),
    "more listings than rows": ("header", _headed({"listings": [BIG, 40, 1]})),
    "rows of no listing": ("header", _headed({"listings": [0, 40, 1]})),
    "listings of a category forgotten": ("header", _headed({"listings": [5, 40]})),
    "listings are true": ("header", _headed({"listings": [True, 40, 1]})),
    "ordinal negative": ("rows", _contents("photo_ordinal", "data", struct.pack("<i", -1))),
    "listing split in two": ("rows", _contents("listing_id", "data", b"K", 8)),
    "text of a column outside": ("rows", _contents("url", "offsets", struct.pack("<i", 2**31 - 1), 4)),
    "text of a column not UTF-8": ("rows", _contents("image_url", "data", b"\xff\xfe")),
    "text null without a word": ("rows", _null_bit("image_url")),
    "label outside": ("rows", _contents("currency", "data", struct.pack("<i", 2))),
    "label negative": ("rows", _contents("seller", "data", struct.pack("<i", -1))),
    "label null without a word": ("rows", _null_bit("currency")),
    "nulls of a label": ("rows", _nulls("currency", 1)),
}
"""On a segment of format 2 that has all kinds of columns: three listings of the first category have several photos."""


def random_damage(data: bytes, rng: np.random.Generator) -> bytes:
    """One to four random changes, most of them where the structure is: extreme numbers, flipped bytes, cuts."""
    for _ in range(int(rng.integers(1, 5))):
        kind = rng.integers(0, 6)
        near_end = len(data) - int(rng.integers(1, min(len(data), 4000)))
        at = near_end if rng.integers(0, 2) else int(rng.integers(0, len(data)))
        if kind == 0:
            data = put(data, at, rng.bytes(int(rng.integers(1, 9))))[: len(data)]
        elif kind == 1:
            extreme = int(rng.choice([-(2**63), -1, 0, 1, 2**31 - 1, 2**31, 2**62, 2**63 - 1]))
            at -= at % 8
            data = put(data, at, struct.pack("<q", extreme))[: len(data)]
        elif kind == 2:
            data = put(data, at, struct.pack("<i", int(rng.integers(-(2**31), 2**31))))[: len(data)]
        elif kind == 3:
            data = put(data, at, bytes([data[at] ^ (1 << int(rng.integers(0, 8)))]))
        elif kind == 4:
            data = data[: max(1, at)] if rng.integers(0, 8) == 0 else put(data, at, b"\0")
        else:
            other = int(rng.integers(0, len(data)))
            data = put(data, at, data[other : other + 16])[: len(data)]
    return data
