"""A table of any length on local disk: batches enter in order, columns or rows in any order leave.

A short table stays in memory. A longer one goes to an unnamed temporary file in Arrow's IPC format, which vanishes with
the process, however that ends. Rows in another order are brought by two sequential passes: each row goes to the file of
its block, and each block is put in order when its turn comes. So no pass holds more than a block.
"""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lookalike.catalogue.shelf import Places

_HELD = 32 << 20
"""Bytes that stay in memory, at most, unless a caller says otherwise."""


class Spool:
    """Rows of one schema. Add all, then read as often as wanted."""

    def __init__(self, schema: pa.Schema, folder: Path | None = None, held: int = _HELD) -> None:
        """`held` bytes stay in memory, at most; the file lies in `folder`, or where temporary files do."""
        self.schema, self.folder = schema, folder
        self.held = held
        self.num_rows = 0
        self._held: list[pa.RecordBatch] = []
        self._bytes = 0
        self._file: IO[bytes] | None = None
        self._writer: pa.RecordBatchFileWriter | None = None

    def add(self, rows: pa.RecordBatch | pa.Table) -> None:
        """Add rows of the spool's schema."""
        for batch in rows.to_batches() if isinstance(rows, pa.Table) else [rows]:
            self.num_rows += batch.num_rows
            if self._writer is not None:
                self._writer.write_batch(batch)
                continue
            self._held.append(batch)
            self._bytes += batch.nbytes
            if self._bytes > self.held:
                self._spill()

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """All rows, a batch at a time; `columns` alone, in this order."""
        names = list(self.schema.names if columns is None else columns)
        if self._file is None:
            yield from (batch.select(names) for batch in self._held)
            return
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        places = sorted(self.schema.get_field_index(name) for name in names)
        options = pa.ipc.IpcReadOptions(included_fields=places, use_threads=False)
        with (
            pa.PythonFile(_Shared(self._file), "r") as source,
            pa.ipc.open_file(source, options=options) as reader,
        ):
            for number in range(reader.num_record_batches):
                yield reader.get_batch(number).select(names)

    def column(self, name: str) -> pa.ChunkedArray:
        """One column of all rows, in memory."""
        chunks = [batch.column(0) for batch in self.batches([name])]
        return pa.chunked_array(chunks, self.schema.field(name).type)

    def slice(self, start: int, count: int) -> pa.Table:
        """Some rows that stand together."""
        found, before = [], 0
        for batch in self.batches():
            low, high = max(0, start - before), min(batch.num_rows, start + count - before)
            if low < high:
                found.append(batch.slice(low, high - low))
            before += batch.num_rows
            if before >= start + count:
                break
        return pa.Table.from_batches(found, self.schema)

    def in_order(
        self, rows: NDArray[np.integer], block: int, columns: Sequence[str] | None = None
    ) -> Iterator[pa.Table]:
        """The rows of these numbers, each once, in this order, in tables of `block` rows; the last may have fewer."""
        schema = self.schema if columns is None else pa.schema([self.schema.field(name) for name in columns])
        place = np.full(self.num_rows, -1, np.int32)
        place[rows] = np.arange(len(rows), dtype=np.int32)
        held = self.held if self._file is None else 0
        parts = [Spool(schema, self.folder, held) for _ in range(-(-len(rows) // block))]
        places: list[list[Places]] = [[] for _ in parts]
        before = 0
        for table in self._together(columns):
            at = place[before : before + table.num_rows]
            before += table.num_rows
            wanted = np.flatnonzero(at >= 0)
            wanted = wanted[np.argsort(at[wanted])]
            at, table = at[wanted], table.take(pa.array(wanted))
            numbers, starts = np.unique(at // block, return_index=True)
            for number, low, high in zip(numbers, starts, [*starts[1:], len(at)], strict=False):
                parts[number].add(table.slice(low, high - low))
                places[number].append(at[low:high] - number * block)
        del place
        for number, part in enumerate(parts):
            table = pa.Table.from_batches(list(part.batches()), schema).combine_chunks()
            parts[number] = Spool(schema)
            order = np.empty(table.num_rows, np.int32)
            order[np.concatenate(places[number])] = np.arange(table.num_rows, dtype=np.int32)
            places[number] = []
            yield table.take(pa.array(order))

    def _together(self, columns: Sequence[str] | None) -> Iterator[pa.Table]:
        """All rows, some batches at a time."""
        held: list[pa.RecordBatch] = []
        for batch in self.batches(columns):
            held.append(batch)
            if sum(x.nbytes for x in held) > self.held:
                yield pa.Table.from_batches(held).combine_chunks()
                held = []
        if held:
            yield pa.Table.from_batches(held).combine_chunks()

    def _spill(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="lookalike-rows-", dir=self.folder)  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        self._writer = pa.ipc.new_file(pa.PythonFile(_Shared(self._file), "w"), self.schema, options=options)
        for batch in self._held:
            self._writer.write_batch(batch)
        self._held = []


def between(rows: NDArray[np.integer], start: int, stop: int) -> slice:
    """Where those from `start` on and below `stop` stand among `rows`, which are in order."""
    return slice(*np.searchsorted(rows, np.array([start, stop], rows.dtype)).tolist())


class _Shared:
    """A file that outlives those who read and write it by pyarrow."""

    closed = False

    def __init__(self, file: IO[bytes]) -> None:
        self.read, self.write, self.seek, self.tell, self.flush = (
            file.read,
            file.write,
            file.seek,
            file.tell,
            file.flush,
        )

    def close(self) -> None:
        self.flush()

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True
