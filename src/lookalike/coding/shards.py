"""Code shards: Parquet files with the code and the features of some photos, named by their content.

Enters: what a release's encoder says of photos. Leaves: one file for each lot of them, in the release's own folder of
the object store, whole or not there; and `shards.json`, by which an extraction names the shards that cover its
snapshot. A shard belongs to no manifest, so later extractions of the release name it again.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lookalike.errors import CorruptObject, LookalikeError, ObjectNotFound
from lookalike.storage import keys, leftovers
from lookalike.storage.artefacts import Artefact, FileEntry, Ref, fetch, fetch_file, read_manifest
from lookalike.storage.objects import ObjectStore

if TYPE_CHECKING:
    from lookalike.coding.encoder import Encoding

SHARDS = "shards.json"
_ROW_GROUP = 256
"""Rows of a shard that can be read alone: 128 kB of codes."""
_MANY = 8
"""A shard is fetched whole where at least one in so many of its rows are wanted."""


@dataclass(frozen=True, slots=True)
class CodeShard:
    """One shard as `shards.json` names it."""

    key: str
    sha256: str
    size: int
    rows: int


def put_shard(
    store: ObjectStore, release: Ref, photo_ids: Sequence[str], encodings: Sequence[Encoding]
) -> CodeShard:
    """Store the encodings of these photos as one shard of the release."""
    return put_table(store, release, _to_table(photo_ids, encodings))


def put_table(store: ObjectStore, release: Ref, rows: pa.Table) -> CodeShard:
    """Store rows of shards as one shard of the release."""
    out = io.BytesIO()
    options = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    pq.write_table(rows, out, row_group_size=_ROW_GROUP, **options)
    data = out.getvalue()
    sha256 = hashlib.sha256(data).hexdigest()
    key = keys.code_shard(release.id, sha256)
    store.put(key, data)
    listed = "\n".join(rows["photo_id"].to_pylist()).encode()
    store.put(keys.code_shard_photos(key), hashlib.sha256(listed).digest() + zlib.compress(listed))
    return CodeShard(key, sha256, len(data), len(rows))


def read_shard(store: ObjectStore, shard: CodeShard, cache_dir: Path) -> pa.Table:
    """A whole shard as it was written. Raises `CorruptObject`."""
    return pq.read_table(_file(store, shard, cache_dir))


def existing_shards(
    store: ObjectStore, release: Ref, cache_dir: Path
) -> Iterator[tuple[CodeShard, pa.Array]]:
    """The release's shards and the ids of the photos they cover, utf8[rows].

    None is fetched but those of version 0.2.0 and before.
    """
    for info in store.list(keys.code_shards(release.id)):
        name, _, kind = info.key.rpartition("/")[2].rpartition(".")
        if kind == "parquet":
            shard = CodeShard(info.key, name, info.size, 0)
            try:
                ids = _photos_in(store, shard, cache_dir)
            except ObjectNotFound:  # retention has just removed it: a larger one has its rows
                continue
            yield replace(shard, rows=len(ids)), ids


def list_shards(shards: Iterable[CodeShard]) -> bytes:
    """`shards.json`: the shards that cover a snapshot, by their keys."""
    chosen = sorted(shards, key=lambda shard: shard.key)
    listed = {"shards": [asdict(shard) for shard in chosen]}
    return json.dumps(listed, indent=1, allow_nan=False).encode()


def code_shards(extraction: Artefact) -> list[CodeShard]:
    """The shards that a fetched extraction names. Raises `CorruptObject`."""
    path = extraction.path(SHARDS)
    try:
        return [CodeShard(**entry) for entry in json.loads(path.read_bytes())["shards"]]
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptObject(str(path), f"{path} does not list code shards: {error}") from error


def read_features(
    store: ObjectStore, extraction: Ref, photo_ids: Sequence[str] | NDArray[np.str_], cache_dir: Path
) -> NDArray[np.float32]:
    """Pooled features f32[n, features] of photos by id, in the order asked. Raises `CorruptObject`."""
    asked = pa.array(photo_ids, pa.utf8())
    width = int(read_manifest(store, extraction).meta["features"])
    features, missing = np.empty((len(asked), width), np.float32), np.ones(len(asked), np.bool_)
    for ids, values in features_by_shard(store, extraction, cache_dir):
        place = pc.index_in(asked, value_set=ids)
        found = place.is_valid().to_numpy(zero_copy_only=False)
        features[found] = values[place.drop_null().to_numpy()]
        missing &= ~found
    if missing.any():
        raise CorruptObject(str(extraction), f"{extraction}: {int(missing.sum())} photos have no features")
    return features


def features_by_shard(
    store: ObjectStore, extraction: Ref, cache_dir: Path
) -> Iterator[tuple[pa.Array, NDArray[np.float32]]]:
    """Photo ids and pooled features f32[n, features], shard by shard: for work on more photos than memory holds."""
    artefact = fetch(store, extraction, cache_dir, [SHARDS])
    width = int(artefact.manifest.meta["features"])
    for shard in code_shards(artefact):
        path = _file(store, shard, cache_dir)
        table = pq.read_table(path, columns=["photo_id", "features16"]).combine_chunks()
        column = table["features16"].combine_chunks()
        values = np.frombuffer(column.buffers()[1], "<f2").reshape(-1, width)[column.offset :]
        yield table["photo_id"].combine_chunks(), values[: len(table)].astype(np.float32)


def coded_photos(store: ObjectStore, extraction: Ref, photo_ids: pa.Array, cache_dir: Path) -> pa.Array:
    """bool[n]: which of these photos, all of the extraction's snapshot, have a code. Raises `CorruptObject`."""
    manifest = read_manifest(store, extraction)
    undecodable = manifest.meta.get("undecodable")
    if undecodable is not None:
        return pc.invert(pc.is_in(photo_ids, value_set=pa.array(undecodable, pa.utf8())))
    artefact = fetch(store, extraction, cache_dir, [SHARDS])
    covered = [_photos_in(store, shard, cache_dir) for shard in code_shards(artefact)]
    return pc.is_in(photo_ids, value_set=pa.concat_arrays([pa.array([], pa.utf8()), *covered]))


