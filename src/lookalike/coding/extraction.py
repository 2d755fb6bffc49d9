"""Extraction: a code and features for every distinct photo of a curated snapshot, once per model release.

Photos are taken in the order of their ids, a shard's worth at a time; each finished shard is one Parquet file, named
by its content, in the release's own folder of the object store. A shard is whole or not there, so an extraction that
was killed goes on with the photos that have no code yet, and a later snapshot of the same catalogue extracts only what
is new. `shards.json` of the extraction artefact names the shards that cover this snapshot. Several machines can make
the first codes of a release together, each a part of the shards (`extract_part`).

Decoding, forward pass and writing overlap, each on threads of its own with a few batches between them; how many is a
matter of the encoder's device (`Pace`). A photo that cannot be decoded is named in the manifest.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lookalike.ahead import ahead
from lookalike.catalogue.snapshot import CuratedSnapshot
from lookalike.coding.encoder import Encoder, Encoding, open_encoder
from lookalike.errors import CorruptObject, LookalikeError, PhotoError, SettingsError
from lookalike.imaging.photos import load_square
from lookalike.progress import Progress, silent
from lookalike.storage import keys
from lookalike.storage.artefacts import Artefact, ArtefactWriter, FileEntry, Kind, Ref, fetch, fetch_file
from lookalike.storage.objects import ObjectStore

SHARDS = "shards.json"


@dataclass(frozen=True, slots=True)
class CodeShard:
    """One shard as `shards.json` names it."""

    key: str
    sha256: str
    size: int
    rows: int


@dataclass(frozen=True, slots=True)
class Pace:
    """How extraction keeps an encoder busy."""

    batch: int = 32
    """Photos of a forward pass."""
    decoders: int = 1
    """Threads that decode. Beside a forward pass on every core, one in some of its gaps."""
    encoders: int = 1
    """Forward passes that are under way at a time."""


def extract(
    store: ObjectStore,
    curated: Ref,
    release: Ref,
    *,
    cache_dir: Path,
    shard_size: int = 4096,
    threads: int = 0,
    encoder: Encoder | None = None,
    pace: Pace | None = None,
    progress: Progress = silent,
) -> Ref:
    """Extract what has no code yet and return the extraction of `curated` by `release`.

    `encoder` replaces the release's OpenVINO encoder (one on a GPU, say, at its own `pace`). Manifest `meta`: release,
    bits, preset, photos, undecodable (photo ids).
    """
    writer = _writer(store, curated, release)
    if found := writer.existing():
        return found
    snapshot = CuratedSnapshot.open(store, curated, cache_dir)
    encoder = encoder or open_encoder(fetch(store, release, cache_dir), threads=threads)
    wanted = _photo_ids(snapshot)
    shards = [
        (shard, ids) for shard, ids in _existing(store, release, cache_dir) if not ids.isdisjoint(wanted)
    ]
    known = {photo_id for _, ids in shards for photo_id in ids}
    missing = [photo_id for photo_id in wanted if photo_id not in known]
    new = _encode(writer, release, _lots(missing, shard_size), snapshot, encoder, pace or Pace(), progress)
    shards += new
    undecodable = sorted({*missing}.difference(*(ids for _, ids in new)))
    chosen = sorted((shard for shard, _ in shards), key=lambda shard: shard.key)
    listed = json.dumps({"shards": [asdict(shard) for shard in chosen]}, indent=1, allow_nan=False)
    writer.add(SHARDS, listed.encode())
    card = encoder.card
    return writer.commit(
        {
            "release": str(release),
            "bits": card.bits,
            "features": card.features,
            "preset": asdict(card.preset),
            "photos": len(wanted) - len(undecodable),
            "undecodable": undecodable,
        }
    )


def extract_part(
    store: ObjectStore,
    curated: Ref,
    release: Ref,
    part: int,
    parts: int,
    *,
    cache_dir: Path,
    shard_size: int = 4096,
    threads: int = 0,
    encoder: Encoder | None = None,
    pace: Pace | None = None,
    progress: Progress = silent,
) -> int:
    """Make part `part` (from 0) of `parts` of a release's first code shards; returns how many photos it encoded.

    The snapshot's photos are cut into lots as `extract` cuts them for a release that has no codes; part i makes the
    lots i, i + parts, ... All parts together leave the very shards that `extract` would have made, and `extract` then
    finds nothing missing and names them. A part that is run again encodes only what it did not finish.
    """
    if not 0 <= part < parts:
        raise SettingsError(f"part {part} of {parts}: parts are numbered from 0")
    snapshot = CuratedSnapshot.open(store, curated, cache_dir)
    known = {photo_id for _, ids in _existing(store, release, cache_dir) for photo_id in ids}
    lots = _lots(_photo_ids(snapshot), shard_size)[part::parts]
    missing = [rest for lot in lots if (rest := [photo_id for photo_id in lot if photo_id not in known])]
    if not missing:
        return 0
    encoder = encoder or open_encoder(fetch(store, release, cache_dir), threads=threads)
    writer = _writer(store, curated, release)
    new = _encode(writer, release, missing, snapshot, encoder, pace or Pace(), progress)
    return sum(shard.rows for shard, _ in new)


def _writer(store: ObjectStore, curated: Ref, release: Ref) -> ArtefactWriter:
    inputs = {"curated": str(curated), "release": str(release)}
    return ArtefactWriter(store, Kind.EXTRACTION, inputs=inputs, config={"format": 1})


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
    artefact = fetch(store, extraction, cache_dir, [SHARDS])
    width = int(artefact.manifest.meta["features"])
    tables = []
    for shard in code_shards(artefact):
        path = fetch_file(store, FileEntry(shard.key, shard.key, shard.size, shard.sha256), cache_dir)
        tables.append(pq.read_table(path, columns=["photo_id", "features16"]))
    table = pa.concat_tables(tables).combine_chunks()
    place = pc.index_in(pa.array(photo_ids, pa.utf8()), table["photo_id"].combine_chunks())
    if place.null_count:
        raise CorruptObject(str(extraction), f"{extraction}: {place.null_count} photos have no features")
    values = np.frombuffer(table["features16"].combine_chunks().buffers()[1], "<f2").reshape(-1, width)
    features: NDArray[np.float32] = values[place.to_numpy()].astype(np.float32)
    return features


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


def _existing(store: ObjectStore, release: Ref, cache_dir: Path) -> Iterator[tuple[CodeShard, set[str]]]:
    """The release's shards and the photos they cover; fetched whole, as the index will read them anyway."""
    for info in store.list(keys.code_shards(release.id)):
        sha256 = info.key.rpartition("/")[2].removesuffix(".parquet")
        path = fetch_file(store, FileEntry(info.key, info.key, info.size, sha256), cache_dir)
        ids = pq.read_table(path, columns=["photo_id"])["photo_id"].to_pylist()
        yield CodeShard(info.key, sha256, info.size, len(ids)), set(ids)


