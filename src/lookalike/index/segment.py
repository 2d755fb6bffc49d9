"""The formats of a segment: what its header says, its columns, and how long every buffer is (docs/index-format.md).

A segment is an Arrow IPC file of which only the header and the contents of the buffers are free: everything else
follows from the header and the number of rows, letter by letter. The writer fills it in, the reader compares.

Format 2 is written. Its rows are photos of listings, and its header says which columns of a listing it holds. Format 1,
whose rows are listings and which holds their price alone, opens for ever.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Self, get_args

import numpy as np
import numpy.typing as npt

from lookalike.columns import Storage
from lookalike.errors import SegmentError
from lookalike.index import arrow

FORMAT = 2
"""What is written."""
FORMATS = (1, 2)
"""What opens."""
METADATA_KEY = "lookalike"
SKETCH_KEY = "sketch"
SKETCH_PLANES = 16
"""Groups of bits whose popcounts are kept for each row: 16 bytes beside 512 (docs/hamming.md tells why 16)."""
MAX_BITS = 16384
MAX_DESCRIPTOR = 4096
"""Bytes of the widest descriptor."""
MAX_ROWS = (1 << 31) - 1
"""Rows of one partition, and bytes of one of its text columns: Arrow's 32-bit offsets reach no further."""
ASPECT = "aspect_"
_RESERVED = frozenset({"listing_id", "photo_ordinal", "photo_id", "code", "sketch", "group"})
_FORMAT_1_COLUMNS: tuple[tuple[str, Storage], ...] = (("price", "number"),)

Lengths = npt.NDArray[np.int64]


def segment_name(shard: int, shards: int) -> str:
    """The name of a segment within its index snapshot."""
    return f"segment-{shard:03d}-of-{shards:03d}.arrow"


def aligned(n: Any) -> Any:
    """`n` bytes, rounded up to whole cache lines; for ints and int64 arrays."""
    return (n + arrow.ALIGNMENT - 1) // arrow.ALIGNMENT * arrow.ALIGNMENT


@dataclass(frozen=True, slots=True)
class Header:
    """What a segment says of itself. `categories` has the rows of each partition, in the order of the file."""

    bits: int
    release: str
    preset: Mapping[str, Any]
    shard: int
    shards: int
    aspects: tuple[str, ...]
    categories: tuple[tuple[str, int], ...]
    columns: tuple[tuple[str, Storage], ...] = _FORMAT_1_COLUMNS
    """Columns of a listing and how each is held, in the order of the file."""
    descriptors: tuple[tuple[str, int], ...] = ()
    """Further byte vectors of a photo beside its code, with their widths, in the order of the file."""
    listings: tuple[int, ...] = ()
    """How many listings the rows of each category are photos of."""
    format: int = FORMAT

    def to_json(self) -> str:
        body = asdict(self)
        if self.format == 1:
            for name in _SINCE_2:
                del body[name]
        return json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: bytes, file: str) -> Self:
        """Raises `SegmentError` with the rules `format` and `header`."""
        try:
            body = json.loads(text)
            found = body["format"]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise SegmentError(file, "header", f"the header is not JSON with a format: {error}") from error
        if type(found) is not int or found not in FORMATS:
            known = " or ".join(map(str, FORMATS))
            message = f"format {found!r:.40} is not {known}; a newer version of lookalike may read it"
            raise SegmentError(file, "format", message)
        try:
            body["categories"] = categories = _pairs(body["categories"])
            body["aspects"] = tuple(body["aspects"])
            if found == 1:
                if surplus := set(_SINCE_2) & set(body):
                    raise ValueError(f"format 1 has no {sorted(surplus)[0]}")
                body["listings"] = tuple(rows for _, rows in categories)
            else:
                body |= {n: _pairs(body[n]) for n in ("columns", "descriptors")}
                body["listings"] = tuple(body["listings"])
            header = cls(**body)
        except (ValueError, TypeError, KeyError) as error:
            raise SegmentError(file, "header", f"the header lacks something: {error}") from error
        header._check(file)
        return header

    def _check(self, file: str) -> None:
        names = [name for name, _ in self.categories]
        kinds = get_args(Storage)
        checks = {
            "bits": type(self.bits) is int and 0 < self.bits <= MAX_BITS and self.bits % 64 == 0,
            "release": isinstance(self.release, str),
            "preset": isinstance(self.preset, dict),
            "shards": type(self.shards) is int and type(self.shard) is int and 0 <= self.shard < self.shards,
            "aspects": all(isinstance(name, str) for name in self.aspects) and _ascending(self.aspects),
            "categories": all(isinstance(name, str) for name in names) and _ascending(names),
            "rows": all(type(rows) is int and 0 <= rows <= MAX_ROWS for _, rows in self.categories),
            "columns": _distinct([name for name, _ in (*self.columns, *self.descriptors)])
            and all(isinstance(kind, str) and kind in kinds for _, kind in self.columns),
            "descriptors": all(type(n) is int and 0 < n <= MAX_DESCRIPTOR for _, n in self.descriptors),
            "listings": len(self.listings) == len(names)
            and all(
                type(n) is int and (0 < n <= rows if type(rows) is int and rows else n == 0)
                for n, (_, rows) in zip(self.listings, self.categories, strict=False)
            ),
        }
        if wrong := [name for name, right in checks.items() if not right]:
            raise SegmentError(file, "header", f"the header's {', '.join(wrong)} cannot be")

    @property
    def width(self) -> int:
        """Bytes of a code."""
        return self.bits // 8

    @property
    def dictionaries(self) -> tuple[str, ...]:
        """The columns that have a dictionary, in the order of the dictionaries."""
        labels = [name for name, kind in self.columns if kind == "label"]
        return (*labels, *(ASPECT + name for name in self.aspects))


