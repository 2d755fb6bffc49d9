"""Where a catalogue's photos may lie, and the only way to their bytes.

A reference enters: a path relative to the table's folder, an absolute path, an ``s3://`` or ``file://`` URI. Bytes
leave, if it stays inside: below the table's own folder, or, where the table is on S3, in its bucket, which is what S3
gives access by; or below a further root that the operator allows. Whoever writes the table decides what is published,
so it must not name whatever the process can read.

A local path is judged with its links followed, and then opened folder by folder without following any, so a link that
is put there in between leads nowhere. Devices and pipes are no photos.
"""

from __future__ import annotations

import errno
import os
import posixpath
import re
import stat
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from lookalike.catalogue.web_photos import WebPhotos, is_web
from lookalike.errors import (
    AccessDenied,
    ObjectNotFound,
    PhotoOutside,
    SettingsError,
    StorageError,
    StoreUnavailable,
)
from lookalike.settings import S3Settings
from lookalike.storage.objects import ObjectInfo, ObjectStore, check_key
from lookalike.storage.stores import STORES, open_store

_NAME = r"[A-Za-z0-9_](?:[A-Za-z0-9_ .\-]*[A-Za-z0-9_])?"
PLAIN = rf"^(?:{_NAME}(?:/{_NAME})*|https?://(?:[a-z0-9\-]+\.)+[a-z]{{2,}}/[A-Za-z0-9_./%~\-]*)$"
"""References of up to `PLAIN_LENGTH` characters that every catalogue may name: below its folder, or on a host of the
web that has a name. `PhotoPlaces.check` has nothing to say of them."""
PLAIN_LENGTH = 200
_UNUSABLE = re.compile(r"[\x00-\x1f\x7f\\]")
_LISTED_FOR_ONE = 20
"""Objects that are listed for each one wanted, at most: a listing gives 1,000 in the time of one or two requests."""
_WEB_BYTES = 1 << 30
_ASKERS = 16
_ATTEMPTS = 3
_REST_NS = 20_000_000
"""A file that was modified less than so long before it was read has no version: clocks of file systems tick in 4 ms."""
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = (
    os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
)  # opening a pipe must not wait for its writer


class _Reference(NamedTuple):
    """A store's URI and a key in it, or no store and an absolute path."""

    store: str
    path: str


class Version(NamedTuple):
    """Where a photo lies, and what changes whenever its bytes do."""

    address: str
    token: str
    """Size and modification time of a file, or an object's ETag; empty where nothing tells versions apart."""
    size: int
    """Bytes."""


