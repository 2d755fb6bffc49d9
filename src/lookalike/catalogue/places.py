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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from lookalike.errors import ObjectNotFound, PhotoOutside, SettingsError, StorageError
from lookalike.settings import S3Settings
from lookalike.storage.objects import ObjectStore, check_key
from lookalike.storage.stores import STORES, open_store

_UNUSABLE = re.compile(r"[\x00-\x1f\x7f\\]")
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = (
    os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
)  # opening a pipe must not wait for its writer


class _Reference(NamedTuple):
    """A store's URI and a key in it, or no store and an absolute path."""

    store: str
    path: str


class PhotoPlaces:
    """The places that one catalogue may name photos in. Safe for several threads."""

    def __init__(self, folder: str, roots: Sequence[str] = (), s3: S3Settings | None = None) -> None:
        """`folder` is the URI of the table's folder, `roots` what is allowed beside it: folders, ``s3://bucket/prefix``.

        In a store that another package adds, photos are named by paths below the table's folder, and the store answers
        for what they lead to.

        Raises `SettingsError` for a root that is neither.
        """
        self._s3 = s3
        self._stores: dict[str, ObjectStore] = {}
        self._base = _root(folder)
        own = _Reference(self._base.store, "") if self._base.store else self._base
        self._inside = (own, *map(_root, roots))
        self._place = "bucket" if self._base.store.startswith("s3:") else "folder"

    def check(self, image: str) -> None:
        """Raises `PhotoOutside`, or `SettingsError` for what names no place at all.

        A link that leads out is only met by `read`.
        """
        reference = self._reference(image)
        if reference.store:
            self._within(image, reference)
        elif posixpath.isabs(image) or "://" in image or ".." in image.split("/"):
            self._within(image, _Reference("", os.path.realpath(reference.path)))

    def read(self, image: str, *, length: int | None = None) -> bytes:
        """The bytes of a photo, or the first `length` of them.

        Raises `ObjectNotFound`, other `StorageError`s, and what `check` raises.
        """
        reference = self._reference(image)
        if reference.store:
            self._within(image, reference)
            if reference.store not in self._stores:
                self._stores[reference.store] = open_store(reference.store, self._s3)
            return self._stores[reference.store].get(reference.path, length=length)
        real = os.path.realpath(reference.path)
        root = self._within(image, _Reference("", real))
        with _translated(image), open(_opened(root.path, os.path.relpath(real, root.path)), "rb") as file:
            return file.read(-1 if length is None else length)

    def is_local(self, image: str) -> bool:
        """Whether the photo lies on this machine, so that trouble with it is no trouble with a service."""
        return not self._reference(image).store

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
            raise SettingsError(f"{image}: photos are read from s3:// and file:// addresses only")
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