_SINCE_2 = ("columns", "descriptors", "listings")
"""Fields of the header that format 1 has not."""


def _pairs(items: Any) -> tuple[tuple[Any, Any], ...]:
    return tuple((name, value) for name, value in items)


def _ascending(names: Sequence[str]) -> bool:
    return all(a < b for a, b in pairwise(names))


def _distinct(names: Sequence[Any]) -> bool:
    """Whether these may be columns: texts, each once, none that the format itself uses."""
    texts = [name for name in names if isinstance(name, str) and name and not name.startswith(ASPECT)]
    return len({*texts}) == len(names) and not _RESERVED & {*texts}


@dataclass(frozen=True, slots=True)
class Buffer:
    """One buffer of a record batch: ``rows * per_row + extra`` bytes long, or a bit for each row (`per_row` 0.125)

    rounded up to bytes; `per_row` is None where data decides.
    """

    column: str
    part: str
    per_row: float | None
    extra: int = 0


_BIT = 1 / 8


class Layout:
    """The columns of a segment in file order, as Arrow nodes and buffers."""

    def __init__(self, header: Header) -> None:
        self.header = header
        self._fields: list[arrow.Field] = []
        self.nodes: list[str] = []
        """Column of each node."""
        self.nullable: list[int] = []
        """The nodes that may have nulls."""
        self.items: dict[str, int] = {}
        """Which node has the items of a list column; its name does not tell, since an aspect may be named so."""
        self.buffers: list[Buffer] = []
        self._dictionaries = {name: number for number, name in enumerate(header.dictionaries)}
        self._text("listing_id")
        if header.format > 1:
            self._numbers(arrow.int32("photo_ordinal"), 4)
        self._text("photo_id")
        self._bytes("code", header.width)
        self._sketch()
        for name, width in header.descriptors:
            self._bytes(name, width)
        self._text("group")
        for name, kind in header.columns:
            self._column(name, kind)
        for name in header.aspects:
            self._lists(ASPECT + name)
        self.schema = arrow.schema(self._fields, {METADATA_KEY: header.to_json()})
        self._places = {(b.column, b.part): i for i, b in enumerate(self.buffers)}

    def place(self, column: str, part: str = "data") -> int:
        """Which of the batch's buffers that is."""
        return self._places[column, part]

    def lengths(self, rows: Lengths) -> Lengths:
        """int64[batches, buffers]: how long each buffer must be, -1 where the data decide."""
        columns = [
            np.full_like(rows, -1)
            if b.per_row is None
            else (rows + 7) // 8
            if b.per_row == _BIT
            else rows * int(b.per_row) + b.extra
            for b in self.buffers
        ]
        return np.stack(columns, axis=1)

    def plain_template(self) -> arrow.Template:
        """The message of a batch without a sketch."""
        return arrow.batch_template(len(self.nodes), len(self.buffers))

    def sketched_template(self) -> arrow.Template:
        """The message of a batch with a sketch, whose grouping is in the message's metadata."""
        length = grouping_length(self.header.bits)
        return arrow.batch_template(len(self.nodes), len(self.buffers), SKETCH_KEY, length)

    def _column(self, name: str, kind: Storage) -> None:
        """A column of a listing, which may have nulls."""
        match kind:
            case "text":
                self._text(name, nullable=True)
            case "label":
                self._numbers(arrow.dictionary_text(name, self._dictionaries[name]), 4)
            case "number":
                self._numbers(arrow.float64(name), 8)

    def _text(self, name: str, *, nullable: bool = False) -> None:
        self._fields.append(arrow.utf8(name, nullable=nullable))
        validity = Buffer(name, "validity", _BIT if nullable else 0)
        self._add(
            name, validity, Buffer(name, "offsets", 4, extra=4), Buffer(name, "data", None), nullable=nullable
        )

    def _numbers(self, field: arrow.Field, width: int) -> None:
        validity = Buffer(field.name, "validity", _BIT if field.nullable else 0)
        self._fields.append(field)
        self._add(field.name, validity, Buffer(field.name, "data", width), nullable=field.nullable)

    def _bytes(self, name: str, width: int) -> None:
        self._numbers(arrow.binary(name, width), width)

    def _sketch(self) -> None:
        planes = [f"g{i:02d}" for i in range(SKETCH_PLANES)]
        self._fields.append(arrow.bytes_struct("sketch", planes))
        self._add("sketch", Buffer("sketch", "validity", 0))
        for plane in planes:
            name = f"sketch.{plane}"
            self._add(name, Buffer(name, "validity", 0), Buffer(name, "data", 1))

    def _lists(self, name: str) -> None:
        self._fields.append(arrow.dictionary_list(name, self._dictionaries[name]))
        self._add(name, Buffer(name, "validity", 0), Buffer(name, "offsets", 4, extra=4))
        self.items[name] = len(self.nodes)
        self._add(f"{name}.item", Buffer(f"{name}.item", "validity", 0), Buffer(f"{name}.item", "data", None))

    def _add(self, node: str, *buffers: Buffer, nullable: bool = False) -> None:
        if nullable:
            self.nullable.append(len(self.nodes))
        self.nodes.append(node)
        self.buffers.extend(buffers)


def grouping_length(bits: int) -> int:
    """Letters of a written `sketch.Grouping`: one for each bit, four hexadecimal digits for each plane."""
    return bits + 4 * SKETCH_PLANES
