"""One pair of model release and index snapshot, opened, warmed and tried: what a search process answers from.

Enters: references. Leaves: a `ServedSnapshot` that has answered queries about itself, or an error that says why not.
Every request holds on to one of these from decoding to reply, so no reply mixes two.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from lookalike.aspects.models import aspect_files
from lookalike.catalogue.snapshot import LISTINGS, PHOTOS, photos_in
from lookalike.coding.release import ModelCard
from lookalike.errors import PhotoError, ReleaseError, SettingsError
from lookalike.imaging import photos
from lookalike.index.generation import PLACES, generation_of
from lookalike.ranking.filters import Filters
from lookalike.ranking.listings import Listings, Wanted
from lookalike.ranking.local import map_listings
from lookalike.ranking.request import Query, SearchRequest
from lookalike.ranking.search import Searcher, join_searcher
from lookalike.serving.config import ServingConfig
from lookalike.serving.copies import Copies
from lookalike.serving.details import Titles, catalogue_json
from lookalike.serving.query_ids import QueryIds
from lookalike.serving.thumbnails import PhotoShelf
from lookalike.sharding.fleet import Fleet
from lookalike.sharding.remote import RemoteListings
from lookalike.storage.artefacts import Artefact, Ref, read_manifest
from lookalike.storage.objects import ObjectStore

_AGREEING_BITS = 0.95
"""Share of bits that a listing's own photo must reproduce. bf16 against f32 differs in well under 1 %; another model,
or another transform preset, in far more."""
_TRIED = 4


@dataclass(frozen=True, slots=True, eq=False)
class ServedSnapshot:
    """Everything that answering needs. The files stay mapped as long as somebody holds on to it."""

    release: Artefact
    index: Artefact
    deltas: tuple[Artefact, ...]
    """Over the index, oldest first."""
    curated: Artefact
    """Of the curated snapshot only the tables that `shelf` and `titles` were read from."""
    searcher: Searcher
    shelf: PhotoShelf
    titles: Titles
    catalogue: dict[str, Any]
    """What the page's filters offer; see `details.catalogue_json`."""
    query_ids: QueryIds
    load_seconds: float

    @property
    def tip(self) -> Ref:
        """What names index and deltas together."""
        return self.deltas[-1].ref if self.deltas else self.index.ref

    @property
    def pair(self) -> tuple[Ref, Ref]:
        return self.release.ref, self.tip

    @property
    def artefacts(self) -> tuple[Artefact, ...]:
        return self.release, self.index, self.curated, *self.deltas


def release_of(store: ObjectStore, index: Ref) -> Ref:
    """The model release that an index snapshot was built for. Raises `ReleaseError`."""
    stated = str(read_manifest(store, index).meta.get("release", ""))
    try:
        return Ref.parse(stated)
    except SettingsError as error:
        raise ReleaseError(f"{index} does not say which model release it was built for") from error


def open_snapshot(
    copies: Copies,
    release: Ref,
    index: Ref,
    config: ServingConfig,
    *,
    threads: int = 0,
    previous: ServedSnapshot | None = None,
    fleet: Fleet | None = None,
) -> ServedSnapshot:
    """Fetch, verify, map, warm up and try. What `previous` has of the same release, base and deltas is used again.

    `index` is an index snapshot, or a delta, which stands for base and deltas (`index.generation`). With a `fleet` the
    index stays where it is, and rankers must hold all of it. Raises `StorageError`, `CorruptObject`, `SegmentError`,
    `ReleaseError` or `ServiceBusy`: whichever step failed.
    """
    started = time.monotonic()
    tip = read_manifest(copies.store, index)
    generation = generation_of(index, tip)
    index_files = copies.fetch(generation.base, None if fleet is None else [])
    deltas = tuple(copies.fetch(ref, _delta_files(config, fleet)) for ref in generation.deltas)
    release_files = _fetch_release(copies, release)
    reuse = previous.searcher if previous else None
    listings: Listings
    if fleet is not None:
        listings = RemoteListings(fleet, index, tip)
    else:
        listings = map_listings(
            index_files,
            deltas=deltas,
            threads=threads,
            reuse=reuse.listings if reuse else None,
            prefetch=True,
        )
    searcher = join_searcher(release_files, listings, config.ranking, threads=threads, reuse=reuse)
    curated = Ref.parse(index_files.manifest.inputs["curated"])
    of_base = previous if previous and previous.index.ref == generation.base else None
    tables = [PHOTOS] if index_files.manifest.config["format"] > 1 else [PHOTOS, LISTINGS]  # for titles
    curated_files = copies.fetch(curated, [] if config.bare else tables)
    photos = of_base.shelf.photos if of_base else photos_in(copies.store, curated_files, copies.cache_dir)
    shelf = PhotoShelf(copies.store, photos, deltas)
    if previous is None or previous.searcher.encoder is not searcher.encoder:
        warm_up(searcher, config.batch_limit)
    try_out(searcher, shelf, categories=1 if of_base else _TRIED)
    titles = of_base.titles if of_base else Titles(curated_files)
    catalogue = catalogue_json(
        searcher.summary, config.ranking.colour if searcher.card.colour_bits else None, searcher.unlearned
    )
    ids = QueryIds(release_files.manifest, config.query_seconds)
    seconds = time.monotonic() - started
    return ServedSnapshot(
        release_files, index_files, deltas, curated_files, searcher, shelf, titles, catalogue, ids, seconds
    )


