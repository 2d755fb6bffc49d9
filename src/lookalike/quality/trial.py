"""One model release tried on photos that it has not learned from: a value per photo and measure.

Enters: a release's encoder, query photos and a sample of the gallery. Leaves: for each query whether the category is
known, how well the gallery is ordered, and whether what comes first looks alike. The gallery is ordered as search
re-scores it, the bits about colours weighted. Two releases that are tried on the same photos can be compared photo by
photo.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lookalike.catalogue.photo_store import PhotoStore
from lookalike.catalogue.snapshot import ASPECT_PREFIX
from lookalike.coding import codes
from lookalike.coding.encoder import Encoder, Encoding
from lookalike.errors import PhotoError, QualityGateError
from lookalike.imaging.photos import load_square
from lookalike.progress import Progress
from lookalike.quality.labels import COLOUR_NAMES
from lookalike.quality.metrics import average_precision, rank_relevance
from lookalike.ranking.emphasis import Emphasis
from lookalike.ranking.request import RankingConfig
from lookalike.ranking.rescoring import bit_probabilities
from lookalike.storage.artefacts import digest_of

HELD_OUT = ("query", "test", "val")
"""Splits that no release trains on, in the order in which they are preferred; `query` is a name that a catalogue may
give to photos by shoppers."""
FIRST = 8
"""Listings of other products whose colour is compared with the query's."""
_AT_ONCE = 65_536


@dataclass(frozen=True, slots=True)
class Shown:
    """A photo, and what its listing states."""

    photo_id: str
    category: str
    product: str
    colour: str
    """The main one; empty where none is stated."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The photos that releases are tried on."""

    split: str
    queries: tuple[Shown, ...]
    gallery: tuple[Shown, ...]


def draw(listings: Path, queries: int, gallery: int) -> Sample:
    """At most `queries` held-out photos, and a gallery: all of the queries' products, and `gallery` others.

    Drawn from a curated snapshot's table of listings by their ids, hashed anew: their order is no order of a sample.
    The last listing that shows a photo speaks for it. Objects are made of the sample alone.
    """
    colours = [name for name in pq.read_schema(listings).names if _is_colour(name)][:1]
    columns = ["photo_id", "category", "product", *colours]
    table = pq.read_table(listings, columns=[*columns, "split"])
    coded = table["photo_id"].combine_chunks().dictionary_encode()
    last = np.empty(len(coded.dictionary), np.int64)
    last[coded.indices.to_numpy()] = np.arange(table.num_rows)
    photos = table.select(columns).take(pa.array(last))
    for split in HELD_OUT:
        held_out = table["photo_id"].filter(pc.equal(table["split"], split)).unique()
        if len(held_out):
            break
    else:
        return Sample(HELD_OUT[1], (), ())
    asked = pa.array(_drawn(held_out, queries), pa.utf8())
    products = pc.fill_null(photos["product"], "")
    sought = products.filter(pc.is_in(photos["photo_id"], value_set=asked)).unique()
    alike = pc.is_in(products, value_set=sought.filter(pc.not_equal(sought, "")))
    others = pa.array(_drawn(photos["photo_id"].filter(pc.invert(alike)), gallery), pa.utf8())
    found = pc.or_(alike, pc.is_in(photos["photo_id"], value_set=others))
    return Sample(
        split,
        _shown(photos.filter(pc.is_in(photos["photo_id"], value_set=asked))),
        _shown(photos.filter(found)),
    )


def _drawn(ids: pa.Array | pa.ChunkedArray, count: int) -> list[str]:
    batches = pa.table({"id": ids}).to_batches(_AT_ONCE)
    return heapq.nsmallest(
        count, (each for some in batches for each in some["id"].to_pylist()), key=digest_of
    )


def _shown(photos: pa.Table) -> tuple[Shown, ...]:
    columns = [photos[name].to_pylist() for name in photos.column_names]
    columns += [[None] * len(photos)] * (4 - len(columns))
    return tuple(
        Shown(photo, category, product or "", (colour or [""])[0])
        for photo, category, product, colour in sorted(zip(*columns, strict=True), key=itemgetter(0))
    )


