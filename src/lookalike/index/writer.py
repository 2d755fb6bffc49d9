"""Writes one segment front to back, with holes where the codes and sketches will be.

Everything but the codes is small and known first, so the whole file is laid out at once; the builder then scatters
codes into the holes through a memory map, in whatever order it reads them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lookalike.columns import Storage
from lookalike.errors import CatalogueError
from lookalike.index import arrow
from lookalike.index.segment import (
    ASPECT,
    MAX_ROWS,
    SKETCH_KEY,
    SKETCH_PLANES,
    Header,
    Layout,
    aligned,
)


@dataclass(frozen=True, slots=True)
class Holes:
    """Where in the file a partition's vectors, sketch planes and grouping go; `grouping` is 0 without a sketch."""

    rows: int
    vectors: Mapping[str, int]
    """Of the code and of each descriptor."""
    sketch: int
    grouping: int


class SegmentWriter:
    """Writes into `file`, which must be new and seekable: `add` every category of `header`, then `finish`.

    `dictionaries` has the values of each label and `aspect_<name>`, sorted.
    """

    def __init__(self, file: BinaryIO, header: Header, dictionaries: Mapping[str, pa.StringArray]) -> None:
        self._file, self._header, self._layout = file, header, Layout(header)
        self._templates = (self._layout.plain_template(), self._layout.sketched_template())
        self._dictionaries: list[bytes] = []
        self._batches: list[bytes] = []
        file.write(arrow.MAGIC + b"\0\0")
        file.write(arrow.schema_message(self._layout.schema, 8))
        for number, name in enumerate(header.dictionaries):
            values = dictionaries[name]
            template = arrow.dictionary_template(number)
            buffers: list[bytes | int] = [b"", *_text(values)]
            self._dictionaries.append(self._write(template, len(values), [(len(values), 0)], buffers)[0])

    def add(self, columns: pa.RecordBatch, *, sketched: bool) -> Holes:
        """Write the next category: a column for each but the code, the sketch and the descriptors, in rows sorted by
        listing id and ordinal; labels and aspects by their dictionaries."""
        rows, header = columns.num_rows, self._header
        if rows != header.categories[len(self._batches)][1]:
            raise ValueError("the header promises another number of rows")
        nodes = [(rows, 0)] * len(self._layout.nodes)
        buffers: list[bytes | int] = [b"", *_text(columns["listing_id"])]
        if header.format > 1:
            buffers += [b"", columns["photo_ordinal"].to_numpy().astype("<i4").tobytes()]
        buffers += [b"", *_text(columns["photo_id"]), b"", rows * header.width]
        buffers += [b"", *([b"", rows] * SKETCH_PLANES)]
        for _, width in header.descriptors:
            buffers += [b"", rows * width]
        buffers += [b"", *_text(columns["group"])]
        for name, kind in header.columns:
            column = columns[name]
            buffers += [_validity(column), *_VALUES[kind](column)]
            nodes[self._layout.nodes.index(name)] = (rows, column.null_count)
        for name in header.aspects:
            offsets, items = _items(columns[ASPECT + name])
            buffers += [b"", offsets, b"", items]
            nodes[self._layout.items[ASPECT + name]] = (len(items) // 4, 0)
        template = self._templates[sketched]
        block, start, places = self._write(template, rows, nodes, buffers)
        self._batches.append(block)
        vectors = ("code", *(name for name, _ in header.descriptors))
        at = {name: places[self._layout.place(name)] for name in vectors}
        grouping = start + template.slots[SKETCH_KEY] if sketched else 0
        return Holes(rows, at, places[self._layout.place("sketch.g00")], grouping)

    def finish(self) -> None:
        """Write the end of the file."""
        self._file.write(arrow.END_OF_STREAM)
        footer = arrow.footer(self._layout.schema, b"".join(self._dictionaries), b"".join(self._batches)).data
        self._file.write(footer + struct.pack("<i", len(footer)) + arrow.MAGIC)

    def _write(
        self, template: arrow.Template, rows: int, nodes: list[tuple[int, int]], buffers: list[bytes | int]
    ) -> tuple[bytes, int, list[int]]:
        """One message and its body; a buffer given as a length becomes a hole. The block, its start, the buffers'."""
        start = self._file.tell()
        lengths = np.array([b if isinstance(b, int) else len(b) for b in buffers], np.int64)
        ends = np.cumsum(aligned(lengths))
        offsets = np.concatenate([[0], ends[:-1]])
        message = bytearray(template.data)
        struct.pack_into("<q", message, template.slots["rows"], rows)
        struct.pack_into("<q", message, template.slots["body"], ends[-1])
        for slot, values in (("nodes", np.array(nodes)), ("buffers", np.stack([offsets, lengths], axis=1))):
            data = values.astype("<i8").tobytes()
            message[template.slots[slot] : template.slots[slot] + len(data)] = data
        self._file.write(message)
        body = start + len(message)
        for offset, buffer in zip(offsets.tolist(), buffers, strict=True):
            if isinstance(buffer, bytes) and buffer:
                self._file.seek(body + offset)
                self._file.write(buffer)
        self._file.seek(body + int(ends[-1]))
        block = arrow.BLOCK.pack(start, len(message), ends[-1])
        return block, start, (body + offsets).tolist()


def _text(array: pa.StringArray) -> tuple[bytes, bytes]:
    """Offsets from 0, and the letters they cut; a null has none."""
    offsets = _offsets(array)
    first, last = int(offsets[0]), int(offsets[-1])
    letters = array.buffers()[2]
    data = letters.slice(first, last - first).to_pybytes() if last > first else b""
    return (offsets - offsets[0]).tobytes(), data


def _items(array: pa.ListArray) -> tuple[bytes, bytes]:
    """Offsets from 0, and the dictionary indices they cut."""
    offsets = _offsets(array)
    indices = array.values.indices.slice(offsets[0], offsets[-1] - offsets[0])
    return (offsets - offsets[0]).tobytes(), indices.to_numpy().astype("<i4").tobytes()


def _validity(array: pa.Array) -> bytes:
    """A bit for each row, set where it has a value."""
    return np.packbits(array.is_valid().to_numpy(zero_copy_only=False), bitorder="little").tobytes()


def _number(array: pa.DoubleArray) -> tuple[bytes]:
    """Values that are NaN where there is none, so that they can be read without the validity."""
    valid = array.is_valid().to_numpy(zero_copy_only=False)
    return (np.where(valid, array.to_numpy(zero_copy_only=False), np.nan).astype("<f8").tobytes(),)


def _label(array: pa.DictionaryArray) -> tuple[bytes]:
    """Indices into the dictionary, 0 where there is no value."""
    return (array.indices.fill_null(0).to_numpy().astype("<i4").tobytes(),)


_VALUES: Mapping[Storage, Callable[[pa.Array], tuple[bytes, ...]]] = {
    "text": _text,
    "label": _label,
    "number": _number,
}
"""How each kind of column is written, behind its validity."""


def _offsets(array: pa.Array) -> npt.NDArray[np.int32]:
    if len(array) == 0:
        return np.zeros(1, "<i4")
    offsets = np.frombuffer(array.buffers()[1], "<i4", len(array) + 1, 4 * array.offset)
    if int(offsets[-1]) - int(offsets[0]) > MAX_ROWS:
        raise CatalogueError("the texts of one category are longer than 2 GiB: use more shards")
    return offsets
