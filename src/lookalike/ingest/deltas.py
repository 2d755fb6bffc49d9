"""A delta: small segments for new and changed rows, and tombstones for those they replace and those that are gone.

Enters: a generation and a newer curated snapshot with its extraction. Leaves: the reference of a delta over it, or over
an older state of it: deltas that are no larger than what comes are taken up into it, so their number grows with the
logarithm of the changes (the merge of a log-structured tree; O'Neil et al., Acta Informatica 33(4), 1996). Rows are
dealt to as many segments as the base has, so a ranker needs those of its shards alone. Beside them lie the
places of the photos of those rows, so that a page needs no table of the whole catalogue.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lookalike.catalogue.photo_store import shard_name
from lookalike.catalogue.snapshot import PHOTOS as STORED_PHOTOS
from lookalike.coding.shards import read_codes
from lookalike.columns import stored_among
from lookalike.index import likeness, tombstones
from lookalike.index.builder import widths_of, write_segments
from lookalike.index.generation import MOST_DELTAS, PLACES, Generation
from lookalike.index.layers import DeltaLayer, living_rows, open_delta
from lookalike.index.reader import Partition
from lookalike.index.searchable import PHOTOS, Searchable, one_array
from lookalike.index.segment import FORMAT
from lookalike.index.tombstones import TOMBSTONES, Tombstones
from lookalike.ingest.difference import Difference, State
from lookalike.progress import Progress, silent
from lookalike.storage.artefacts import (
    Artefact,
    ArtefactWriter,
    Kind,
    Manifest,
    Ref,
    fetch,
    read_manifest,
    sha256_of_file,
)
from lookalike.storage.objects import ObjectStore

_ABSORB = 2
"""A delta of up to so many times the size of what comes is taken up into it."""

Vectors = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Rows of a delta: listings with their photos, their vectors u8[n, w] by name, and where the photos are."""

    searchable: Searchable
    vectors: Mapping[str, Vectors]
    """Of the code and of each descriptor."""
    places: pa.Table


def size_of(manifest: Manifest) -> int:
    """Rows and tombstones of a delta."""
    stated = manifest.meta["delta"]
    return int(stated["rows"] + stated["tombstones"])


def kept_deltas(sizes: Sequence[int], coming: int, most: int = MOST_DELTAS) -> int:
    """How many of the deltas of these sizes, oldest first, stay when one of size `coming` is put on top."""
    kept = len(sizes)
    while kept and (kept + 1 > most or sizes[kept - 1] <= _ABSORB * coming):
        kept -= 1
        coming += sizes[kept]
    return kept


def build_delta(
    store: ObjectStore,
    live: Generation,
    state: State,
    difference: Difference,
    *,
    cache_dir: Path,
    progress: Progress = silent,
) -> Ref:
    """Write, or find written, the delta that brings `live` to `state`, from which it is `difference` away.

    Raises `CorruptObject` where a photo of it has no code, `StorageError` or `SegmentError` where a delta that it
    takes up cannot be read.
    """
    base = read_manifest(store, live.base)
    shape = {name: base.meta[name] for name in ("bits", "release", "preset", "shards")}
    if "descriptors" in base.meta:
        shape["descriptors"] = base.meta["descriptors"]
    manifests = [read_manifest(store, ref) for ref in live.deltas]
    kept = live.until(kept_deltas([size_of(m) for m in manifests], len(difference)))
    absorbed = [fetch(store, ref, cache_dir) for ref in live.deltas[len(kept.deltas) :]]
    rows = _new_rows(store, state, difference, widths_of(shape), cache_dir)
    dead = Tombstones(difference.dead)
    if absorbed:
        rows, dead = _absorb(absorbed, rows, dead)
    cache_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_dir, prefix="delta-") as work:
        files = _write(Path(work), rows, dead, shape, progress)
        contents = {file.name: sha256_of_file(file) for file in files}
        writer = ArtefactWriter(
            store,
            Kind.DELTA,
            inputs={**kept.inputs(), "curated": str(state.curated), "extraction": str(state.extraction)},
            config={
                "format": FORMAT,
                "shards": shape["shards"],
                "splits": None if state.splits is None else list(state.splits),
                "photos": state.photos,
                "files": contents,
            },
        )
        if found := writer.existing():
            return found
        for file in files:
            writer.add(file.name, file, give=True)
    own = {"rows": len(rows.searchable), "tombstones": len(dead), "merged": len(absorbed)}
    measured = {likeness.META: base.meta[likeness.META]} if likeness.META in base.meta else {}
    return writer.commit(shape | dict(difference.counts) | measured | {"delta": own})


def _new_rows(
    store: ObjectStore, state: State, difference: Difference, widths: Mapping[str, int], cache_dir: Path
) -> _Rows:
    rows = difference.rows
    photos = one_array(rows.photos["photo_id"])
    vectors = {
        name: read_codes(store, state.extraction, photos, width, cache_dir, column=name)
        for name, width in widths.items()
    }
    return _Rows(rows, vectors, _places(store, state.curated, photos, cache_dir))


