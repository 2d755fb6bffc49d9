"""A shelf: columns that stay while a curation lasts, in memory while they are few, and else on local disk.

What lies on disk is a read-only map of an unnamed file, which vanishes with its last user. The system keeps its pages
in memory as long as there is room and reads them again when there was none, so a column works as before and its size
no longer counts. A limit of memory decides what stays, and how much is worked on at a time.
"""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lookalike.errors import CatalogueError

Places = NDArray[np.int32]
"""Numbers of listings, of photos, or of texts: two billion of each at most."""
GIB = 1 << 30
_KEPT, _AT_ONCE = 4, 64
"""Parts of the limit that columns may take in memory, and that is worked on at a time."""
_MOST_TEXT = np.iinfo(np.int32).max
_T = TypeVar("_T", bound=np.generic)


class Shelf:
    """Columns of numbers and of texts."""

    def __init__(self, folder: Path | None = None, limit: int = 2 * GIB) -> None:
        """Files lie in `folder`, or where temporary files do; `limit` are the bytes of memory that a curation has."""
        self.folder, self.at_once = folder, limit // _AT_ONCE
        self._room = limit // _KEPT

    def keep(self, values: NDArray[_T]) -> NDArray[_T]:
        """The same numbers, which nobody changes from now on."""
        if values.nbytes <= self._room:
            self._room -= values.nbytes
            return values
        with self._file() as file:
            values.tofile(file)
            return np.frombuffer(_mapped(file), values.dtype)

    def texts(self, parts: Iterable[pa.StringArray]) -> pa.StringArray:
        """All of them, none of which is null, as one column. Raises `CatalogueError` beyond 2 GiB."""
        ends, size = [np.zeros(1, np.int32)], 0
        with self._file() as file:
            for part in parts:
                if not len(part):
                    continue
                _, offsets, letters = part.buffers()
                bounds = np.frombuffer(offsets, np.int32)[part.offset : part.offset + len(part) + 1]
                if size + int(bounds[-1]) - int(bounds[0]) > _MOST_TEXT:
                    raise CatalogueError("one column of the catalogue has more than 2 GiB of different texts")
                ends.append(bounds[1:] - bounds[0] + np.int32(size))
                if letters is not None:
                    file.write(letters[int(bounds[0]) : int(bounds[-1])])
                size += int(bounds[-1]) - int(bounds[0])
            whole = self.keep(np.concatenate(ends))
            return pa.StringArray.from_buffers(
                len(whole) - 1, pa.py_buffer(whole), pa.py_buffer(_mapped(file))
            )

    def _file(self) -> IO[bytes]:
        return tempfile.TemporaryFile(prefix="lookalike-column-", dir=self.folder)


def _mapped(file: IO[bytes]) -> mmap.mmap | bytes:
    file.flush()
    size = file.seek(0, 2)
    return mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) if size else b""
