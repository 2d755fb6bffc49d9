"""The photo log: every distinct photo is read, decoded, described and stored once, for all curations of a store.

Two tables grow by parts, each an immutable Parquet file named by its content. The *log* has a row for each photo: where
its bytes lie (`packs`), its size, hash and small print, or why it cannot be decoded. *Seen* says which photo an address
led to, at which version (`places`): as long as a photo's version is the same, it is not read.

What a photo is stored as depends on how it is decoded, so both tables belong to one way of decoding (`way_of`), and a
store may have several. A part is written once all that it speaks of is stored: packs first, then the log, then what was
seen. So a curation that is killed leaves nothing half-known, and the next one goes on after its last part. Curations
side by side only add parts; what two of them add about one photo is the same.

Small parts are merged once there are many. A pack that retention has removed takes its rows with it: those photos are
read anew when a catalogue names them again.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lookalike.catalogue.packs import Pack, held
from lookalike.catalogue.rules import CurationConfig
from lookalike.errors import CorruptObject, ObjectNotFound
from lookalike.storage import keys
from lookalike.storage.artefacts import digest_of, sha256_of_file
from lookalike.storage.objects import ObjectStore

DECODING = 2
"""Raised when the same bytes begin to be stored or described otherwise: then every photo is read once more."""
PRINT_BYTES = 16 * 16 * 3
PRINTS_BYTES = 2 * 32 * 32 * 3
MOST_PARTS = 16
"""Parts of a table; more are merged, all but those of at least `_LARGE` bytes."""
_LARGE = 32 << 20
_BATCH = 65_536

LOG_SCHEMA = pa.schema(
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
        pa.field("print", pa.binary(PRINT_BYTES)),  # uint8[16, 16, 3]: the whole photo at its smallest
        pa.field("prints", pa.binary(PRINTS_BYTES)),  # uint8[2, 32, 32, 3]: whole, and without its margins
    ]
)
PHOTOS_SCHEMA = pa.schema([field for field in LOG_SCHEMA if field.name not in ("print", "prints")])
"""What a curation keeps in memory of all photos: a print is nine tenths of a row."""
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
        self._store, self._cache, self._way = store, cache_dir, way

    @classmethod
    def open(cls, store: ObjectStore, cache_dir: Path, config: CurationConfig) -> Self:
        """Read both tables; parts are kept below `cache_dir`. Raises `CorruptObject` naming a damaged part."""
        way = way_of(config)
        seen = _read(
            store, cache_dir, keys.seen_photos(way), SEEN_SCHEMA
        )  # first: the log is written before it
        log = _read(store, cache_dir, keys.photo_log(way), PHOTOS_SCHEMA)
        log = _widest(log.filter(_held(store, log["pack"])))
        known = pc.or_(
            pc.is_null(seen["photo_id"]), pc.is_in(seen["photo_id"], log["photo_id"].combine_chunks())
        )
        return cls(store, cache_dir, way, log, _distinct(seen.filter(known), ["address", "version"]))

    def rows_of(self, photo_ids: Sequence[str] | pa.Array) -> pa.Array:
        """Their rows in `photos`: int32, null where a photo is not known."""
        asked = photo_ids if isinstance(photo_ids, pa.Array) else pa.array(photo_ids, pa.string())
        return pc.index_in(asked, self.photos["photo_id"].combine_chunks())

    def look_up(self, addresses: Sequence[str], versions: Sequence[str]) -> pa.Table:
        """For each address at its version what was seen there, nulls where nothing was: photo_id, reason, detail."""
        asked = _joined(pa.array(addresses, pa.string()), pa.array(versions, pa.string()))
        rows = pc.index_in(asked, _joined(self.seen["address"], self.seen["version"]))
        return self.seen.select(["photo_id", "reason", "detail"]).take(rows)

    def addresses_of(self, images: Sequence[str]) -> set[str]:
        """Those of `images` that are addresses which something was seen at."""
        asked = pa.array(dict.fromkeys(images), pa.string())
        known: set[str] = set(asked.filter(pc.is_in(asked, self.seen["address"])).to_pylist())
        return known

    def add(self, photos: Iterable[dict[str, object]], seen: Iterable[dict[str, object]]) -> None:
        """Add rows for good. The packs that they name must be stored."""
        log_rows = pa.Table.from_pylist(list(photos), schema=LOG_SCHEMA)
        seen_rows = pa.Table.from_pylist(list(seen), schema=SEEN_SCHEMA)
        if log_rows.num_rows:
            _put(self._store, keys.photo_log(self._way), log_rows)
            self.photos = pa.concat_tables([self.photos, log_rows.select(PHOTOS_SCHEMA.names)])
        if seen_rows.num_rows:
            _put(self._store, keys.seen_photos(self._way), seen_rows)
            self.seen = pa.concat_tables([self.seen, seen_rows])

    def settle(self) -> None:
        """Where photos that are known were added anew, take each from the larger pack."""
        self.photos = _widest(self.photos)

    def prints(self, photo_ids: pa.Array, column: str = "print") -> NDArray[np.uint8]:
        """The prints of photos in `column`: uint8[n, bytes] in their order; zeros where there is none."""
        while True:  # parts may be merged and removed while we look
            found = np.zeros((len(photo_ids), LOG_SCHEMA.field(column).type.byte_width), np.uint8)
            paths = [
                _fetched(self._store, self._cache, info.key)
                for info in self._store.list(keys.photo_log(self._way))
            ]
            with contextlib.suppress(FileNotFoundError):
                for path in paths:
                    _copy_prints(path, photo_ids, column, found)
                return found

    def compact(self) -> None:
        """Merge small parts where there are many. What is merged stays until that is stored."""
        for prefix, schema, by in (
            (keys.photo_log(self._way), LOG_SCHEMA, ["photo_id"]),
            (keys.seen_photos(self._way), SEEN_SCHEMA, ["address", "version"]),
        ):
            small = [info for info in self._store.list(prefix) if info.size < _LARGE]
            if len(small) <= MOST_PARTS:
                continue
            parts = [_part(self._store, self._cache, info.key, schema) for info in small]
            table = pa.concat_tables([part for part in parts if part is not None])
            if schema is LOG_SCHEMA:
                table = _widest(table.filter(_held(self._store, table["pack"])))
            merged = _put(self._store, prefix, _distinct(table, by))
            for info in small:
                if info.key != merged:
                    self._store.delete(info.key)


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


def _copy_prints(path: Path | None, photo_ids: pa.Array, column: str, found: NDArray[np.uint8]) -> None:
    """Put the prints that one part has into their rows of `found`. Raises `FileNotFoundError` where it is gone."""
    if path is None:
        raise FileNotFoundError("a part of the photo log")
    with pa.memory_map(str(path)) as file:
        for batch in pq.ParquetFile(file).iter_batches(_BATCH, columns=["photo_id", column]):
            rows = pc.index_in(batch["photo_id"], photo_ids)
            wanted = pc.and_(pc.is_valid(rows), pc.is_valid(batch[column])).to_numpy(zero_copy_only=False)
            prints = batch[column]
            flat = np.frombuffer(prints.buffers()[1], np.uint8).reshape(-1, found.shape[1])
            at = rows.fill_null(0).to_numpy(zero_copy_only=False)
            found[at[wanted]] = flat[prints.offset : prints.offset + len(prints)][wanted]


def _distinct(table: pa.Table, by: Sequence[str]) -> pa.Table:
    """The first row of each key."""
    numbered = table.select(by).append_column("row", pa.array(range(table.num_rows), pa.int64()))
    first = numbered.group_by(list(by), use_threads=False).aggregate([("row", "min")])["row_min"]
    return table if len(first) == table.num_rows else table.take(first.take(pc.sort_indices(first)))


def _joined(addresses: pa.Array, versions: pa.Array) -> pa.Array:
    joined = pc.binary_join_element_wise(addresses, versions, "\n")
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined


def _read(store: ObjectStore, cache_dir: Path, prefix: str, schema: pa.Schema) -> pa.Table:
    while True:  # parts may be merged and removed while we look
        parts = [_part(store, cache_dir, info.key, schema) for info in store.list(prefix)]
        if all(part is not None for part in parts):
            return pa.concat_tables([schema.empty_table(), *parts])


def _part(store: ObjectStore, cache_dir: Path, key: str, schema: pa.Schema) -> pa.Table | None:
    """The columns of `schema` of one part, or None where it is gone. Raises `CorruptObject`."""
    path = _fetched(store, cache_dir, key)
    if path is None:
        return None
    with contextlib.suppress(FileNotFoundError), pa.memory_map(str(path)) as file:
        return pq.read_table(file, columns=schema.names).cast(schema)
    return None


def _fetched(store: ObjectStore, cache_dir: Path, key: str) -> Path | None:
    """One part on this machine's disk, or None where it is gone. Raises `CorruptObject`."""
    local = store.local_path(key)
    path = local or cache_dir / key
    try:
        if local is None and not path.exists():
            store.download(key, path)
        digest = sha256_of_file(path)
    except (ObjectNotFound, FileNotFoundError):
        return None
    if digest not in key:
        if local is None:
            path.unlink(missing_ok=True)
        raise CorruptObject(
            key, f"{store.uri}/{key} does not match its digest: it is damaged; remove it and run again"
        )
    return path


def _put(store: ObjectStore, prefix: str, rows: pa.Table) -> str:
    out = pa.BufferOutputStream()
    pq.write_table(rows, out, compression="zstd")
    data = out.getvalue().to_pybytes()
    key = f"{prefix}{hashlib.sha256(data).hexdigest()}.parquet"
    store.put(key, data)
    return key