def _places(store: ObjectStore, curated: Ref, photo_ids: pa.Array, cache_dir: Path) -> pa.Table:
    """Where the stored photos of these ids lie: object, first byte, bytes. None where the snapshot has no table."""
    manifest = read_manifest(store, curated)
    if not len(photo_ids) or not any(entry.name == STORED_PHOTOS for entry in manifest.files):
        return _PLACES.empty_table()
    path = fetch(store, curated, cache_dir, [STORED_PHOTOS]).path(STORED_PHOTOS)
    table = pq.read_table(
        path,
        columns=["photo_id", "shard", "offset", "length"],
        filters=pc.field("photo_id").isin(pc.unique(photo_ids)),
    )
    objects = [manifest.file(shard_name(shard)).key for shard in table["shard"].to_pylist()]
    columns = [table["photo_id"], pa.array(objects, pa.utf8()), table["offset"], table["length"]]
    return pa.table(columns, names=_PLACES.names).cast(_PLACES).sort_by("photo_id")


def _absorb(absorbed: Sequence[Artefact], rows: _Rows, dead: Tombstones) -> tuple[_Rows, Tombstones]:
    """The rows of older deltas that are alive, under new ones; and the tombstones of all."""
    layers = [open_delta(artefact) for artefact in absorbed]
    parts = [rows]
    for number, (layer, artefact) in enumerate(zip(layers, absorbed, strict=True)):
        later = [*(other.tombstones for other in layers[number + 1 :]), dead]
        parts.append(_living(layer, artefact, later, rows.vectors))
    listings, photos = (
        pa.concat_tables([getattr(p.searchable, name) for p in parts], promote_options="default")
        for name in ("listings", "photos")
    )
    order = pc.sort_indices(photos, [("listing_id", "ascending"), ("ordinal", "ascending")])
    merged = _Rows(
        Searchable.of(listings.sort_by("listing_id"), photos.take(order)),
        {n: np.concatenate([p.vectors[n] for p in parts])[order.to_numpy()] for n in rows.vectors},
        _once(pa.concat_tables([part.places for part in parts])),
    )
    every = pa.concat_tables([*(layer.tombstones.table for layer in layers), dead.table]).combine_chunks()
    table = tombstones.to_table(one_array(every["category"]), one_array(every["listing_id"]))
    return merged, Tombstones(table)


def _living(
    layer: DeltaLayer, artefact: Artefact, later: Sequence[Tombstones], like: Mapping[str, Vectors]
) -> _Rows:
    """The rows of an older delta that no later tombstone kills, with vectors of the same names and widths as `like`."""
    listings, photos = [_NO_LISTINGS.empty_table()], [PHOTOS.empty_table()]
    vectors = {name: [found[:0]] for name, found in like.items()}
    snapshot = layer.snapshot
    for part in () if snapshot is None else [p for c in snapshot.categories for p in snapshot.partitions(c)]:
        living = living_rows(part, later)
        chosen = np.arange(len(part)) if living is None else np.flatnonzero(living)
        listings.append(listings_of(part, np.unique(part.first_of(chosen))))
        photos.append(photos_of(part, chosen))
        for name, found in {"code": part.codes, **part.descriptors}.items():
            vectors[name].append(found[chosen])
    places = pq.read_table(artefact.path(PLACES))
    rows = Searchable(pa.concat_tables(listings, promote_options="default"), pa.concat_tables(photos))
    return _Rows(
        rows,
        {name: np.concatenate(found) for name, found in vectors.items()},
        places.filter(pc.is_in(places["photo_id"], one_array(rows.photos["photo_id"]))).cast(_PLACES),
    )


def listings_of(part: Partition, rows: npt.NDArray[np.int64]) -> pa.Table:
    """The listings of first rows of a partition, as the builder reads them."""
    at = pa.array(rows)
    columns: dict[str, Any] = {
        "listing_id": part.listing_ids.take(at),
        "category": pa.array([part.category] * len(rows), pa.utf8()),
        "group": part.groups.take(at),
    }
    columns |= {c.name: part.columns[c.name].take(at).cast(c.type) for c in stored_among(part.columns)}
    texts = pa.list_(pa.utf8())
    columns |= {f"aspect_{name}": lists.take(at).cast(texts) for name, lists in part.aspects.items()}
    return pa.table(columns)


def photos_of(part: Partition, rows: npt.NDArray[np.int64]) -> pa.Table:
    """Rows of a partition as the photos of listings that they are."""
    at = pa.array(rows)
    ordinals = pa.array(part.photo_ordinals(rows))
    return pa.table([part.listing_ids.take(at), ordinals, part.photo_ids.take(at)], schema=PHOTOS)


def _once(places: pa.Table) -> pa.Table:
    """One place of each photo."""
    first = places.group_by("photo_id").aggregate([("object", "min"), ("offset", "min"), ("length", "min")])
    return first.rename_columns(_PLACES.names).cast(_PLACES).sort_by("photo_id")


def _write(
    work: Path, rows: _Rows, dead: Tombstones, shape: Mapping[str, Any], progress: Progress
) -> list[Path]:
    files = [work / TOMBSTONES, work / PLACES]
    contents = [tombstones.to_bytes(dead.table), _parquet(rows.places)]
    for file, content in zip(files, contents, strict=True):
        file.write_bytes(content)
    if len(rows.searchable):
        files += write_segments(work, rows.searchable, rows.vectors, shape, progress)
    return files


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", store_schema=False)
    return sink.getvalue()


_PLACES = pa.schema(
    [
        pa.field("photo_id", pa.utf8()),
        pa.field("object", pa.utf8()),
        pa.field("offset", pa.int64()),
        pa.field("length", pa.int64()),
    ]
)
_NO_LISTINGS = pa.schema([(name, pa.utf8()) for name in ("listing_id", "category", "group")])