def read_codes(
    store: ObjectStore,
    extraction: Ref,
    photo_ids: pa.Array,
    width: int,
    cache_dir: Path,
    *,
    column: str = "code",
) -> NDArray[np.uint8]:
    """Codes u8[n, width] of photos by id, in the order asked. Shards that have none of them are not fetched, and where
    a shard has few these are read by range.

    `column` names a descriptor instead.

    Raises `CorruptObject` where a photo has none.
    """
    codes = np.empty((len(photo_ids), width), np.uint8)
    missing = np.ones(len(photo_ids), np.bool_)
    if not len(photo_ids):
        return codes
    for shard in code_shards(fetch(store, extraction, cache_dir, [SHARDS])):
        place = pc.index_in(photo_ids, value_set=_photos_in(store, shard, cache_dir))
        found = place.is_valid().to_numpy(zero_copy_only=False)
        if found.any():
            rows = place.drop_null().to_numpy().astype(np.int64)
            vectors = _read_rows(store, shard, rows, [column], cache_dir)[column].combine_chunks()
            codes[found] = np.frombuffer(vectors.buffers()[1], np.uint8).reshape(-1, width)[vectors.offset :]
            missing &= ~found
        if not missing.any():
            return codes
    raise CorruptObject(str(extraction), f"{extraction}: {int(missing.sum())} photos have no code")


def known_codes(
    store: ObjectStore, extraction: Ref, photo_ids: Sequence[str], cache_dir: Path
) -> dict[str, NDArray[np.uint8]]:
    """The code u8[bits / 8] of each of these photos that has one, by id. Raises `CorruptObject`."""
    asked = pa.array(photo_ids, pa.utf8())
    known: dict[str, NDArray[np.uint8]] = {}
    for shard in code_shards(fetch(store, extraction, cache_dir, [SHARDS])):
        has = pc.is_in(_photos_in(store, shard, cache_dir), value_set=asked)
        if len(rows := np.flatnonzero(has.to_numpy(zero_copy_only=False))):
            found = _read_rows(store, shard, rows, ["photo_id", "code"], cache_dir)
            codes = (np.frombuffer(code, np.uint8) for code in found["code"].to_pylist())
            known.update(zip(found["photo_id"].to_pylist(), codes, strict=True))
    return known


def _file(store: ObjectStore, shard: CodeShard, cache_dir: Path) -> Path:
    """The whole shard on this machine's disk."""
    return fetch_file(store, FileEntry(shard.key, shard.key, shard.size, shard.sha256), cache_dir)


