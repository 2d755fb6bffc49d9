"""The photo log: every distinct photo is read, decoded, described and stored once, for all curations of a store.

Two tables grow by parts, each an immutable Parquet file named by its content. The *log* has a row for each photo: where
its bytes lie (`packs`), its size and hash, or why it cannot be decoded. *Seen* says which photo an address led to, at
which version (`places`): as long as a photo's version is the same, it is not read. What copies are known by lies beside
them (`prints`).

What a photo is stored as depends on how it is decoded, so both tables belong to one way of decoding (`way_of`), and a
store may have several. A part is written once all that it speaks of is stored: packs and prints first, then the log,
then what was seen. So a curation that is killed leaves nothing half-known, and the next one goes on after its last
part. Curations side by side only add parts; what two of them add about one photo is the same.

Small parts are merged once there are many. A pack that retention has removed takes its rows with it: those photos are
read anew when a catalogue names them again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lookalike.catalogue.looks import Looks
from lookalike.catalogue.packs import Pack, held
from lookalike.catalogue.parts import add_part, merge_parts, read_parts, read_some
from lookalike.catalogue.prints import Prints, add_prints, merge_sketches, take_out_prints
from lookalike.catalogue.rules import CurationConfig
from lookalike.catalogue.verdicts import Verdicts
from lookalike.storage import keys
from lookalike.storage.artefacts import digest_of
from lookalike.storage.objects import ObjectStore

DECODING = 2
"""Raised when the same bytes begin to be stored or described otherwise: then every photo is read once more."""
PHOTOS_SCHEMA = pa.schema(
    [
        pa.field("photo_id", pa.string(), nullable=False),  # MD5 of the original bytes, 32 hex digits
        pa.field(
            "reason", pa.string()
        ),  # why it cannot be decoded; then all further columns but `detail` are null
        pa.field("detail", pa.string()),
        pa.field("pack", pa.string()),  # key of the object that holds its bytes
        pa.field("pack_sha256", pa.string()),
        pa.field("pack_size", pa.int64()),
        pa.field("offset", pa.int64()),
        pa.field("length", pa.int32()),
        pa.field("width", pa.int32()),  # pixels of the original, upright
        pa.field("height", pa.int32()),
        pa.field("phash", pa.uint64()),  # 64-bit DCT hash
        pa.field("deviation", pa.float32()),  # of its colours, in grey levels
    ]
)
_WHERE = pa.schema([PHOTOS_SCHEMA.field("photo_id"), PHOTOS_SCHEMA.field("pack")])
SEEN_SCHEMA = pa.schema(
    [
        pa.field("address", pa.string(), nullable=False),  # file:///... or s3://...
        pa.field("version", pa.string(), nullable=False),
        pa.field("photo_id", pa.string()),
        pa.field("reason", pa.string()),  # why it was not even read
        pa.field("detail", pa.string()),
    ]
)


def way_of(config: CurationConfig) -> str:
    """Digest of all that decides how a photo is stored and described."""
    return digest_of([DECODING, config.keep_side, config.shrunk_side, asdict(config.limits)])[:16]


class PhotoLog:
    """What a store knows of photos that were decoded in one way."""

    def __init__(
        self, store: ObjectStore, cache_dir: Path, way: str, photos: pa.Table, seen: pa.Table
    ) -> None:
        self.photos, self.seen = photos, seen
        """See `PHOTOS_SCHEMA` and `SEEN_SCHEMA`: one row for each photo, and for each version of each address."""
        self.store, self.cache_dir, self.way = store, cache_dir, way

    @classmethod
    def to_add_to(cls, store: ObjectStore, cache_dir: Path, config: CurationConfig) -> Self:
        """One that has read nothing, for who only adds to it."""
        return cls(store, cache_dir, way_of(config), PHOTOS_SCHEMA.empty_table(), SEEN_SCHEMA.empty_table())

    @classmethod
    def open(cls, store: ObjectStore, cache_dir: Path, config: CurationConfig) -> Self:
        """Read both tables; parts are kept below `cache_dir`. Raises `CorruptObject` naming a damaged part."""
        way = way_of(config)
        take_out_prints(store, cache_dir, way, PHOTOS_SCHEMA)
        seen = read_parts(
            store, cache_dir, keys.seen_photos(way), SEEN_SCHEMA
        )  # first: the log is written before it
        log = read_parts(store, cache_dir, keys.photo_log(way), PHOTOS_SCHEMA)
        log = _widest(log.filter(_held(store, log["pack"])))
        known = pc.or_(
            pc.is_null(seen["photo_id"]), pc.is_in(seen["photo_id"], log["photo_id"].combine_chunks())
        )
        return cls(store, cache_dir, way, log, _distinct(seen.filter(known), ["address", "version"]))

    @cached_property
    def prints(self) -> Prints:
        """Of all photos that were added before this is first asked for."""
        return Prints.open(self.store, self.cache_dir, self.way)

    @cached_property
    def looks(self) -> Looks:
        """What photos are known by when their categories are doubted; of all photos as `prints`."""
        return Looks(self.store, self.cache_dir, self.way, self.prints)

    def verdicts(self, ids: NDArray[np.uint64]) -> Verdicts:
        """What is known of pairs of photos with these heads (`copies.heads`), in order."""
        return Verdicts.open(self.store, self.cache_dir, self.way, ids)

    def rows_of(self, photo_ids: Sequence[str] | pa.Array) -> pa.Array:
        """Their rows in `photos`: int32, null where a photo is not known."""
        asked = photo_ids if isinstance(photo_ids, pa.Array) else pa.array(photo_ids, pa.string())
        return pc.index_in(asked, self.photos["photo_id"].combine_chunks())

    def parts(self) -> tuple[str, ...]:
        """Keys of what the store holds of the log now."""
        return tuple(info.key for info in self.store.list(keys.photo_log(self.way)))

    def ids_in(self, parts: Sequence[str]) -> NDArray[np.bytes_]:
        """S32[photos], in order: those in these parts whose packs are there; all where one of the parts has gone."""
        rows = read_some(self.store, self.cache_dir, parts, _WHERE)
        if rows is None:
            rows = read_parts(self.store, self.cache_dir, keys.photo_log(self.way), _WHERE)
        return _sorted(rows.filter(_held(self.store, rows["pack"])))

    def ids(self) -> NDArray[np.bytes_]:
        """S32[photos], in order: all of `photos`."""
        return _sorted(self.photos)

    def look_up(self, addresses: pa.ChunkedArray, versions: pa.ChunkedArray) -> pa.Table:
        """For each address at its version what was seen there, nulls where nothing was: photo_id, reason, detail."""
        asked = _joined(addresses, versions)
        rows = pc.index_in(asked, _joined(self.seen["address"], self.seen["version"]))
        return self.seen.select(["photo_id", "reason", "detail"]).take(rows)

    def addresses_of(self, images: Sequence[str]) -> set[str]:
        """Those of `images` that are addresses which something was seen at."""
        asked = pa.array(dict.fromkeys(images), pa.string())
        known: set[str] = set(asked.filter(pc.is_in(asked, self.seen["address"])).to_pylist())
        return known

    def add(self, photos: Iterable[Mapping[str, Any]], seen: Iterable[Mapping[str, Any]]) -> None:
        """Add rows for good. The packs that they name must be stored. Rows of new photos have `prints`, too."""
        rows = list(photos)
        new = [row for row in rows if "prints" in row]
        add_prints(self.store, self.way, [row["photo_id"] for row in new], (row["prints"] for row in new))
        log_rows = pa.Table.from_pylist(rows, schema=PHOTOS_SCHEMA)
        seen_rows = pa.Table.from_pylist(list(seen), schema=SEEN_SCHEMA)
        if log_rows.num_rows:
            add_part(self.store, keys.photo_log(self.way), log_rows)
            self.photos = pa.concat_tables([self.photos, log_rows])
        if seen_rows.num_rows:
            add_part(self.store, keys.seen_photos(self.way), seen_rows)
            self.seen = pa.concat_tables([self.seen, seen_rows])

    def settle(self) -> None:
        """Where photos that are known were added anew, take each from the larger pack."""
        self.photos = _widest(self.photos)

    def compact(self) -> None:
        """Merge small parts where there are many. What is merged stays until that is stored."""

        def tidied(rows: pa.Table) -> pa.Table:
            return _widest(rows.filter(_held(self.store, rows["pack"])))

        def distinct(rows: pa.Table) -> pa.Table:
            return _distinct(rows, ["address", "version"])

        merge_sketches(self.store, self.cache_dir, self.way)
        log, seen = keys.photo_log(self.way), keys.seen_photos(self.way)
        merge_parts(self.store, self.cache_dir, log, PHOTOS_SCHEMA, tidied)
        merge_parts(self.store, self.cache_dir, seen, SEEN_SCHEMA, distinct)


def packs_of(rows: pa.Table) -> list[Pack]:
    """The packs that rows of the log name, by key."""
    columns = ["pack", "pack_size", "pack_sha256"]
    distinct = rows.select(columns).group_by(columns, use_threads=False).aggregate([])
    found = [
        Pack(row["pack"], row["pack_size"], row["pack_sha256"]) for row in distinct.to_pylist() if row["pack"]
    ]
    return sorted(found, key=lambda pack: pack.key)


def _held(store: ObjectStore, packs: pa.ChunkedArray) -> pa.ChunkedArray:
    """Whether the store still has the pack of each row; yes where a row names none."""
    there = held(store, (key for key in packs.unique().to_pylist() if key))
    return pc.or_(pc.is_null(packs), pc.is_in(packs, pa.array(sorted(there), pa.string())))


def _widest(log: pa.Table) -> pa.Table:
    """One row for each photo: one that lies in two packs is taken from the larger, since small ones are merged."""
    if pc.count_distinct(log["photo_id"]).as_py() == log.num_rows:
        return log
    order = [("pack_size", "descending"), ("pack", "ascending")]
    return _distinct(log.take(pc.sort_indices(log, sort_keys=order)), ["photo_id"])


def _sorted(rows: pa.Table) -> NDArray[np.bytes_]:
    return np.sort(rows["photo_id"].to_numpy().astype("S32"))


def _distinct(table: pa.Table, by: Sequence[str]) -> pa.Table:
    """The first row of each key."""
    numbered = table.select(by).append_column("row", pa.array(range(table.num_rows), pa.int64()))
    first = numbered.group_by(list(by), use_threads=False).aggregate([("row", "min")])["row_min"]
    return table if len(first) == table.num_rows else table.take(first.take(pc.sort_indices(first)))


def _joined(addresses: pa.Array, versions: pa.Array) -> pa.Array:
    joined = pc.binary_join_element_wise(addresses, versions, "\n")
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined
