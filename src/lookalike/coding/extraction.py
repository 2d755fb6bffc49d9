"""Extraction: a code and features for every distinct photo of a curated snapshot, once per model release.

Photos are taken in the order in which they lie in packs, a shard's worth at a time (`shards`), so that a pack is read
once and by one machine. An extraction that was killed goes on with the photos that have no code yet, and a later
snapshot of the same catalogue extracts only what is new. Several machines can make the first codes of a release
together, each a run of the shards (`extract_part`). Small shards that many extractions have left are merged
(`compaction`).

Decoding, forward pass and writing overlap, each on threads of its own with a few batches between them; how many is a
matter of the encoder's device (`Pace`). A photo that cannot be decoded is named in the manifest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lookalike.ahead import ahead
from lookalike.catalogue.photo_store import PhotoStore
from lookalike.catalogue.snapshot import open_photos
from lookalike.coding.compaction import Covered, compact, covering, needed
from lookalike.coding.encoder import Encoder, Encoding, open_encoder
from lookalike.coding.shards import SHARDS, existing_shards, list_shards, put_shard
from lookalike.errors import PhotoError, SettingsError
from lookalike.imaging.photos import load_square
from lookalike.progress import Progress, silent
from lookalike.storage.artefacts import ArtefactWriter, Kind, Ref, fetch
from lookalike.storage.objects import ObjectStore


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
    bits (and how many of them are about category and colours), preset, photos, undecodable (photo ids).
    """
    writer = _writer(store, curated, release)
    if found := writer.existing():
        return found
    photos = open_photos(store, curated, cache_dir)
    encoder = encoder or open_encoder(fetch(store, release, cache_dir), threads=threads)
    writer.begin()  # first: retention leaves all codes of a release alone that somebody extracts for
    wanted = photos.in_packs
    missing = _missing(wanted, existing_shards(store, release, cache_dir)).drop_null()
    _encode(writer, release, _lots(missing, shard_size), photos, encoder, pace or Pace(), progress)
    shards = needed(existing_shards(store, release, cache_dir))
    shards = compact(store, release, shards, shard_size, cache_dir)
    undecodable = sorted(_missing(wanted, shards).drop_null().to_pylist())
    writer.add(SHARDS, list_shards(covering(shards, wanted)))
    card = encoder.card
    return writer.commit(
        {
            "release": str(release),
            "bits": card.bits,
            "features": card.features,
            "category_bits": card.category_bits,
            "colour_bits": card.colour_bits,
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

    The snapshot's photos are cut into lots as `extract` cuts them for a release that has no codes, and each part makes
    a run of these: it reads the packs of its own photos alone. All parts together leave the very shards that `extract`
    would have made, and `extract` then finds nothing missing and names them. A part that is run again encodes only what
    it did not finish.
    """
    if not 0 <= part < parts:
        raise SettingsError(f"part {part} of {parts}: parts are numbered from 0")
    photos = open_photos(store, curated, cache_dir)
    lots = _lots(_missing(photos.in_packs, existing_shards(store, release, cache_dir)), shard_size)
    own = lots[len(lots) * part // parts : len(lots) * (part + 1) // parts]
    missing = [lot for lot in own if lot]
    if not missing:
        return 0
    encoder = encoder or open_encoder(fetch(store, release, cache_dir), threads=threads)
    writer = _writer(store, curated, release)
    return _encode(writer, release, missing, photos, encoder, pace or Pace(), progress)


def _writer(store: ObjectStore, curated: Ref, release: Ref) -> ArtefactWriter:
    inputs = {"curated": str(curated), "release": str(release)}
    return ArtefactWriter(store, Kind.EXTRACTION, inputs=inputs, config={"format": 1})


def _missing(photo_ids: pa.Array, shards: Iterable[Covered]) -> pa.Array:
    """The photos, with null for those that are in one of the shards."""
    known = pa.concat_arrays([pa.array([], pa.utf8()), *(ids for _, ids in shards)])
    return pc.if_else(pc.is_in(photo_ids, known), None, photo_ids)


def _lots(photo_ids: pa.Array, size: int) -> list[list[str]]:
    """The photos of one shard each, every null one less."""
    return [photo_ids[at : at + size].drop_null().to_pylist() for at in range(0, len(photo_ids), size)]


def _encode(
    writer: ArtefactWriter,
    release: Ref,
    lots: Sequence[Sequence[str]],
    photos: PhotoStore,
    encoder: Encoder,
    pace: Pace,
    progress: Progress,
) -> int:
    """Encode and store each lot as a shard; how many photos could be decoded."""
    writer.begin()

    def write(lot: Sequence[tuple[list[str], Encoding]]) -> int:
        writer.begin()
        kept = [photo_id for ids, _ in lot for photo_id in ids]
        if kept:
            put_shard(writer.store, release, kept, [encoding for _, encoding in lot])
        return len(kept)

    total = sum(len(lot) for lot in lots)
    told = _told(progress, total)
    read = photos.reader([photo_id for lot in lots for photo_id in lot])
    encoded = encode_lots(lots, read, encoder, pace, told)
    return sum(ahead(write, encoded, threads=1, depth=1, name="write"))


def encode_lots(
    lots: Sequence[Sequence[str]],
    read: Callable[[str], bytes],
    encoder: Encoder,
    pace: Pace,
    told: Callable[[int], None],
) -> Iterator[list[tuple[list[str], Encoding]]]:
    """For each lot its batches of photo ids and encodings. Decoding and encoding go on over the ends of lots.

    `read` gives a photo by its id.
    """
    side = encoder.card.preset.resize

    def decode(ids: Sequence[str]) -> tuple[list[str], list[NDArray[np.uint8]]]:
        kept, squares = [], []
        for photo_id in ids:
            try:
                squares.append(load_square(read(photo_id), side))
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