def _read_rows(
    store: ObjectStore, shard: CodeShard, rows: NDArray[np.int64], columns: list[str], cache_dir: Path
) -> pa.Table:
    """These rows of a shard, in their order; few of one that is not on this machine are read by range, unverified."""
    here = store.local_path(shard.key) is not None or (cache_dir / shard.key).exists()
    if here or _MANY * len(rows) >= shard.rows:
        return pq.read_table(_file(store, shard, cache_dir), columns=columns).take(pa.array(rows))
    try:
        with pq.ParquetFile(pa.PythonFile(_Ranges(store, shard), "r"), pre_buffer=False) as file:
            sizes = np.array([file.metadata.row_group(at).num_rows for at in range(file.num_row_groups)])
            group = np.searchsorted(np.cumsum(sizes), rows, side="right")
            read = np.unique(group)
            table = file.read_row_groups(read.tolist(), columns=columns)
    except (pa.ArrowException, OSError, IndexError) as error:
        raise CorruptObject(shard.key, f"{store.uri}/{shard.key} is no code shard: {error}") from error
    skipped = np.where(np.isin(np.arange(len(sizes)), read), 0, sizes)
    return table.take(pa.array(rows - np.cumsum(skipped)[group]))


class _Ranges(io.RawIOBase):
    """A shard as a file, each read of which is one request."""

    def __init__(self, store: ObjectStore, shard: CodeShard) -> None:
        self._store, self._shard, self._at = store, shard, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._shard.size}[whence]
        self._at = start + offset
        return self._at

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._shard.size - self._at)
        length = left if size < 0 else min(size, left)
        data = self._store.get(self._shard.key, start=self._at, length=length) if length else b""
        self._at += len(data)
        return data


def _photos_in(store: ObjectStore, shard: CodeShard, cache_dir: Path) -> pa.Array:
    """The ids of the photos in a shard, in its order: 20 bytes a photo are fetched, once. Where that list is missing or
    damaged the shard itself is read."""
    key = keys.code_shard_photos(shard.key)
    local = store.local_path(key)
    path = local or cache_dir / key
    with contextlib.suppress(ObjectNotFound, OSError):
        if not path.exists():
            store.download(key, path)
        elif local is None:
            leftovers.used(path)
        if (listed := _listed(path.read_bytes())) is not None:
            return listed
    ids = pq.read_table(_file(store, shard, cache_dir), columns=["photo_id"])["photo_id"]
    return pa.chunked_array(ids.chunks, pa.utf8()).combine_chunks()


def listed_photos(store: ObjectStore, shard: str) -> pa.Array | None:
    """The list of the photos in the shard of that key; None where it is missing or damaged."""
    try:
        return _listed(store.get(keys.code_shard_photos(shard)))
    except ObjectNotFound:
        return None


def _listed(data: bytes) -> pa.Array | None:
    with contextlib.suppress(zlib.error):
        listed = zlib.decompress(data[32:])
        if hashlib.sha256(listed).digest() == data[:32]:
            return pa.array(listed.decode().split("\n"), pa.utf8())
    return None


def verify_shards(store: ObjectStore, extraction: Artefact) -> Iterator[str]:
    """What is wrong with the shards an extraction names, one line each; nothing where all is whole."""
    for shard in code_shards(extraction):
        try:
            data = store.get(shard.key)
        except LookalikeError as error:
            yield str(error)
            continue
        if hashlib.sha256(data).hexdigest() != shard.sha256:
            yield f"{store.uri}/{shard.key} does not match its digest: it is damaged"


def _to_table(ids: Sequence[str], encodings: Sequence[Encoding]) -> pa.Table:
    codes = np.concatenate([encoding.codes for encoding in encodings])
    features = np.concatenate([encoding.features for encoding in encodings]).astype("<f2")
    return pa.table(
        {
            "photo_id": pa.array(ids, pa.utf8()),
            "code": _fixed_size(codes),
            "features16": _fixed_size(features.view(np.uint8)),
        }
    )


def _fixed_size(rows: NDArray[np.uint8]) -> pa.Array:
    buffer = pa.py_buffer(np.ascontiguousarray(rows))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(rows.shape[1]), len(rows), [None, buffer])