def _photo_ids(snapshot: CuratedSnapshot) -> list[str]:
    return sorted(snapshot.photos["photo_id"].to_pylist())


def _lots(photo_ids: Sequence[str], size: int) -> list[Sequence[str]]:
    """The photos of one shard each."""
    return [photo_ids[start : start + size] for start in range(0, len(photo_ids), size)]


def _encode(
    writer: ArtefactWriter,
    release: Ref,
    lots: Sequence[Sequence[str]],
    snapshot: CuratedSnapshot,
    encoder: Encoder,
    pace: Pace,
    progress: Progress,
) -> list[tuple[CodeShard, set[str]]]:
    """Encode and store each lot as a shard: the shards with the photos in them, which are those that can be decoded."""
    writer.begin()

    def write(lot: Sequence[tuple[list[str], Encoding]]) -> tuple[CodeShard, set[str]] | None:
        writer.begin()
        kept = [photo_id for ids, _ in lot for photo_id in ids]
        if not kept:
            return None
        data = _to_parquet(kept, [encoding for _, encoding in lot])
        return _put_shard(writer.store, release, data, len(kept)), set(kept)

    total = sum(len(lot) for lot in lots)
    told = _told(progress, total)
    encoded = encode_lots(lots, snapshot, encoder, pace, told)
    return [shard for shard in ahead(write, encoded, threads=1, depth=1, name="write") if shard]


def encode_lots(
    lots: Sequence[Sequence[str]],
    snapshot: CuratedSnapshot,
    encoder: Encoder,
    pace: Pace,
    told: Callable[[int], None],
) -> Iterator[list[tuple[list[str], Encoding]]]:
    """For each lot its batches of photo ids and encodings. Decoding and encoding go on over the ends of lots."""
    side = encoder.card.preset.resize

    def decode(ids: Sequence[str]) -> tuple[list[str], list[NDArray[np.uint8]]]:
        kept, squares = [], []
        for photo_id in ids:
            try:
                squares.append(load_square(snapshot.photo_bytes(photo_id), side))
            except PhotoError:
                continue
            kept.append(photo_id)
        return kept, squares

    def encode(decoded: tuple[list[str], list[NDArray[np.uint8]]]) -> tuple[list[str], Encoding] | None:
        ids, squares = decoded
        return (ids, encoder.encode(np.stack(squares))) if ids else None

    batches = [[lot[at : at + pace.batch] for at in range(0, len(lot), pace.batch)] for lot in lots]
    every = [batch for lot in batches for batch in lot]
    decoded = ahead(decode, every, threads=pace.decoders, depth=pace.decoders + 1, name="decode")
    encoded = ahead(encode, decoded, threads=pace.encoders, depth=pace.encoders, name="encode")
    for lot in batches:
        found = []
        for batch in lot:
            encoding = next(encoded)
            found += [] if encoding is None else [encoding]
            told(len(batch))
        yield found


def _told(progress: Progress, total: int) -> Callable[[int], None]:
    """Tells of so many more photos done, and how fast they go."""
    began, done = time.monotonic(), 0
    progress("extract codes", 0, total)

    def more(photos: int) -> None:
        nonlocal done
        done += photos
        rate = done / max(1e-9, time.monotonic() - began)
        progress("extract codes", done, total, f"{rate:,.0f} photos/s")

    return more


def _put_shard(store: ObjectStore, release: Ref, data: bytes, rows: int) -> CodeShard:
    sha256 = hashlib.sha256(data).hexdigest()
    key = keys.code_shard(release.id, sha256)
    store.put(key, data)
    return CodeShard(key, sha256, len(data), rows)


def _to_parquet(ids: Sequence[str], encodings: Sequence[Encoding]) -> bytes:
    codes = np.concatenate([encoding.codes for encoding in encodings])
    features = np.concatenate([encoding.features for encoding in encodings]).astype("<f2")
    table = pa.table(
        {
            "photo_id": pa.array(ids, pa.utf8()),
            "code": _fixed_size(codes),
            "features16": _fixed_size(features.view(np.uint8)),
        }
    )
    out = io.BytesIO()
    pq.write_table(table, out, compression="none", use_dictionary=False, write_statistics=False)
    return out.getvalue()


def _fixed_size(rows: NDArray[np.uint8]) -> pa.Array:
    buffer = pa.py_buffer(np.ascontiguousarray(rows))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(rows.shape[1]), len(rows), [None, buffer])
