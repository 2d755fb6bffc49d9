"""The files behind a catalogue's URI, brought to this machine.

A URI of a file or a folder enters, local or in a store. `Files` leaves: where each file's bytes lie on disk, their
digest, and the state by which a change is noticed later. A file in a store is downloaded to a temporary folder, so
that a table of any size is read from disk piece by piece. What is packed (gz, zst, zip) is unpacked there, within
bounds: a few kilobytes must not fill a disk.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO
from urllib.parse import unquote

import pyarrow as pa

from lookalike.errors import CatalogueError, ObjectNotFound
from lookalike.settings import S3Settings
from lookalike.storage.objects import ObjectInfo, ObjectStore
from lookalike.storage.stores import open_store, split_uri

MOST_UNPACKED = 64 << 30
"""Bytes that a packed table may unpack to."""
FREE_UNPACKED = 256 << 20
"""Bytes from which on the ratio counts, too."""
MOST_RATIO = 200
"""Unpacked over packed bytes. Tables of text reach 10 to 50; a bomb 1,000."""
MOST_FILES = 100_000
"""Files of a folder."""
_STEP = 1 << 20
_NOT_A_PARTITION = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True, slots=True)
class TableFile:
    """One file of a table."""

    uri: str
    """By which messages name it."""
    open: Callable[[], BinaryIO]
    size: int
    partitions: Mapping[str, str | None] = field(default_factory=dict)
    """Columns that its folders' names give: ``color=red/part-0.parquet``."""

    @classmethod
    def of_path(cls, uri: str, path: Path) -> TableFile:
        """A file on this machine."""
        return cls(uri, lambda: path.open("rb"), path.stat().st_size)

    @classmethod
    def of_bytes(cls, uri: str, data: bytes) -> TableFile:
        """Bytes in memory."""
        return cls(uri, lambda: io.BytesIO(data), len(data))

    @property
    def extension(self) -> str:
        """Of its name, in small letters and without the dot; that of a packing is passed over."""
        name = PurePosixPath(self.uri.lower())
        return (name.with_suffix("") if name.suffix in (".gz", ".zst", ".zip") else name).suffix.lstrip(".")

    def start(self, length: int = 4096) -> bytes:
        """Its first bytes."""
        with self.open() as stream:
            return stream.read(length)


@dataclass(frozen=True, slots=True)
class Files:
    """What a URI names."""

    files: Sequence[TableFile]
    """In the order of their names; one, unless the URI is that of a folder."""
    digest: str
    """SHA-256 of the bytes; of a folder, of names and digests."""
    state: str
    """Changes whenever a file is written, comes or goes."""


def bring(uri: str, into: Path, s3: S3Settings | None = None) -> Files:
    """The files behind `uri`; copies and unpacked files lie in the folder `into`.

    Raises `CatalogueError` where there is nothing, or something that is packed badly, and `StorageError`.
    """
    store, name = _place(uri, s3)
    infos, is_folder = _listed(uri, store, name)
    files: list[TableFile] = []
    digests: list[tuple[str, str]] = []
    for number, info in enumerate(infos):
        path = store.local_path(info.key)
        if path is None:
            path = into / f"{number:05d}-{PurePosixPath(info.key).name[-80:]}"
            store.download(info.key, path)
        shown = f"{uri.rstrip('/')}{info.key.removeprefix(name)}" if is_folder else uri
        try:
            with path.open("rb") as stream:
                digests.append((info.key, hashlib.file_digest(stream, "sha256").hexdigest()))
            file = _unpacked(TableFile.of_path(shown, path), into / f"{number:05d}")
        except OSError as error:
            raise CatalogueError(f"{shown} cannot be read: {error.strerror or error}") from error
        files.append(replace(file, partitions=_partitions(info.key.removeprefix(name))))
    if not is_folder:
        return Files(files, digests[0][1], infos[0].etag)
    return Files(files, hashlib.sha256(repr(digests).encode()).hexdigest(), _state(infos))


def state_of(uri: str, s3: S3Settings | None = None) -> str:
    """The state that `bring` would give now. Raises `ObjectNotFound` where there is nothing left."""
    store, name = _place(uri, s3)
    try:
        infos, is_folder = _listed(uri, store, name)
    except CatalogueError as error:
        raise ObjectNotFound(uri, str(error)) from error
    return _state(infos) if is_folder else infos[0].etag


def _place(uri: str, s3: S3Settings | None) -> tuple[ObjectStore, str]:
    folder, name = split_uri(uri.rstrip("/"))
    return open_store(folder, s3), name


def _listed(uri: str, store: ObjectStore, name: str) -> tuple[list[ObjectInfo], bool]:
    """The one file of this name, or the files below the folder of this name; and whether it is a folder."""
    path = store.local_path(name)
    if path is None or not path.is_dir():
        try:
            return [store.head(name)], False
        except ObjectNotFound:
            if path is not None:
                raise CatalogueError(f"{uri}: there is no such catalogue") from None
    infos = []
    for info in store.list(name + "/"):
        parts = PurePosixPath(info.key.removeprefix(name + "/")).parts
        if not any(part.startswith(("_", ".")) for part in parts) and info.size:
            infos.append(info)
        if len(infos) > MOST_FILES:
            raise CatalogueError(f"{uri} has more than {MOST_FILES:,} files; name the folder of the table")
    if not infos:
        what = "is a folder without a table" if path else "there is no such catalogue"
        raise CatalogueError(f"{uri}: {what}")
    return _of_one_kind(uri, infos), True


