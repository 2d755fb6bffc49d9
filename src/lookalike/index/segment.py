"""Format 1 of a segment: what its header says, its columns, and how long every buffer is (docs/index-format.md).

A segment is an Arrow IPC file of which only the header and the contents of the buffers are free: everything else
follows from the header and the number of rows, letter by letter. The writer fills it in, the reader compares.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from lookalike.errors import SegmentError
from lookalike.index import arrow

FORMAT = 1
METADATA_KEY = "lookalike"
SKETCH_KEY = "sketch"
SKETCH_PLANES = 16
"""Groups of bits whose popcounts are kept for each row: 16 bytes beside 512 (docs/hamming.md tells why 16)."""
MAX_BITS = 16384
MAX_ROWS = (1 << 31) - 1
"""Rows of one partition, and bytes of one of its text columns: Arrow's 32-bit offsets reach no further."""

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

    def to_json(self) -> str:
        return json.dumps(
            {"format": FORMAT} | asdict(self), sort_keys=True, separators=(",", ":"), allow_nan=False
        )

    @classmethod
    def from_json(cls, text: bytes, file: str) -> Self:
        """Raises `SegmentError` with the rules `format` and `header`."""
        try:
            body = json.loads(text)
            found = body.pop("format")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise SegmentError(file, "header", f"the header is not JSON with a format: {error}") from error
        if found != FORMAT:
            message = f"format {found!r:.40} is not {FORMAT}; a newer version of lookalike may read it"
            raise SegmentError(file, "format", message)
        try:
            categories = tuple((name, rows) for name, rows in body.pop("categories"))
            header = cls(**body | {"aspects": tuple(body["aspects"]), "categories": categories})
        except (ValueError, TypeError, KeyError) as error:
            raise SegmentError(file, "header", f"the header lacks something: {error}") from error
        header._check(file)
        return header

    def _check(self, file: str) -> None:
        names = [name for name, _ in self.categories]
        checks = {
            "bits": type(self.bits) is int and 0 < self.bits <= MAX_BITS and self.bits % 64 == 0,
            "release": isinstance(self.release, str),
            "preset": isinstance(self.preset, dict),
            "shards": type(self.shards) is int and type(self.shard) is int and 0 <= self.shard < self.shards,
            "aspects": all(isinstance(name, str) for name in self.aspects) and _ascending(self.aspects),
            "categories": all(isinstance(name, str) for name in names) and _ascending(names),
            "rows": all(type(rows) is int and 0 <= rows <= MAX_ROWS for _, rows in self.categories),
        }
        if wrong := [name for name, right in checks.items() if not right]:
            raise SegmentError(file, "header", f"the header's {', '.join(wrong)} cannot be")

    @property
    def width(self) -> int:
        """Bytes of a code."""
        return self.bits // 8


def _ascending(names: Sequence[str]) -> bool:
    return all(a < b for a, b in pairwise(names))


@dataclass(frozen=True, slots=True)
class Buffer:
    """One buffer of a record batch: ``rows * per_row + extra`` bytes long; `per_row` is None where data decides."""

    column: str
    part: str
    per_row: int | None
    extra: int = 0


class Layout:
    """The columns of a segment in file order, as Arrow nodes and buffers."""

    def __init__(self, header: Header) -> None:
        self.header = header
        fields: list[arrow.Field] = []
        self.nodes: list[str] = []
        """Column of each node."""
        self.items: dict[str, int] = {}
        """Which node has the items of a list column; its name does not tell, since an aspect may be named so."""
        self.buffers: list[Buffer] = []
        for name in ("listing_id", "photo_id"):
            fields.append(arrow.utf8(name))
            self._text(name)
        fields.append(arrow.binary("code", header.bits // 8))
        self._fixed("code", header.bits // 8)
        planes = [f"g{i:02d}" for i in range(SKETCH_PLANES)]
        fields.append(arrow.bytes_struct("sketch", planes))
        self._add("sketch", Buffer("sketch", "validity", 0))
        for plane in planes:
            self._fixed(f"sketch.{plane}", 1)
        fields.append(arrow.utf8("group"))
        self._text("group")
        fields.append(arrow.float64("price"))
        self._add("price", Buffer("price", "validity", None), Buffer("price", "data", 8))
        for number, name in enumerate(header.aspects):
            column = f"aspect_{name}"
            fields.append(arrow.dictionary_list(column, number))
            self._add(column, Buffer(column, "validity", 0), Buffer(column, "offsets", 4, extra=4))
            self.items[column] = len(self.nodes)
            self._add(
                f"{column}.item",
                Buffer(f"{column}.item", "validity", 0),
                Buffer(f"{column}.item", "data", None),
            )
        self.schema = arrow.schema(fields, {METADATA_KEY: header.to_json()})
        self._places = {(b.column, b.part): i for i, b in enumerate(self.buffers)}

    def place(self, column: str, part: str = "data") -> int:
        """Which of the batch's buffers that is."""
        return self._places[column, part]

    def lengths(self, rows: Lengths) -> Lengths:
        """int64[batches, buffers]: how long each buffer must be, -1 where the data decide."""
        columns = [
            (rows + 7) // 8
            if (b.column, b.part) == ("price", "validity")
            else np.full_like(rows, -1)
            if b.per_row is None
            else rows * b.per_row + b.extra
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

    def _add(self, node: str, *buffers: Buffer) -> None:
        self.nodes.append(node)
        self.buffers.extend(buffers)

    def _text(self, name: str) -> None:
        self._add(
            name, Buffer(name, "validity", 0), Buffer(name, "offsets", 4, extra=4), Buffer(name, "data", None)
        )

    def _fixed(self, name: str, width: int) -> None:
        self._add(name, Buffer(name, "validity", 0), Buffer(name, "data", width))


def grouping_length(bits: int) -> int:
    """Letters of a written `sketch.Grouping`: one for each bit, four hexadecimal digits for each plane."""
    return bits + 4 * SKETCH_PLANES