class PhotoPlaces:
    """The places that one catalogue may name photos in. Safe for several threads."""

    def __init__(
        self,
        folder: str,
        roots: Sequence[str] = (),
        s3: S3Settings | None = None,
        web: WebPhotos | None = None,
    ) -> None:
        """`folder` is the URI of the table's folder, `roots` what is allowed beside it: folders, ``s3://bucket/prefix``.

        In a store that another package adds, photos are named by paths below the table's folder, and the store answers
        for what they lead to.

        `web` fetches what is named by a web address. Raises `SettingsError` for a root that is neither.
        """
        self._web = web or WebPhotos()
        self._s3 = s3
        self._stores: dict[str, ObjectStore] = {}
        self._base = _root(folder)
        self.folder = "/".join(self._base)
        """By which photos are named that are not named by an address."""
        own = _Reference(self._base.store, "") if self._base.store else self._base
        self._inside = (own, *map(_root, roots))
        self._place = "bucket" if self._base.store.startswith("s3:") else "folder"

    def check(self, image: str) -> None:
        """Raises `PhotoOutside`, or `SettingsError` for what names no place at all.

        A link that leads out is only met by `read`.
        """
        if is_web(image):
            self._web.check(image)
            return
        reference = self._reference(image)
        if reference.store:
            self._within(image, reference)
        elif posixpath.isabs(image) or "://" in image or ".." in image.split("/"):
            self._within(image, _Reference("", os.path.realpath(reference.path)))

    def read(self, image: str, *, length: int | None = None) -> bytes:
        """The bytes of a photo, or the first `length` of them.

        Raises `ObjectNotFound`, other `StorageError`s, and what `check` raises.
        """
        if is_web(image):
            return self._web.read(image, length=_WEB_BYTES if length is None else length)[0]
        reference = self._reference(image)
        if reference.store:
            self._within(image, reference)
            return self._store(reference).get(reference.path, length=length)
        return self._read_file(image, reference, length)[0]

    def read_version(self, image: str, *, length: int, size: int | None = None) -> tuple[bytes, Version]:
        """The first `length` bytes of a photo, and the version that they are of. Raises as `read`.

        `size` in bytes, where `versions` has told it, saves a request to the store.
        """
        if is_web(image):
            data, token = self._web.read(image, length=length)
            return data, Version(image, token, len(data))
        reference = self._reference(image)
        if not reference.store:
            data, actual, modified = self._read_file(image, reference, length)
            return data, _version_of_file(reference, actual, modified)
        self._within(image, reference)
        store = self._store(reference)
        size = store.head(reference.path).size if size is None else size
        if size > length:  # only so much is wanted, and a part has no version
            return store.get(reference.path, length=length), Version(_address(reference), "", size)
        data, etag = store.get_with_etag(reference.path)
        return data, Version(_address(reference), etag, len(data))

    def versions(self, images: Sequence[str], known: Collection[str] = ()) -> dict[str, Version]:
        """The versions that photos have now, of those that can be told without reading them.

        Files are asked one by one. Objects are listed by folder, 1,000 at a time; where a folder holds far more than is
        asked for, or may not be listed, they are asked one by one, too. Hosts of the web are asked for photos whose
        address is `known` alone: any other has to be read in any case. Raises `StoreUnavailable`.
        """
        found: dict[str, Version] = {}
        folders: dict[_Reference, dict[str, list[str]]] = {}
        asked = [image for image in images if is_web(image) and image in known]
        with ThreadPoolExecutor(_ASKERS) as pool:
            for image, told in zip(asked, pool.map(self._web.validator, asked), strict=True):
                if told:
                    found[image] = Version(image, told, 0)
        for image in images:
            if is_web(image):
                continue
            reference = self._reference(image)
            if reference.store:
                folder = _Reference(reference.store, posixpath.dirname(reference.path))
                folders.setdefault(folder, {}).setdefault(reference.path, []).append(image)
                continue
            try:
                status = Path(reference.path).stat()
            except OSError:
                continue
            found[image] = _version_of_file(reference, status.st_size, status.st_mtime_ns)
        for folder, wanted in folders.items():
            for info in self._objects(folder, wanted):
                version = Version(_address(_Reference(folder.store, info.key)), info.etag, info.size)
                found |= dict.fromkeys(wanted[info.key], version)
        return found

    def _objects(self, folder: _Reference, wanted: Mapping[str, object]) -> Iterator[ObjectInfo]:
        """What the store says of the objects `wanted` in a folder."""
        store, left = self._store(folder), dict.fromkeys(wanted)
        try:
            prefix = f"{folder.path}/" if folder.path else ""
            for listed, info in enumerate(store.list(prefix)):
                if info.key in left:
                    del left[info.key]
                    yield info
                if not left or listed > _LISTED_FOR_ONE * len(wanted) + 1_000:
                    break
            else:
                return
        except AccessDenied:
            pass
        with ThreadPoolExecutor(_ASKERS) as pool:
            yield from (info for info in pool.map(lambda key: _head(store, key), left) if info is not None)

    def _store(self, reference: _Reference) -> ObjectStore:
        if reference.store not in self._stores:
            self._stores[reference.store] = open_store(reference.store, self._s3)
        return self._stores[reference.store]

    def _read_file(self, image: str, reference: _Reference, length: int | None) -> tuple[bytes, int, int]:
        """The first `length` bytes of a file, its size, and when it was modified in ns, or 0 where it was just now."""
        for _ in range(_ATTEMPTS):
            real = os.path.realpath(reference.path)
            root = self._within(image, _Reference("", real))
            with _translated(image), open(_opened(root.path, os.path.relpath(real, root.path)), "rb") as file:
                now, before = time.time_ns(), os.fstat(file.fileno())
                data = file.read(-1 if length is None else length)
                after = os.fstat(file.fileno())
            if (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size):
                return data, after.st_size, after.st_mtime_ns if after.st_mtime_ns + _REST_NS < now else 0
        raise StorageError(image, f"{image} changed while it was read")

    def has(self, image: str) -> bool:
        """Whether there is a photo, as far as can be seen without reading it."""
        if is_web(image):
            return self._web.validator(image) is not None
        try:
            reference = self._reference(image)
            if not reference.store:
                real = os.path.realpath(reference.path)
                self._within(image, _Reference("", real))
                return Path(real).is_file()
            self._within(image, reference)
            self._store(reference).head(reference.path)
        except (PhotoOutside, SettingsError, StorageError):
            return False
        return True

    def is_local(self, image: str) -> bool:
        """Whether the photo lies on this machine, so that trouble with it is no trouble with a service."""
        return not is_web(image) and not self._reference(image).store

    def _reference(self, image: str) -> _Reference:
        """What `image` names, allowed or not. Raises `SettingsError`."""
        try:
            parts = urlsplit(image) if "://" in image else None
        except ValueError as error:  # a bracket that is never closed
            raise SettingsError(f"not an address: {image!r}") from error
        if parts and parts.scheme == "s3":
            start = f"s3://{parts.netloc}/"
            if not parts.netloc or not image.startswith(start):
                raise SettingsError(f"{image}: an S3 address is s3://bucket/key")
            return self._key(image, start.rstrip("/"), image.removeprefix(start))
        if parts and not (parts.scheme == "file" and parts.netloc in ("", "localhost")):
            raise SettingsError(
                f"{image}: photos are read from s3://, file://, https:// and http:// addresses only"
            )
        path = unquote(parts.path) if parts else image
        if not path.strip("/.") or path.endswith("/") or _UNUSABLE.search(path):
            raise SettingsError(f"not a path of a file: {image!r}")
        if posixpath.isabs(path):
            return _Reference("", path)
        if self._base.store:
            return self._key(image, self._base.store, posixpath.join(self._base.path, path))
        return _Reference("", posixpath.join(self._base.path, path))

    def _key(self, image: str, store: str, path: str) -> _Reference:
        key = posixpath.normpath(path.lstrip("/"))
        if key.startswith("../") or key == "..":
            raise self._outside(image)
        return _Reference(store, check_key(key))

    def _within(self, image: str, reference: _Reference) -> _Reference:
        """The root that `reference` lies below. Raises `PhotoOutside`."""
        for root in self._inside:
            above = root.path.rstrip("/") + "/" if root.path else ""
            if reference.store == root.store and reference.path.startswith(above):
                return root
        raise self._outside(image)

    def _outside(self, image: str) -> PhotoOutside:
        return PhotoOutside(f"{image} leads out of the catalogue's {self._place}")


