"""An object store in a directory: the default, and what the tests and the demo run on.

A write goes to a temporary file, is synced, and takes its name by `rename` or, where the name must be free,
by `link`, which the file system makes exclusive; a file that is given away is synced and renamed itself. A write
that must match an etag holds a lock file for the moment between comparing and renaming. Readers need no lock:
they see the old file or the new one.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from lookalike.errors import LostRace, ObjectNotFound, StorageError, StoreUnavailable
from lookalike.storage.objects import ObjectInfo, check_key

_PRIVATE = ".lookalike"  # temporary files and locks; never listed


class DirectoryStore:
    """`ObjectStore` over one directory, made at the first write. An etag is inode, size and time of the file."""

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().absolute()

    def __repr__(self) -> str:
        return f"DirectoryStore({str(self.root)!r})"

    @property
    def uri(self) -> str:
        return self.root.as_uri()

    def head(self, key: str) -> ObjectInfo:
        path = self._path(key)
        with self._translated(key):
            return _info(key, path.stat())

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        with self._translated(key), self._path(key).open("rb") as file:
            file.seek(start)
            return file.read(-1 if length is None else length)

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        with self._translated(key), self._path(key).open("rb") as file:
            before = os.fstat(file.fileno())  # somebody else may be writing this very file
            return file.read(), _info(key, before).etag

    def download(self, key: str, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            with self._translated(key):
                shutil.copyfile(self._path(key), partial)
                partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        path = self._path(key)
        with self._translated(key, writing=True), self._temporary() as (temporary, file):
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            etag = _info(key, os.fstat(file.fileno())).etag
            path.parent.mkdir(parents=True, exist_ok=True)
            if if_absent:
                try:
                    os.link(temporary, path)
                except FileExistsError as error:
                    raise LostRace(key, f"{self.uri}/{key} exists already") from error
            elif if_match is not None:
                with self._locked():
                    try:
                        current = _info(key, path.stat()).etag
                    except FileNotFoundError as error:
                        raise LostRace(key, f"{self.uri}/{key} is gone") from error
                    if current != if_match:
                        raise LostRace(key, f"{self.uri}/{key} was changed by somebody else")
                    temporary.replace(path)
            else:
                temporary.replace(path)
            _sync_directory(path.parent)
            return etag

    def upload(self, key: str, path: Path, *, give: bool = False) -> None:
        target = self._path(key)
        with self._translated(key):
            target.parent.mkdir(parents=True, exist_ok=True)
            if not (give and _moved(path, target)):
                with self._temporary() as (temporary, file):
                    with path.open("rb") as source:
                        shutil.copyfileobj(source, file, 1 << 20)
                    file.flush()
                    os.fsync(file.fileno())
                    temporary.replace(target)
            _sync_directory(target.parent)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        folder = self.root / prefix.rpartition("/")[0]
        found = []
        with self._translated(prefix):
            for directory, subdirectories, files in os.walk(folder):
                if _PRIVATE in subdirectories:
                    subdirectories.remove(_PRIVATE)
                for name in files:
                    path = Path(directory, name)
                    key = path.relative_to(self.root).as_posix()
                    if key.startswith(prefix):
                        try:
                            found.append(_info(key, path.stat()))
                        except FileNotFoundError:  # deleted while we looked
                            continue
        yield from sorted(found, key=lambda info: info.key)

    def delete(self, key: str) -> None:
        with self._translated(key):
            self._path(key).unlink(missing_ok=True)

    def local_path(self, key: str) -> Path | None:
        return self._path(key)

    def remove_unfinished(self, before: datetime) -> int:
        """Remove temporary files of processes that were killed; see `storage.leftovers`."""
        removed = 0
        for path in (self.root / _PRIVATE).glob("tmp*"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < before.timestamp():
                    path.unlink()
                    removed += 1
        return removed

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)

    @contextmanager
    def _translated(self, key: str, *, writing: bool = False) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            if writing and Path(error.filename) != self._path(key):
                message = f"{self.root} cannot be made: {error.strerror} ({error.filename})"
                raise StoreUnavailable(key, message) from error
            raise ObjectNotFound(key, f"{self.uri}/{key} does not exist") from error
        except (PermissionError, NotADirectoryError) as error:
            raise StoreUnavailable(key, f"{self.root}: {error.strerror} ({error.filename})") from error
        except OSError as error:
            raise StorageError(key, f"{self.uri}/{key}: {error.strerror or error}") from error

    @contextmanager
    def _temporary(self) -> Iterator[tuple[Path, tempfile._TemporaryFileWrapper[bytes]]]:
        folder = self.root / _PRIVATE
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            try:
                yield Path(file.name), file
            finally:
                Path(file.name).unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.root / _PRIVATE / "lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _info(key: str, stat: os.stat_result) -> ObjectInfo:
    etag = f"{stat.st_ino:x}-{stat.st_size:x}-{stat.st_mtime_ns:x}"
    return ObjectInfo(key, stat.st_size, etag, datetime.fromtimestamp(stat.st_mtime, UTC))


def _moved(path: Path, target: Path) -> bool:
    """Whether a file could take its new name as it is, synced first; not from another file system."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    try:
        path.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return False
    return True


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
