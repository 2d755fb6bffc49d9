"""The curated snapshot: its Arrow schemas, and the reader through which every later step sees it.

A snapshot is one artefact (`Kind.CURATED`): ``listings.parquet``, ``listing_photos.parquet``, ``photos.parquet``,
``photos-00000.tar`` and so on, ``report.json``, ``report.html``. A photo is found by shard, offset and length, so its
bytes come straight out of a memory map; that the shards are tar files is for people, who can unpack them with any tool.
"""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lookalike.columns import COLUMNS
from lookalike.errors import CorruptObject
from lookalike.storage.artefacts import Artefact, Ref, fetch, read_manifest
from lookalike.storage.objects import ObjectStore

LISTINGS, LISTING_PHOTOS, PHOTOS = "listings.parquet", "listing_photos.parquet", "photos.parquet"
REPORT, REPORT_PAGE = "report.json", "report.html"
ASPECT_PREFIX = "aspect_"

PHOTOS_SCHEMA = pa.schema(
    [
        pa.field("photo_id", pa.string(), nullable=False),  # MD5 of the original bytes, 32 hex digits
        pa.field("shard", pa.int32(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("length", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),  # pixels of the original, upright
        pa.field("height", pa.int32(), nullable=False),
        pa.field("phash", pa.string(), nullable=False),  # 64-bit DCT hash, 16 hex digits
    ]
)

LISTING_PHOTOS_SCHEMA = pa.schema(
    [
        pa.field("listing_id", pa.string(), nullable=False),
        pa.field("ordinal", pa.int32(), nullable=False),  # 0 is the main photo, that of ``listings.parquet``
        pa.field("photo_id", pa.string(), nullable=False),
    ]
)


def listings_schema(aspects: list[str]) -> pa.Schema:
    """Columns of ``listings.parquet``: those of the registry, then aspects.

    `aspects` are names without the prefix, in the order of the columns.
    """
    lists = [pa.field(ASPECT_PREFIX + name, pa.list_(pa.string())) for name in aspects]
    return pa.schema([*(column.field for column in COLUMNS), *lists])


def shard_name(number: int) -> str:
    """File of one photo shard."""
    return f"photos-{number:05d}.tar"


def is_shard(name: str) -> bool:
    """Whether a file of a snapshot is a photo shard: nearly all of its bytes."""
    return name.endswith(".tar")


@dataclass(frozen=True, slots=True)
class PhotoPlace:
    """A photo's bytes in a photo shard on this machine."""

    path: Path
    offset: int
    length: int


class CuratedSnapshot:
    """A curated snapshot on local disk, verified against its manifest. Safe to read from several threads."""

    def __init__(self, artefact: Artefact) -> None:
        self.artefact = artefact
        self.listings: pa.Table = self._table(LISTINGS)
        """One row per listing, sorted by listing id; see `listings_schema`."""
        self.photos: pa.Table = self._table(PHOTOS)
        """One row per distinct photo, sorted by photo id; see `PHOTOS_SCHEMA`."""
        self.listing_photos: pa.Table = read_listing_photos(artefact)
        """One row per photo of a listing, sorted by listing id and ordinal; see `LISTING_PHOTOS_SCHEMA`."""
        self.report: dict[str, Any] = json.loads(artefact.path(REPORT).read_bytes())
        """What curation kept, changed and left out."""
        self._places = self._photo_places()
        self._shards = {
            number: _mapped(artefact.path(shard_name(number))) for number in self._shard_numbers()
        }
        self._check_places()

    @classmethod
    def open(cls, store: ObjectStore, ref: Ref, cache_dir: Path) -> Self:
        """Fetch what is not on this machine's disk yet, verify all, map the photos.

        Raises `ObjectNotFound`, or `CorruptObject` naming the file that is damaged.
        """
        names = [entry.name for entry in read_manifest(store, ref).files if entry.name != REPORT_PAGE]
        return cls(fetch(store, ref, cache_dir, names))

    @property
    def ref(self) -> Ref:
        return self.artefact.ref

    @property
    def aspects(self) -> tuple[str, ...]:
        """Names of the aspects, without the prefix of their columns."""
        names = self.listings.column_names
        return tuple(name.removeprefix(ASPECT_PREFIX) for name in names if name.startswith(ASPECT_PREFIX))

    def place(self, photo_id: str) -> PhotoPlace:
        """Where `photo_bytes` are, for a reader in another process. Raises `KeyError`."""
        shard, offset, length = self._places[photo_id]
        return PhotoPlace(self.artefact.path(shard_name(shard)), offset, length)

    def photo_bytes(self, photo_id: str) -> bytes:
        """The photo as stored: the original, or a smaller JPEG of it. Raises `KeyError`."""
        shard, offset, length = self._places[photo_id]
        return self._shards[shard][offset : offset + length]

    def _table(self, name: str) -> pa.Table:
        wanted = listings_schema([]) if name == LISTINGS else PHOTOS_SCHEMA
        return _checked(self.artefact, name, wanted)

    def _photo_places(self) -> dict[str, tuple[int, int, int]]:
        columns = (self.photos[name].to_pylist() for name in ("photo_id", "shard", "offset", "length"))
        return {photo: (shard, at, length) for photo, shard, at, length in zip(*columns, strict=True)}

    def _shard_numbers(self) -> list[int]:
        numbers = np.unique(self.photos["shard"].to_numpy())
        for number in numbers:
            self.artefact.manifest.file(shard_name(int(number)))
        return [int(number) for number in numbers]

    def _check_places(self) -> None:
        for photo_id, (shard, offset, length) in self._places.items():
            if not re.fullmatch(r"[0-9a-f]{32}", photo_id):
                raise _corrupt(self.artefact, PHOTOS, f"has the photo id {photo_id!r}; an MD5 was expected")
            if offset < 0 or length < 1 or offset + length > len(self._shards[shard]):
                raise _corrupt(
                    self.artefact, PHOTOS, f"places photo {photo_id} outside of {shard_name(shard)}"
                )


def read_listing_photos(artefact: Artefact) -> pa.Table:
    """The table of listings' photos of a fetched snapshot; see `LISTING_PHOTOS_SCHEMA`.

    A snapshot of version 0.1 has none: its listings have one photo each, that of ``listings.parquet``. The file of
    the table, or else that one, must have been fetched. Raises `CorruptObject`.
    """
    if any(entry.name == LISTING_PHOTOS for entry in artefact.manifest.files):
        return _checked(artefact, LISTING_PHOTOS, LISTING_PHOTOS_SCHEMA)
    listings = _checked(artefact, LISTINGS, listings_schema([]), ["listing_id", "photo_id"])
    ordinal = pa.array(np.zeros(listings.num_rows, np.int32))
    columns = [listings["listing_id"], ordinal, listings["photo_id"]]
    return pa.table(columns, schema=LISTING_PHOTOS_SCHEMA)


def listing_photos_of(store: ObjectStore, ref: Ref, cache_dir: Path) -> pa.Table:
    """The photos of a curated snapshot's listings; no more than their table is fetched. Raises `CorruptObject`."""
    names = {entry.name for entry in read_manifest(store, ref).files}
    name = LISTING_PHOTOS if LISTING_PHOTOS in names else LISTINGS
    return read_listing_photos(fetch(store, ref, cache_dir, [name]))


def first_photo(store: ObjectStore, ref: Ref, cache_dir: Path) -> bytes:
    """The bytes of one photo of a curated snapshot, of which no more than the table of photos is fetched.

    Raises `ObjectNotFound`, or `CorruptObject` where the snapshot has none.
    """
    manifest = read_manifest(store, ref)
    try:
        table = pq.ParquetFile(fetch(store, ref, cache_dir, [PHOTOS]).path(PHOTOS))
        row = next(table.iter_batches(batch_size=1, columns=["shard", "offset", "length"])).to_pylist()[0]
    except (pa.ArrowException, OSError, StopIteration, IndexError) as error:
        key = manifest.file(PHOTOS).key
        raise CorruptObject(key, f"{key} has no photo that can be read: {error!r}") from error
    shard = manifest.file(shard_name(row["shard"]))
    return store.get(shard.key, start=row["offset"], length=row["length"])


def splits_of(store: ObjectStore, ref: Ref, cache_dir: Path) -> set[str]:
    """The splits that a curated snapshot's listings are of; only their table is fetched."""
    table = pq.read_table(fetch(store, ref, cache_dir, [LISTINGS]).path(LISTINGS), columns=["split"])
    return set(table["split"].unique().to_pylist())


def _checked(
    artefact: Artefact, name: str, wanted: pa.Schema, columns: Sequence[str] | None = None
) -> pa.Table:
    """A table of the snapshot, of which `columns` (all by default) are read; what may be null and is not there, since
    an earlier version did not know it, is null. Raises `CorruptObject`."""
    try:
        table = pq.read_table(artefact.path(name), columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise _corrupt(artefact, name, f"is not readable as Parquet: {error}") from error
    for field in wanted:
        if columns is not None and field.name not in columns:
            continue
        at = table.schema.get_field_index(field.name)
        if at < 0 and field.nullable:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
        elif at < 0 or table.schema.field(at).type != field.type:
            raise _corrupt(artefact, name, f"has no column {field.name!r} of type {field.type}")
    return table


def _corrupt(artefact: Artefact, name: str, what: str) -> CorruptObject:
    key = artefact.manifest.file(name).key
    return CorruptObject(key, f"{key} {what}")


def _mapped(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
