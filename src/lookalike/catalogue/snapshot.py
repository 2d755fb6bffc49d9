"""The curated snapshot: its Arrow schemas, and the reader through which every later step sees it.

A snapshot is one artefact (`Kind.CURATED`) of tables: ``listings.parquet``, ``listing_photos.parquet``,
``photos.parquet``, ``report.json``, ``report.html``. Its photos lie in packs that it shares with other snapshots; its
manifest lists them as ``photos-00000.tar`` and so on, and `photo_store` reads them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lookalike.catalogue.photo_store import PhotoStore, is_shard
from lookalike.columns import COLUMNS, Column
from lookalike.errors import CorruptObject
from lookalike.storage.artefacts import Artefact, Ref, fetch, read_manifest
from lookalike.storage.objects import ObjectStore

LISTINGS, LISTING_PHOTOS, PHOTOS = "listings.parquet", "listing_photos.parquet", "photos.parquet"
REPORT, REPORT_PAGE, LEFT_OUT = "report.json", "report.html", "left-out.csv"
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
        pa.field("stock", pa.bool_()),  # it shows no thing in particular (`stock`), and is not learned from
    ]
)

LISTING_PHOTOS_SCHEMA = pa.schema(
    [
        pa.field("listing_id", pa.string(), nullable=False),
        pa.field("ordinal", pa.int32(), nullable=False),  # 0 is the main photo, that of ``listings.parquet``
        pa.field("photo_id", pa.string(), nullable=False),
    ]
)


def listings_schema(aspects: list[str], own: Iterable[Column] = ()) -> pa.Schema:
    """Columns of ``listings.parquet``: those of the registry, the shop's own, then aspects.

    `aspects` are names without the prefix, in the order of the columns.
    """
    lists = [pa.field(ASPECT_PREFIX + name, pa.list_(pa.string())) for name in aspects]
    return pa.schema([*(column.field for column in (*COLUMNS, *own)), *lists])


class CuratedSnapshot:
    """A curated snapshot: its tables on local disk, verified against its manifest, and its photos wherever they lie.

    Safe to read from several threads.
    """

    def __init__(self, store: ObjectStore, artefact: Artefact, cache_dir: Path) -> None:
        self.artefact = artefact
        self.listings: pa.Table = self._table(LISTINGS)
        """One row per listing, sorted by listing id; see `listings_schema`."""
        self.photos: pa.Table = self._table(PHOTOS)
        """One row per distinct photo, sorted by photo id; see `PHOTOS_SCHEMA`."""
        self.listing_photos: pa.Table = read_listing_photos(artefact)
        """One row per photo of a listing, sorted by listing id and ordinal; see `LISTING_PHOTOS_SCHEMA`."""
        self.report: dict[str, Any] = json.loads(artefact.path(REPORT).read_bytes())
        """What curation kept, changed and left out."""
        self.photo_store = PhotoStore(store, artefact.manifest, self.photos, cache_dir)

    @classmethod
    def open(cls, store: ObjectStore, ref: Ref, cache_dir: Path) -> Self:
        """Fetch the tables that are not on this machine's disk yet, and verify them; packs wait till they are wanted.

        Raises `ObjectNotFound`, or `CorruptObject` naming the file that is damaged.
        """
        names = [entry.name for entry in read_manifest(store, ref).files]
        tables = [name for name in names if name != REPORT_PAGE and not is_shard(name)]
        return cls(store, fetch(store, ref, cache_dir, tables), cache_dir)

    @property
    def ref(self) -> Ref:
        return self.artefact.ref

    @property
    def aspects(self) -> tuple[str, ...]:
        """Names of the aspects, without the prefix of their columns."""
        names = self.listings.column_names
        return tuple(name.removeprefix(ASPECT_PREFIX) for name in names if name.startswith(ASPECT_PREFIX))

    def stock_photos(self) -> list[str]:
        """Ids of the photos that show no thing in particular, which nobody learns from; none in older snapshots."""
        stock = self.photos.filter(pc.fill_null(self.photos["stock"], False))
        ids: list[str] = stock["photo_id"].to_pylist()
        return ids

    def photo_bytes(self, photo_id: str) -> bytes:
        """The photo as stored: the original, or a smaller JPEG of it. Raises as `PhotoStore.photo_bytes`."""
        return self.photo_store.photo_bytes(photo_id)

    def _table(self, name: str) -> pa.Table:
        wanted = listings_schema([]) if name == LISTINGS else PHOTOS_SCHEMA
        return _checked(self.artefact, name, wanted)


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


def open_photos(store: ObjectStore, ref: Ref, cache_dir: Path) -> PhotoStore:
    """The photos of a curated snapshot alone; no more than their table is fetched. Raises `CorruptObject`."""
    return photos_in(store, fetch(store, ref, cache_dir, [PHOTOS]), cache_dir)


def photos_in(store: ObjectStore, artefact: Artefact, cache_dir: Path) -> PhotoStore:
    """The photos of a fetched snapshot; none are known where their table was not. Raises `CorruptObject`."""
    columns = ["photo_id", "shard", "offset", "length"]
    photos = _checked(artefact, PHOTOS, PHOTOS_SCHEMA, columns) if PHOTOS in artefact.paths else None
    return PhotoStore(store, artefact.manifest, photos, cache_dir)


def first_photo(store: ObjectStore, ref: Ref, cache_dir: Path) -> bytes:
    """The bytes of one photo of a curated snapshot, of which no more than the table of photos is fetched.

    Raises `ObjectNotFound`, or `CorruptObject` where the snapshot has none.
    """
    artefact = fetch(store, ref, cache_dir, [PHOTOS])
    columns = ["photo_id", "shard", "offset", "length"]
    try:
        batches = pq.ParquetFile(artefact.path(PHOTOS)).iter_batches(1, columns=columns)
        photos = pa.Table.from_batches([next(batches)])
    except (pa.ArrowException, OSError, StopIteration) as error:
        raise _corrupt(artefact, PHOTOS, f"has no photo that can be read: {error!r}") from error
    return PhotoStore(store, artefact.manifest, photos, cache_dir).peek(photos["photo_id"][0].as_py())


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