def outcomes(
    encoder: Encoder,
    photos: PhotoStore,
    sample: Sample,
    progress: Progress,
    stage: str,
    *,
    k: int,
    batch: int = 32,
    known: Mapping[str, NDArray[np.uint8]] | None = None,
) -> dict[str, NDArray[np.float64]]:
    """f64[queries] by measure, NaN where a query cannot be judged by it: its photo or nothing to find is readable.

    Photos of the gallery that have a `known` code, u8[bits / 8] by id, are not encoded again. Raises
    `QualityGateError` where no query can be read.
    """
    known = known or {}
    asked = {query.photo_id for query in sample.queries}
    wanted = [*asked, *(g.photo_id for g in sample.gallery if g.photo_id not in asked | known.keys())]
    encoding, at = _encode(encoder, photos, sorted(wanted), progress, stage, batch)
    queries = [(i, q) for i, q in enumerate(sample.queries) if q.photo_id in at]
    gallery = [g for g in sample.gallery if g.photo_id in at or g.photo_id in known]
    if not queries:
        raise QualityGateError("no held-out photo can be read")
    rows = [at[q.photo_id] for _, q in queries]
    searched = np.empty((len(gallery), encoder.card.bits // 8), np.uint8)
    for row, each in enumerate(gallery):
        code = known.get(each.photo_id)
        searched[row] = encoding.codes[at[each.photo_id]] if code is None else code
    place = {name: i for i, name in enumerate(encoder.card.categories)}
    truth = np.array([place.get(q.category, -1) for _, q in queries])
    likeliest = np.argsort(-encoding.probabilities[rows], axis=1, kind="stable")
    found = {
        "category top-1": (likeliest[:, 0] == truth).astype(float),
        "category top-5": (likeliest[:, :5] == truth[:, None]).any(axis=1).astype(float),
    }
    distances = _distances(encoder, encoding.activations[rows], searched)
    found |= _looks(distances, [q for _, q in queries], gallery, k)
    complete = {}
    for name, values in found.items():
        if not np.isnan(values).all():
            complete[name] = np.full(len(sample.queries), np.nan)
            complete[name][[i for i, _ in queries]] = values
    return complete


def _encode(
    encoder: Encoder,
    photos: PhotoStore,
    photo_ids: Sequence[str],
    progress: Progress,
    stage: str,
    batch: int,
) -> tuple[Encoding, dict[str, int]]:
    """The encodings of the photos that can be read, and the row of each."""
    side = encoder.card.preset.resize
    squares: list[NDArray[np.uint8]] = []
    parts: list[Encoding] = []
    at: dict[str, int] = {}
    for done, photo_id in enumerate(photo_ids, 1):
        try:
            squares.append(load_square(photos.photo_bytes(photo_id), side))
            at[photo_id] = len(at)
        except PhotoError:  # neither release can be asked about it
            pass
        if squares and (len(squares) == batch or done == len(photo_ids)):
            parts.append(encoder.encode(np.stack(squares)))
            squares.clear()
        progress(stage, done, len(photo_ids))
    if not parts:
        raise QualityGateError("no held-out photo can be read")
    names = ("probabilities", "activations", "features", "codes")
    return Encoding(*(np.concatenate([getattr(part, name) for part in parts]) for name in names)), at


def _distances(
    encoder: Encoder, activations: NDArray[np.float32], gallery: NDArray[np.uint8]
) -> NDArray[np.float64]:
    """f64[queries, gallery]: the expected distances by which search orders its candidates.

    Of activations f32[queries, bits] to codes u8[gallery, bits / 8].
    """
    card = encoder.card
    emphasis = Emphasis.of(card, RankingConfig().colour)
    likely = emphasis.moved(bit_probabilities(activations, card.threshold_array))
    bits = codes.unpack(gallery).astype(np.float32)
    found = (likely.sum(axis=1, keepdims=True) + (1 - 2 * likely) @ bits.T).astype(np.float64)
    rounded: NDArray[np.float64] = np.round(found, 3)  # what differs by the order of sums alone is equal
    return rounded


def _looks(
    distances: NDArray[np.float64], queries: Sequence[Shown], gallery: Sequence[Shown], k: int
) -> dict[str, NDArray[np.float64]]:
    photo, category, product, colour = (
        tuple(np.array([getattr(each, name) for each in part]) for part in (queries, gallery))
        for name in ("photo_id", "category", "product", "colour")
    )
    itself = photo[0][:, None] == photo[1]
    alike = category[0][:, None] == category[1]
    same = (product[0][:, None] == product[1]) & (product[0] != "")[:, None]
    tinted = (colour[0][:, None] == colour[1]) & (colour[0] != "")[:, None]
    ranked = rank_relevance(distances, alike, itself)
    relevant = (alike & ~itself).sum(axis=1)
    with np.errstate(invalid="ignore"):
        recall = ranked[:, :k].sum(axis=1) / np.where(relevant > 0, relevant, np.nan)
    found = {"mAP": average_precision(ranked), f"recall@{k}": recall}
    for name, wanted in (("product first", same), ("variant first", same & tinted)):
        first = rank_relevance(distances, wanted, itself)[:, :1].any(axis=1)
        found[name] = np.where((wanted & ~itself).any(axis=1), first, np.nan)
    others = rank_relevance(distances, tinted, itself | same | (colour[1] == "")[None])
    found["colour in the first 8"] = np.where(
        (tinted & ~same & ~itself).any(axis=1), others[:, :FIRST].mean(axis=1), np.nan
    )
    return found


def _is_colour(column: str) -> bool:
    return column.startswith(ASPECT_PREFIX) and column.removeprefix(ASPECT_PREFIX).casefold() in COLOUR_NAMES