def _delta_files(config: ServingConfig, fleet: Fleet | None) -> list[str] | None:
    """The files of a delta that this process reads: all, or of those that rankers hold only what pages show."""
    if fleet is None:
        return None
    return [] if config.bare else [PLACES]


def warm_up(searcher: Searcher, batch_limit: int) -> None:
    """Encode nothing in particular in small batches, aspects included: the first inferences cost most.

    Larger sizes, which an encoder of more than two threads takes, are left to the first batch that has them. It pays a
    fifth more: a ResNet-50 that takes all cores for as long as they need would hold up searches that go on meanwhile.
    """
    side = searcher.card.preset.resize
    for size in sorted({min(size, batch_limit) for size in (1, 2, 4)}):
        searcher.encode([Query(photo=np.zeros((side, side, 3), np.uint8))] * size)


def try_out(searcher: Searcher, shelf: PhotoShelf, *, categories: int = _TRIED) -> None:
    """Search for listings of the index, by code and by photo. Raises `ReleaseError` where one is not found.

    One is tried of each of the largest `categories`: fewer where the base serves already, since a forward pass holds up
    the searches that go on meanwhile.
    The nearest listing to a listing's own code must be at distance 0; encoding a listing's own photo must give
    (nearly) the code that the index has for it.
    """
    summary = searcher.summary
    if not len(summary):
        raise ReleaseError(f"{summary.name} has no listings")
    largest = sorted(summary.rows, key=lambda category: -summary.rows[category])[:categories]
    agreement = []
    for category in largest:
        listing_id, photo_id = summary.examples[category]
        code = _code_of(searcher, listing_id)
        (found,) = searcher.listings.nearest([Wanted(code, (category,), Filters(), 1)])
        if len(found) != 1 or found.distance[0] != 0:
            raise ReleaseError(f"{summary.name}: a listing of {category} is not found by its own code")
        if (share := _agreement(searcher, shelf, photo_id, code)) is not None:
            agreement.append(share)
    if agreement and max(agreement) < _AGREEING_BITS:
        raise ReleaseError(
            f"{summary.name}: photos give other codes than the index has for them "
            f"({max(agreement):.0%} of the bits agree): it was not built with {summary.release}"
        )
    searcher.search_all([Query(SearchRequest(), listing_id=summary.examples[largest[0]][0])])


def _code_of(searcher: Searcher, listing_id: str) -> np.ndarray:
    found = searcher.listings.find(listing_id)
    if found is None:
        raise ReleaseError(f"{searcher.summary.name}: it names listing {listing_id} and does not have it")
    code: np.ndarray = found[1][0]
    return code


def _agreement(searcher: Searcher, shelf: PhotoShelf, photo_id: str, code: np.ndarray) -> float | None:
    """Share of equal bits, or None where the photo cannot be had."""
    if photo_id not in shelf:
        return None
    try:
        square = photos.load_square(shelf.peek(photo_id), searcher.card.preset.resize)
    except PhotoError:
        return None
    differing = int(np.bitwise_count(searcher.encoder.encode(square[None]).codes[0] ^ code).sum())
    return 1 - differing / searcher.summary.bits


def _fetch_release(copies: Copies, release: Ref) -> Artefact:
    """Only what serving reads: the weights stay where they are."""
    described = copies.fetch(release, ["model.json"])
    card = ModelCard.read(described.path("model.json"))
    return copies.fetch(release, ["model.json", "model.onnx", *aspect_files(described.manifest, card)])
