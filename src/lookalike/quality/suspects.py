"""Listings to look at once a model is trained: labels that photos contradict, odd, blurred and dark photos, copies.

An extraction enters; a list leaves, the plainest cases of each kind first, as a CSV that ``--exclude`` takes back. Only
what a listing's main photo shows is judged. Before training `catalogue.suspects` says what small prints tell; this
says what the network's features tell (`doubts`). Nothing is changed.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lookalike.catalogue.left_out import safe
from lookalike.catalogue.snapshot import CuratedSnapshot
from lookalike.coding.shards import features_by_shard
from lookalike.errors import PhotoError
from lookalike.imaging.photos import load_square
from lookalike.progress import Progress, silent
from lookalike.quality import doubts, faults
from lookalike.settings import available_cores
from lookalike.storage.artefacts import Ref, read_manifest
from lookalike.storage.objects import ObjectStore

LABEL, ODD, BLURRED, DARK, COPIES = "label", "odd photo", "blurred", "dark", "copies"
KINDS = (LABEL, ODD, BLURRED, DARK, COPIES)


@dataclass(frozen=True, slots=True)
class Suspect:
    """One row of the list."""

    listing_id: str
    kind: str
    """One of `KINDS`."""
    category: str
    """What the shop says."""
    rather: str
    """Of a label, what the photo says; of a copy, the listing that it is a copy of."""
    score: float
    """The larger the plainer: how far the label is beyond doubt, how odd, how blurred or dark (0 to 1), how many
    listings share the photo."""
    title: str
    photo_id: str
    image_url: str
    keep: str = ""
    """For people: anything here keeps the listing when the list is given to ``--exclude``."""


def find_suspects(
    store: ObjectStore,
    extraction: Ref,
    *,
    cache_dir: Path,
    kinds: Collection[str] = KINDS,
    threads: int = 0,
    progress: Progress = silent,
) -> list[Suspect]:
    """By kind, in the order of `KINDS`, the plainest first. Raises `CorruptObject` and other `StorageError`s."""
    curated = Ref.parse(read_manifest(store, extraction).inputs["curated"])
    snapshot = CuratedSnapshot.open(store, curated, cache_dir)
    listings = snapshot.listings.combine_chunks()
    found: dict[str, list[tuple[int, str, float]]] = {kind: [] for kind in KINDS}
    if {LABEL, ODD} & {*kinds}:
        found |= _by_features(store, extraction, listings, cache_dir)
    if {BLURRED, DARK} & {*kinds}:
        found |= _by_pixels(snapshot, listings, threads or available_cores(), progress)
    found[COPIES] = list(_copies(listings))
    columns = {
        name: listings[name].to_pylist()
        for name in ("listing_id", "source_category", "title", "photo_id", "image_url")
    }
    return [
        Suspect(
            columns["listing_id"][row],
            kind,
            columns["source_category"][row],
            rather,
            round(score, 3),
            columns["title"][row] or "",
            columns["photo_id"][row],
            columns["image_url"][row] or "",
        )
        for kind in KINDS
        if kind in kinds
        for row, rather, score in sorted(found[kind], key=lambda x: (-x[2], x[1], x[0]))
    ]


def write_suspects(path: Path, suspects: Iterable[Suspect]) -> None:
    """A CSV for spreadsheet programs, UTF-8 with a mark; cells that these would take for formulas are made text."""
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        table = csv.writer(file)
        table.writerow([entry.name for entry in fields(Suspect)])
        for suspect in suspects:
            table.writerow(
                [safe(cell) if isinstance(cell, str) else cell for cell in asdict(suspect).values()]
            )


def _by_features(
    store: ObjectStore, extraction: Ref, listings: pa.Table, cache_dir: Path
) -> dict[str, list[tuple[int, str, float]]]:
    photo_ids = listings["photo_id"].combine_chunks()
    categories = sorted(set(listings["category"].to_pylist()))
    labels = pc.index_in(listings["category"].combine_chunks(), pa.array(categories)).to_numpy()
    things = _numbered(listings["group"])
    order = np.argsort(np.asarray(photo_ids.to_pylist(), np.str_), kind="stable")
    in_order = np.asarray(photo_ids.to_pylist(), np.str_)[order]

    def blocks() -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        seen = np.zeros(len(listings), bool)  # a photo may stand in several shards
        for ids, features in features_by_shard(store, extraction, cache_dir):
            names = np.asarray(ids.to_pylist(), np.str_)
            first, last = (np.searchsorted(in_order, names, side=side) for side in ("left", "right"))
            places = np.repeat(np.arange(len(names)), last - first)
            within = np.arange(len(places)) - np.repeat(
                np.cumsum(last - first) - (last - first), last - first
            )
            rows = order[np.repeat(first, last - first) + within]
            new = ~seen[rows]
            seen[rows] = True
            if new.any():
                yield rows[new], features[places[new]]

    said = doubts.find_doubts(blocks, labels.astype(np.int64), things, len(categories))
    wrong = np.flatnonzero(said.margin > doubts.CLEARLY)
    alone = np.flatnonzero(said.distance > doubts.ALONE)
    return {
        LABEL: [(int(row), categories[said.best[row]], float(said.margin[row])) for row in wrong],
        ODD: [(int(row), "", float(said.distance[row])) for row in alone],
    }


def _by_pixels(
    snapshot: CuratedSnapshot, listings: pa.Table, threads: int, progress: Progress
) -> dict[str, list[tuple[int, str, float]]]:
    found: dict[str, list[tuple[int, str, float]]] = {BLURRED: [], DARK: []}
    photo_ids = listings["photo_id"].to_pylist()

    def judge(photo_id: str) -> tuple[float, float] | None:
        try:
            square = load_square(snapshot.photo_bytes(photo_id), faults.SIDE)
        except PhotoError:
            return None
        return faults.sharpness(square), faults.lightness(square)

    with ThreadPoolExecutor(threads, "judge") as pool:
        for row, judged in enumerate(pool.map(judge, photo_ids)):
            if row % 100 == 0 or row + 1 == len(photo_ids):
                progress("look at photos", row + 1, len(photo_ids))
            if judged is None:
                continue
            sharp, light = judged
            if light < faults.DARK:
                found[DARK].append((row, "", 1 - light / 255))
            elif sharp < faults.BLURRED:
                found[BLURRED].append((row, "", 1 - sharp))
    return found


def _copies(listings: pa.Table) -> Iterator[tuple[int, str, float]]:
    """Listings that show what another shows, and name no product to say that they may: all but the first of each."""
    names = listings["group"].to_pylist()
    product = listings["product"].to_pylist()
    shared = Counter(name for name, own in zip(names, product, strict=True) if not own)
    first: dict[str, str] = {}
    for row, (name, own, listing_id) in enumerate(
        zip(names, product, listings["listing_id"].to_pylist(), strict=True)
    ):
        if not own and shared[name] > 1:
            if name in first:
                yield row, first[name], float(shared[name])
            else:
                first[name] = listing_id


def _numbered(column: pa.ChunkedArray) -> NDArray[np.int64]:
    numbers: NDArray[np.int64] = (
        column.combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
    )
    return numbers