def _address(reference: _Reference) -> str:
    return f"{reference.store}/{reference.path}" if reference.store else f"file://{reference.path}"


def _version_of_file(reference: _Reference, size: int, modified: int) -> Version:
    """`modified` is 0 for a file that was written just now: a second write may leave size and time as they are."""
    return Version(_address(reference), f"{size:x}-{modified:x}" if modified else "", size)


def _head(store: ObjectStore, key: str) -> ObjectInfo | None:
    """What the store says of one object, if it says anything."""
    try:
        return store.head(key)
    except StoreUnavailable:
        raise
    except StorageError:
        return None


def _root(uri: str) -> _Reference:
    """A folder, with its links followed now and for good, or a bucket and prefix. Raises `SettingsError`."""
    parts = urlsplit(uri) if "://" in uri else None
    if parts and parts.scheme == "s3" and parts.netloc:
        return _Reference(f"s3://{parts.netloc}", parts.path.strip("/"))
    if parts and parts.scheme in STORES and parts.scheme not in STORES.built_in:
        return _Reference(uri.rstrip("/"), "")
    if parts and not (parts.scheme == "file" and parts.netloc in ("", "localhost")):
        raise SettingsError(f"{uri}: photos may lie below a folder or below s3://bucket/prefix")
    path = Path(unquote(parts.path) if parts else uri).expanduser()
    return _Reference("", os.path.realpath(path))


def _opened(root: str, relative: str) -> int:
    """A descriptor of the file `relative` below `root`, neither of which holds a link."""
    *folders, name = relative.split("/")
    above = os.open(root, _FOLDER & ~os.O_NOFOLLOW)
    try:
        for folder in folders:
            below = os.open(folder, _FOLDER, dir_fd=above)
            os.close(above)
            above = below
        file = os.open(name, _FILE, dir_fd=above)
    finally:
        os.close(above)
    mode = os.fstat(file).st_mode
    if not stat.S_ISREG(mode):
        os.close(file)
        raise OSError(errno.EINVAL, "it is a folder" if stat.S_ISDIR(mode) else "it is no regular file")
    return file


@contextmanager
def _translated(image: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise ObjectNotFound(image, f"{image} does not exist") from error
    except OSError as error:
        raise StorageError(image, f"{image}: {error.strerror or error}") from error
