"""Photo shards: plain tar files of some 64 MB, written once, in the order of photo ids, without times or owners."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from lookalike.catalogue.snapshot import shard_name
from lookalike.imaging.headers import recognise

_HEADER = 512  # of one member in the ustar format, right before its bytes
_SUFFIX = {"JPEG": "jpg", None: "bin"}
"""Where it is not the name of the format."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a photo's bytes lie: shard number, offset and length in bytes."""

    shard: int
    offset: int
    length: int


class ShardWriter:
    """Writes shards into `folder`, a new one when the last would grow beyond `shard_bytes`."""

    def __init__(self, folder: Path, shard_bytes: int) -> None:
        self.folder, self.shard_bytes = folder, shard_bytes
        self.count = 0
        self._tar: tarfile.TarFile | None = None
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def add(self, photo_id: str, data: bytes) -> Place:
        """Append one photo."""
        if self._tar is None or (self._tar.offset and self._tar.offset + len(data) > self.shard_bytes):
            self._close()
            self._file = (self.folder / shard_name(self.count)).open("wb")
            self._tar = tarfile.open(fileobj=self._file, mode="w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
            self.count += 1
        kind = recognise(data)
        member = tarfile.TarInfo(f"{photo_id}.{_SUFFIX.get(kind) or str(kind).lower()}")
        member.size = len(data)
        place = Place(self.count - 1, self._tar.offset + _HEADER, len(data))
        self._tar.addfile(member, io.BytesIO(data))
        return place

    def read(self, place: Place) -> bytes:
        """A photo that was added, also from the shard that is still being written."""
        if self._file and not self._file.closed:
            self._file.flush()
        with (self.folder / shard_name(place.shard)).open("rb") as file:
            file.seek(place.offset)
            return file.read(place.length)

    def _close(self) -> None:
        if self._tar and self._file:
            self._tar.close()
            self._file.close()