def _of_one_kind(uri: str, infos: list[ObjectInfo]) -> list[ObjectInfo]:
    """Parquet files alone where there are some, since photos may lie beside them."""
    parquet = [info for info in infos if info.key.lower().endswith((".parquet", ".pq"))]
    if parquet:
        return parquet
    tables = [info for info in infos if TableFile(info.key, io.BytesIO, 0).extension in _TEXT]
    if not tables:
        raise CatalogueError(
            f"{uri} is a folder without a table: no .parquet, .csv, .tsv or .jsonl file in it"
        )
    kinds = sorted({TableFile(info.key, io.BytesIO, 0).extension for info in tables})
    if len(kinds) > 1:
        message = f"{uri} is a folder of tables of several kinds ({', '.join(kinds)}); name one file"
        raise CatalogueError(message)
    return tables


_TEXT = ("csv", "tsv", "jsonl", "ndjson")


def _state(infos: Sequence[ObjectInfo]) -> str:
    return hashlib.sha256(repr([(info.key, info.etag) for info in infos]).encode()).hexdigest()


def _partitions(path: str) -> dict[str, str | None]:
    pairs = (part.partition("=") for part in PurePosixPath(path).parts[:-1] if "=" in part)
    return {
        unquote(name): None if value == _NOT_A_PARTITION else unquote(value)
        for name, _, value in pairs
        if name
    }


def _unpacked(file: TableFile, into: Path) -> TableFile:
    """The same, or what is packed in it. Raises `CatalogueError`."""
    start = file.start(8)
    with file.open() as raw:
        if start.startswith(b"PK\x03\x04"):
            return _member(file, raw, into)
        if start.startswith(b"\x1f\x8b"):
            return _inflated(file, gzip.GzipFile(fileobj=raw), file.size, into)
        if start.startswith(b"\x28\xb5\x2f\xfd"):
            return _inflated(file, pa.CompressedInputStream(raw, "zstd"), file.size, into)
    return file


def _member(file: TableFile, raw: BinaryIO, into: Path) -> TableFile:
    """The one table of a zip file; a workbook is one itself."""
    try:
        archive = zipfile.ZipFile(raw)
    except zipfile.BadZipFile as error:
        raise CatalogueError(f"{file.uri} is a damaged zip file: {error}") from error
    with archive:
        names = set(archive.namelist())
        if "[Content_Types].xml" in names:
            return file
        inside = [
            member
            for member in archive.infolist()
            if not member.is_dir() and not member.filename.startswith(("__MACOSX/", "."))
        ]
        if len(inside) != 1:
            listed = ", ".join(member.filename[:60] for member in inside[:5]) or "nothing"
            raise CatalogueError(
                f"{file.uri} must hold one table, and holds {len(inside):,} files ({listed})"
            )
        [member] = inside
        if member.flag_bits & 1:
            raise CatalogueError(f"{file.uri} is encrypted; pack the table without a password")
        named = replace(file, uri=f"{file.uri}/{member.filename}")
        try:
            return _inflated(named, archive.open(member), max(member.compress_size, 1), into)
        except (zipfile.BadZipFile, NotImplementedError) as error:
            raise CatalogueError(f"{file.uri} is a damaged zip file: {error}") from error


def _inflated(
    file: TableFile, stream: IO[bytes] | pa.CompressedInputStream, packed: int, into: Path
) -> TableFile:
    size = 0
    try:
        with stream, into.open("wb") as out:
            while piece := stream.read(_STEP):
                size += len(piece)
                if size > MOST_UNPACKED or (size > FREE_UNPACKED and size > MOST_RATIO * packed):
                    raise CatalogueError(
                        f"{file.uri} unpacks to more than {size - 1:,} bytes of {packed:,}: is it a table?"
                    )
                out.write(piece)
    except (EOFError, zlib.error, OSError, pa.ArrowException) as error:
        first = str(error).partition("\n")[0]
        raise CatalogueError(f"{file.uri} is damaged or cut off: {first}") from error
    path = into
    return replace(file, open=lambda: path.open("rb"), size=size)


def check_not_bomb(file: TableFile) -> None:
    """Raises `CatalogueError` where a zip file (a workbook) says that it unpacks to far more than a table does."""
    try:
        with file.open() as raw, zipfile.ZipFile(raw) as archive:
            size = sum(member.file_size for member in archive.infolist())
    except zipfile.BadZipFile as error:
        raise CatalogueError(f"{file.uri} is a damaged workbook: {error}") from error
    if size > MOST_UNPACKED or (size > FREE_UNPACKED and size > MOST_RATIO * file.size):
        raise CatalogueError(f"{file.uri} unpacks to {size:,} bytes of {file.size:,}: is it a table?")
