"""Packs: photos put together into plain tar files of some 64 MB, written once, without times or owners.

A pack is named by the SHA-256 of its bytes, belongs to no snapshot and is shared by all that refer to it. A photo is
found by pack, offset and length, so that its bytes come straight out of a memory map; that packs are tar files is for
people, who can unpack them with any tool.
"""

from __future__ import annotations

import contextlib
import io
import tarfile
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lookalike.errors import ObjectNotFound
from lookalike.imaging.headers import recognise
from lookalike.storage import keys
from lookalike.storage.artefacts import sha256_of_file
from lookalike.storage.objects import ObjectStore

_HEADER = 512  # of one member in the ustar format, right before its bytes
_SUFFIX = {"JPEG": "jpg", None: "bin"}
"""Where it is not the name of the format."""


@dataclass(frozen=True, slots=True)
class Pack:
    """One pack as the store holds it."""

    key: str
    size: int
    sha256: str


def held(store: ObjectStore, packs: Iterable[str]) -> set[str]:
    """The keys of those packs that the store still has."""
    wanted = set(packs)
    own = {key for key in wanted if key.startswith(keys.PACKS)}
    found = {info.key for info in store.list(keys.PACKS)} & own if own else set()
    for key in wanted - own:  # a shard of a snapshot of version 0.1
        with contextlib.suppress(ObjectNotFound):
            found.add(store.head(key).key)
    return found


def require_packs(store: ObjectStore, packs: Iterable[Pack]) -> None:
    """Raises `ObjectNotFound` where the store has lost one."""
    wanted = {pack.key for pack in packs}
    if gone := sorted(wanted - held(store, wanted)):
        raise ObjectNotFound(gone[0], f"{store.uri}/{gone[0]} was removed meanwhile; run it again")


class PackWriter:
    """Puts one pack together in a temporary file below `folder`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.NamedTemporaryFile(dir=folder, suffix=".tar", delete=False)  # noqa: SIM115
        self._tar = tarfile.open(fileobj=self._file, mode="w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._tar.offset

    def add(self, photo_id: str, data: bytes) -> int:
        """Append one photo; the offset of its bytes."""
        kind = recognise(data)
        member = tarfile.TarInfo(f"{photo_id}.{_SUFFIX.get(kind) or str(kind).lower()}")
        member.size = len(data)
        offset = self._tar.offset + _HEADER
        self._tar.addfile(member, io.BytesIO(data))
        return offset

    def store(self, store: ObjectStore) -> Pack:
        """Close the pack and put it into the store. Its temporary file is gone then."""
        self._tar.close()
        self._file.close()
        path = Path(self._file.name)
        sha256, size = sha256_of_file(path), path.stat().st_size
        pack = Pack(keys.pack(sha256), size, sha256)
        store.upload(pack.key, path, give=True)
        path.unlink(missing_ok=True)
        return pack

    def discard(self) -> None:
        """Drop what was put together and not stored."""
        self._file.close()
        Path(self._file.name).unlink(missing_ok=True)
