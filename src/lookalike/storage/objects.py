"""The object store protocol, which the rest of the system knows stores by; `stores` opens them.

A key is a relative slash path. A write is whole or not there; `if_absent` and
`if_match` make it conditional, which is all that the rest of the system needs to move refs safely.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol, runtime_checkable

from lookalike.errors import SettingsError

_KEY = re.compile(r"(?!/)(?!.*//)(?!(?:.*/)?\.\.?(?:/|$))[^\x00-\x1f\x7f\\]{1,900}(?<!/)")


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object as the store lists it. `etag` changes whenever the bytes are written anew."""

    key: str
    size: int
    etag: str
    modified: datetime


@runtime_checkable
class ObjectStore(Protocol):
    """Named, whole objects. All methods raise the errors of `lookalike.errors.StorageError`."""

    @property
    def uri(self) -> str:
        """The URI that `stores.open_store` takes to open this store again."""

    def head(self, key: str) -> ObjectInfo:
        """Size and etag of one object. Raises `ObjectNotFound`."""

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """Bytes of one object, or `length` of them from `start`. Raises `ObjectNotFound`."""

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        """Bytes and etag of one object, both of the same version. Raises `ObjectNotFound`."""

    def download(self, key: str, path: Path) -> None:
        """Copy one object to a file, which appears whole or not at all."""

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        """Write one object and return its etag.

        With `if_absent` or `if_match` (an etag) the write raises `LostRace` when the condition fails, and
        `OutcomeUnknown` when no answer came.
        """

    def upload(self, key: str, path: Path, *, give: bool = False) -> None:
        """Copy a file of any size to an object, unconditionally. With `give` the file may be moved instead."""

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """All objects whose key starts with `prefix`, in the order of their keys."""

    def delete(self, key: str) -> None:
        """Remove one object; one that is not there is no error."""

    def local_path(self, key: str) -> Path | None:
        """Where the object lies on this machine's disk, if it does: such files are mapped, not copied."""


def check_key(key: str) -> str:
    """`key`, or `SettingsError` if it could leave the store or cannot be stored everywhere."""
    if not _KEY.fullmatch(key):
        raise SettingsError(f"not a valid object key: {key!r}")
    return key
