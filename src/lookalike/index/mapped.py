"""One segment, mapped into memory, and everything that can be checked about it without reading its rows.

The metadata of a segment follow from its header, so they are written anew and compared byte by byte; the few numbers
that do not (lengths of texts, null counts) are checked against each other and against the size of the file. Until
that is done no Arrow library parses a message of the file but that of the schema, to get at the header. Then pyarrow
reads record batches, and checks the contents of their buffers when a partition is first used, so that opening costs
the same for any number of rows.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lookalike.errors import SegmentError
from lookalike.index import arrow
from lookalike.index.segment import (
    MAX_ROWS,
    METADATA_KEY,
    SKETCH_KEY,
    Header,
    Layout,
    aligned,
    grouping_length,
)
from lookalike.index.sketch import Grouping

Bytes = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.int64]
Blocks = npt.NDArray[Any]


_BLOCK = np.dtype([("start", "<i8"), ("metadata", "<i4"), ("padding", "<i4"), ("body", "<i8")])
_MIN_SIZE = 2 * len(arrow.MAGIC) + 2 + 4
_POPULATE_READ = 22  # madvise: read all pages now, and map them


class MappedSegment:
    """A segment that keeps every rule but those of its rows.

    Raises `SegmentError` with the file and one of the rules `file`, `magic`, `length`, `header`, `format`, `schema`,
    `footer`, `blocks`, `message`, `buffers`, `dictionary`, `sketch`.
    """

    def __init__(self, path: Path) -> None:
        self.file = path.name
        try:
            with path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise self.broken("file", f"cannot be mapped: {error}") from error
        self.data: Bytes = np.frombuffer(self._map, np.uint8)
        self.buffer: pa.Buffer = pa.py_buffer(self._map)
        self.header, first = self._read_header()
        self.layout = Layout(self.header)
        dictionaries, batches = self._read_footer(first)
        for number in range(len(self.header.dictionaries)):
            self._check_dictionary(number, dictionaries[number : number + 1])
        rows = np.array([n for _, n in self.header.categories], np.int64)
        self.starts: Numbers = np.zeros((len(rows), len(self.layout.buffers)), np.int64)
        """Where each buffer of each batch begins in the file."""
        self.lengths: Numbers = np.zeros_like(self.starts)
        self.nulls: Numbers = np.zeros((len(rows), len(self.layout.nodes)), np.int64)
        """How many nulls each column of each batch is said to have."""
        self.groupings: dict[int, Grouping] = {}
        """The groupings of the batches that have a sketch."""
        plain, sketched = self.layout.plain_template(), self.layout.sketched_template()
        for template in (plain, sketched):
            mine = np.flatnonzero(batches["metadata"] == len(template.data))
            messages = self._read_batches(mine, rows[mine], batches[mine], template)
            if template is sketched:
                self._read_groupings(mine, messages, template)
        if not np.isin(batches["metadata"], (len(plain.data), len(sketched.data))).all():
            raise self.broken("message", "a record batch has a message of a wrong length")
        self._reader = pa.ipc.open_file(self.buffer)

    def close(self) -> None:
        """Give the map back, or leave that to the last view that still points into it."""
        del self.data, self.buffer, self._reader
        try:
            self._map.close()
        except BufferError:  # a view is alive: the map goes with it
            del self._map

    def broken(self, rule: str, message: str) -> SegmentError:
        return SegmentError(self.file, rule, message)

    def _read_header(self) -> tuple[Header, int]:
        """The header, and where the first message after the schema begins."""
        data, size = self._map, len(self._map)
        if size < _MIN_SIZE or data[: len(arrow.MAGIC)] != arrow.MAGIC:
            raise self.broken("magic", "this is no Arrow file")
        if data[-len(arrow.MAGIC) :] != arrow.MAGIC:
            raise self.broken(
                "length", f"its {size:,} bytes do not end as an Arrow file: it was cut off or added to"
            )
        start = len(arrow.MAGIC) + 2
        length = int.from_bytes(data[start + 4 : start + arrow.PREFIX], "little", signed=True)
        if data[start : start + 4] != b"\xff\xff\xff\xff" or not 0 < length <= size - start - arrow.PREFIX:
            raise self.broken("schema", "it begins with no schema")
        try:
            found = pa.ipc.read_schema(self.buffer.slice(start, arrow.PREFIX + length))
            text = (found.metadata or {}).get(METADATA_KEY.encode())
        except (pa.ArrowException, OSError, ValueError, KeyError, NotImplementedError) as error:
            raise self.broken("schema", f"the schema cannot be read: {error}") from error
        if text is None:
            raise self.broken("schema", "this is an Arrow file, but none of ours: the schema has no header")
        header = Header.from_json(text, self.file)
        expected = arrow.schema_message(Layout(header).schema, start)
        if data[start : start + len(expected)] != expected:
            raise self.broken("schema", "the schema is not the one of its format")
        return header, start + len(expected)

    def _read_footer(self, first: int) -> tuple[Blocks, Blocks]:
        """The blocks of dictionaries and batches, which must fill the file from `first` to the footer."""
        size, counts = len(self._map), (len(self.header.dictionaries), len(self.header.categories))
        expected = arrow.footer(self.layout.schema, *(bytes(n * _BLOCK.itemsize) for n in counts))
        end = size - len(arrow.MAGIC) - 4
        start = end - len(expected.data)
        length = int.from_bytes(self._map[end : end + 4], "little", signed=True)
        if length != len(expected.data) or start < first + len(arrow.END_OF_STREAM):
            raise self.broken(
                "footer", f"the footer's length {length:,} is not the {len(expected.data):,} it must be"
            )
        footer = np.frombuffer(self._map, np.uint8, length, start).copy()
        spans = [
            slice(expected.slots[s], expected.slots[s] + n * _BLOCK.itemsize)
            for s, n in zip(("dictionaries", "batches"), counts, strict=True)
        ]
        dictionaries, batches = (footer[span].copy().view(_BLOCK) for span in spans)
        for span in spans:
            footer[span] = 0
        if footer.tobytes() != expected.data:
            raise self.broken("footer", "the footer is not the one that the header asks for")
        blocks = np.concatenate([dictionaries, batches])
        bounded = all(
            (blocks[n] >= 0).all() and (blocks[n] <= size).all() for n in ("start", "metadata", "body")
        )
        if not bounded or blocks["padding"].any():
            raise self.broken("blocks", "a block of the footer lies outside the file")
        ends = first + np.cumsum(blocks["metadata"] + blocks["body"])
        starts = np.concatenate([[first], ends])
        stop = start - len(arrow.END_OF_STREAM)
        if (blocks["start"] != starts[:-1]).any() or starts[-1] != stop:
            raise self.broken("blocks", "the blocks of the footer do not follow each other to its start")
        if self._map[stop:start] != arrow.END_OF_STREAM:
            raise self.broken("blocks", "the end of the stream is missing")
        return dictionaries, batches

    def _check_dictionary(self, number: int, block: Blocks) -> None:
        template = arrow.dictionary_template(number)
        if block["metadata"][0] != len(template.data):
            raise self.broken("message", "a dictionary has a message of a wrong length")
        messages = self._messages(block, template)
        rows = self._numbers(messages, template, "rows", 1)[:, 0]
        if not 0 <= rows[0] <= MAX_ROWS:
            raise self.broken("dictionary", "a dictionary cannot have that many values")
        expected = np.array([[0, 4 * (int(rows[0]) + 1), -1]])
        starts, lengths = self._buffers(messages, block, template, expected)
        if (self._numbers(messages, template, "nodes", 2) != [rows[0], 0]).any():
            raise self.broken("dictionary", "the length of a dictionary is not that of its values")
        buffers = [
            self.buffer.slice(s, n)
            for s, n in zip(starts[0, 1:].tolist(), lengths[0, 1:].tolist(), strict=True)
        ]
        with self._translated("dictionary", "the values of a dictionary"):
            pa.StringArray.from_buffers(int(rows[0]), *buffers).validate(full=True)

    def _read_batches(self, mine: Numbers, rows: Numbers, blocks: Blocks, template: arrow.Template) -> Bytes:
        """Check the messages of the batches `mine`, and note where their buffers are."""
        messages = self._messages(blocks, template)
        if (self._numbers(messages, template, "rows", 1)[:, 0] != rows).any():
            raise self.broken("message", "the rows of a record batch are not those that the header promises")
        starts, lengths = self._buffers(messages, blocks, template, self.layout.lengths(rows))
        columns = len(self.layout.nodes)
        nodes = self._numbers(messages, template, "nodes", 2 * columns).reshape(len(rows), columns, 2)
        wanted = np.zeros_like(nodes)
        wanted[:, :, 0] = rows[:, None]
        nullable = self.layout.nullable
        wanted[:, nullable, 1] = np.clip(nodes[:, nullable, 1], 0, rows[:, None])
        for column, i in self.layout.items.items():
            items = lengths[:, self.layout.place(f"{column}.item")]
            wanted[:, i, 0] = items // 4
            if (items % 4).any():
                raise self.broken("buffers", f"a buffer of {column} holds no whole number of values")
        if (nodes != wanted).any():
            raise self.broken("message", "the columns of a record batch are not of one length")
        self.starts[mine], self.lengths[mine] = starts, lengths
        self.nulls[mine] = nodes[:, :, 1]
        return messages

    def _read_groupings(self, mine: Numbers, messages: Bytes, template: arrow.Template) -> None:
        start, bits = template.slots[SKETCH_KEY], self.header.bits
        for batch, message in zip(mine.tolist(), messages, strict=True):
            try:
                grouping = Grouping.from_letters(
                    message[start : start + grouping_length(bits)].tobytes(), bits
                )
            except ValueError as error:
                raise self.broken("sketch", f"the grouping of a sketch is damaged: {error}") from error
            if grouping is not None:
                self.groupings[batch] = grouping

    def _messages(self, blocks: Blocks, template: arrow.Template) -> Bytes:
        """uint8[blocks, message], each equal to the template but for its slots."""
        size = len(template.data)
        found = np.empty((len(blocks), size), np.uint8)
        for i, start in enumerate(blocks["start"].tolist()):
            found[i] = self.data[start : start + size]
        free = np.zeros(size, np.bool_)
        for slot, length in template.sizes.items():
            free[template.slots[slot] : template.slots[slot] + length] = True
        if (found != np.frombuffer(template.data, np.uint8))[:, ~free].any():
            raise self.broken("message", "a message is not the one of its format")
        if (self._numbers(found, template, "body", 1)[:, 0] != blocks["body"]).any():
            raise self.broken("message", "the body of a message is not as long as the footer says")
        return found

    def _buffers(
        self, messages: Bytes, blocks: Blocks, template: arrow.Template, expected: Numbers
    ) -> tuple[Numbers, Numbers]:
        """Start and length of every buffer; `expected` int64[blocks, buffers] is -1 where any length will do."""
        pairs = self._numbers(messages, template, "buffers", 2 * expected.shape[1]).reshape(
            *expected.shape, 2
        )
        offsets, lengths = pairs[:, :, 0], pairs[:, :, 1]
        if (lengths < 0).any() or (lengths > blocks["body"][:, None]).any():
            raise self.broken("buffers", "a buffer is longer than its record batch")
        if ((expected >= 0) & (lengths != expected)).any():
            raise self.broken("buffers", "a buffer has not the length that its rows need")
        ends = np.cumsum(aligned(lengths), axis=1)
        if (offsets != ends - aligned(lengths)).any() or (ends[:, -1] != blocks["body"]).any():
            raise self.broken("buffers", "the buffers of a record batch do not follow each other to its end")
        return offsets + (blocks["start"] + len(template.data))[:, None], lengths

    @staticmethod
    def _numbers(messages: Bytes, template: arrow.Template, slot: str, count: int) -> Numbers:
        start = template.slots[slot]
        return np.ascontiguousarray(messages[:, start : start + 8 * count]).view("<i8").astype(np.int64)

    def batch(self, number: int) -> pa.RecordBatch:
        """A record batch on the map, its rows checked. Raises `SegmentError` (rule `rows`).

        Its metadata are known to be ours, so pyarrow can be trusted with them.
        """
        with self._translated("rows", f"the rows of {self.header.categories[number][0]}"):
            found = self._reader.get_batch(number)
            found.validate(full=True)
            return found

    def view(self, batch: int, column: str, part: str = "data") -> Bytes:
        """uint8[bytes]: a buffer of a record batch."""
        place = self.layout.place(column, part)
        start = self.starts[batch, place]
        return self.data[start : start + self.lengths[batch, place]]

    @contextmanager
    def _translated(self, rule: str, what: str) -> Iterator[None]:
        """Turn what pyarrow finds wrong with an array into a `SegmentError`."""
        try:
            yield
        except pa.ArrowException as error:
            raise self.broken(rule, f"{what} are damaged: {error}") from error

    def prefetch(self) -> None:
        """Read the whole file into memory and map it, so that no reader meets a page fault."""
        try:
            self._map.madvise(_POPULATE_READ)
        except (OSError, ValueError, AttributeError):  # Linux before 5.14, or another system
            self.data[:: mmap.PAGESIZE].max()

    def resident(self) -> int:
        """Bytes of the file that are in memory; 0 where the system does not tell."""
        pages = (len(self.data) + mmap.PAGESIZE - 1) // mmap.PAGESIZE
        seen = np.zeros(pages, np.uint8)
        address = ctypes.c_void_p(self.data.ctypes.data)
        try:
            failed = ctypes.CDLL(None).mincore(
                address, ctypes.c_size_t(len(self.data)), ctypes.c_void_p(seen.ctypes.data)
            )
        except (OSError, AttributeError):
            return 0
        inside = int((seen & 1).sum(dtype=np.int64))
        return 0 if failed else min(inside * mmap.PAGESIZE, len(self.data))
