"""Lookalike from Python: a shop's store, opened once, and what one can ask of it.

::

    import lookalike

    shop = lookalike.open("s3://shop/lookalike")
    shop.search("lamp.jpg", k=12, aspects={"colour": "red"})

`Shop` is what the command line calls, too: its steps are those of `lookalike.steps`, its searches go through the same
searcher as those of a search pod. Importing this module imports no torch; training does.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from lookalike import steps
from lookalike.bars import Bars
from lookalike.errors import QueryError, SettingsError
from lookalike.parameter_texts import parameter_texts
from lookalike.progress import Progress
from lookalike.publishing import live_ref
from lookalike.ranking.asked import SearchParameters, parse_parameters
from lookalike.ranking.framing import framed
from lookalike.ranking.request import Query, RankingConfig, SearchRequest
from lookalike.results import Results
from lookalike.settings import load
from lookalike.storage.artefacts import Kind, Ref, fetch, read_manifest
from lookalike.workplace import Workplace, open_workplace

if TYPE_CHECKING:
    import pyarrow as pa

    from lookalike.catalogue.photo_store import PhotoStore
    from lookalike.coding.encoder import Encoding
    from lookalike.imaging.photos import Box
    from lookalike.quality.evaluation import Evaluation
    from lookalike.ranking.request import Answer
    from lookalike.ranking.search import Searcher


class Picture(Protocol):
    """A PIL image, or whatever saves itself as one does."""

    def save(self, fp: Any, format: str) -> None: ...


Photo: TypeAlias = "str | os.PathLike[str] | bytes | Picture"
"""A photo as Python has it: the path of a file, its bytes, or a PIL image."""
Bounds: TypeAlias = tuple[float | None, float | None]
"""Lowest and highest number, both included; None: no bound."""


def open(store: str | None = None, *, threads: int = 0, progress: Progress | None = None) -> Shop:
    """The shop whose artefacts lie in `store`: a directory or ``s3://bucket/prefix``; the settings' one where None.

    `threads` 0 takes every core that this process may use. Long work draws bars on stderr, or tells `progress`. Nothing
    is read yet.
    """
    return Shop(open_workplace(store, threads=threads), progress=progress)


class Shop:
    """One store: search what is live in it, or make something new. Not for several threads at once."""

    def __init__(self, place: Workplace, *, progress: Progress | None = None) -> None:
        self.place, self._progress = place, progress
        self._opened: _Opened | None = None

    def __repr__(self) -> str:
        live = live_ref.read_live(self.place.store)
        said = "nothing is live yet" if live is None else f"live: #{live.live.sequence} {live.live.tip}"
        return f"<lookalike.Shop {self.place.store.uri}: {said}>"

    # What is live

    @property
    def live(self) -> live_ref.LiveRecord:
        """What searches answer from. Raises `SettingsError` where nothing is published yet."""
        found = live_ref.read_live(self.place.store)
        if found is None:
            uri = self.place.store.uri
            raise SettingsError(f"{uri}: nothing is live yet; run `lookalike run` or `lookalike publish`")
        return found.live

    def search(
        self,
        photo: Photo | None = None,
        *,
        listing_id: str | None = None,
        k: int = 12,
        offset: int = 0,
        categories: Sequence[str] = (),
        categories_not: Sequence[str] = (),
        everything: bool = False,
        aspects: Mapping[str, str | Sequence[str]] | None = None,
        aspects_not: Mapping[str, str | Sequence[str]] | None = None,
        price: Bounds = (None, None),
        ranges: Mapping[str, Bounds] | None = None,
        seller: str | Sequence[str] = (),
        seller_not: str | Sequence[str] = (),
        currency: str | Sequence[str] = (),
        currency_not: str | Sequence[str] = (),
        availability: str | Sequence[str] = (),
        availability_not: str | Sequence[str] = (),
        exclude: Sequence[str] = (),
        exclude_group: Sequence[str] = (),
        box: Box | None = None,
        text: str = "",
        alpha: float | None = None,
        colour: float | None = None,
        least_likeness: float | None = None,
        every_photo: bool = False,
        sort: str | None = None,
        show: str | Sequence[str] = (),
        facets: bool = False,
        explain: bool = False,
    ) -> Results:
        """The listings that look like `photo`, or like the listing named.

        Parameters have the names and the rules of docs/api.md; those ending in ``_not`` keep out what the other asks
        for. `categories` are leaf categories, or paths above them, instead of the predicted ones. A listing must have
        one of the values of each name in `aspects`, and a number within each of `price` and `ranges`, ends included;
        None leaves an end open. `exclude` has ids of listings, `exclude_group` groups of hits.

        `box` (x, y, width, height as fractions of the photo) is the part to search with; without one, a cluttered
        photo is also searched by the likeliest boxes, and (0, 0, 1, 1) says not to. `text` ("in red") prefers listings
        that state what its words name; `Results.answer.understood` says which were understood. `every_photo` takes all
        photos of the listing named. `alpha`, `colour` and `least_likeness` are `SearchRequest`'s.

        `sort` orders what is nearest by price, or a number of the shop's own, instead of by likeness. Hits carry the
        aspects in `show` (``"*"``: all).
        `facets` and `explain` fill those of the results. Raises `QueryError` where the request is wrong and
        `PhotoError` where the photo is none.
        """
        asked = parse_parameters(
            parameter_texts(
                {
                    "k": k,
                    "offset": offset,
                    "categories": categories,
                    "categories_not": categories_not,
                    "everything": everything,
                    "aspects": aspects,
                    "aspects_not": aspects_not,
                    "price": price,
                    "ranges": ranges,
                    "seller": seller,
                    "seller_not": seller_not,
                    "currency": currency,
                    "currency_not": currency_not,
                    "availability": availability,
                    "availability_not": availability_not,
                    "exclude": exclude,
                    "exclude_group": exclude_group,
                    "box": box,
                    "text": text,
                    "alpha": alpha,
                    "colour": colour,
                    "least_likeness": least_likeness,
                    "photos": "all" if every_photo else None,
                    "sort": sort,
                    "show": show,
                    "facets": facets,
                    "explain": explain,
                }
            )
        )
        return self.search_asked(photo, replace(asked, listing_id=listing_id))

    def search_asked(self, photo: Photo | None, asked: SearchParameters) -> Results:
        """The same for parameters that are read already: of the listing they name, or of the photo."""
        if (photo is None) == (asked.listing_id is None):
            raise QueryError("a search takes either a photo or a listing_id")
        if photo is not None:
            return self.search_all([photo], asked.request, box=asked.box)[0]
        assert asked.listing_id is not None
        if asked.box is not None:
            raise QueryError("a box is a part of a photo: leave it out with a listing_id")
        return self.search_like(asked.listing_id, asked.request)

    def search_like(self, listing_id: str, request: SearchRequest | None = None) -> Results:
        """The listings that look like the photo of a listing. Raises `QueryError` where there is none of that id."""
        opened, asked = self._open(), request or SearchRequest()
        (answer,) = opened.searcher.search_all([Query(asked, listing_id=listing_id)])
        return opened.results(answer, asked)

    def search_all(
        self, photos: Sequence[Photo], request: SearchRequest | None = None, *, box: Box | None = None
    ) -> list[Results]:
        """One answer for each photo, asked together: one forward pass, one scan."""
        opened = self._open()
        part = framed(box, opened.searcher.config.box_margin)
        asked = request or SearchRequest()
        read = [read_photo(photo) for photo in photos]
        queries = [
            Query(asked, photo=square, part=None if box else partial(_part, opened, data))
            for data, square in zip(read, self._squares(opened, read, part), strict=True)
        ]
        return [opened.results(answer, asked) for answer in opened.searcher.search_all(queries)]

    def encode(self, photos: Sequence[Photo]) -> Encoding:
        """What the live network sees in n photos: probabilities f32[n, categories] in the order of
        `categories`, codes u8[n, bits / 8], features f32[n, features]."""
        opened = self._open()
        return opened.searcher.encoder.encode(np.stack(self._squares(opened, photos, None)))

    @property
    def categories(self) -> tuple[str, ...]:
        """The leaf categories that the live network tells apart, in the order of its outputs."""
        return self._open().searcher.card.categories

    def listings(self) -> pa.Table:
        """The curated listings that the live index was built from, one row each, sorted by listing id; all splits."""
        import pyarrow.parquet as pq

        from lookalike.catalogue.snapshot import LISTINGS

        curated = self._curated(self.live)
        return pq.read_table(
            fetch(self.place.store, curated, self.place.cache_dir, [LISTINGS]).path(LISTINGS)
        )

    def photo_bytes(self, photo_id: str) -> bytes | None:
        """A listing's photo as the store keeps it; None where the live snapshot has no such photo."""
        return self._open().photo_bytes(photo_id)

    def evaluate(
        self,
        catalogue: str | os.PathLike[str],
        *,
        split: str | None = None,
        columns: Mapping[str, str] | None = None,
        ablate: bool = False,
    ) -> Evaluation:
        """Score the listings of a labelled catalogue as queries against what is live; `.report` has the numbers.

        `split` takes those of one split alone, `columns` renames, `ablate` also measures what each part of the ranking
        gains. Raises `CatalogueError` where no query is left.
        """
        from lookalike.quality.evaluation import evaluate

        live = self.live
        with self._reporting() as progress:
            return evaluate(
                self.place.store,
                live.release,
                live.tip,
                str(catalogue),
                split=split,
                columns=columns,
                photo_roots=self.place.catalogue.photo_roots,
                ablate=ablate,
                cache_dir=self.place.cache_dir,
                s3=self.place.s3,
                ranking=load(RankingConfig),
                threads=self.place.threads,
                progress=progress,
            )

    # Making something new: the steps, as `lookalike curate`, `train` and so on do them

    def curate(
        self, catalogue: str | os.PathLike[str], *, columns: Mapping[str, str] | None = None, **knobs: Any
    ) -> Ref:
        """Catalogue -> curated snapshot. `knobs` are the fields of `CurationConfig`: ``min_category=20``."""
        with self._reporting() as progress:
            return steps.curate(
                self.place, str(catalogue), _curation(knobs), columns=columns, progress=progress
            )

    def train(self, curated: Ref | None = None, *, recipe: str, weights: str = "") -> Ref:
        """Curated snapshot (the newest where None) -> model release, by the recipe of that name."""
        snapshot = curated or self.place.ref(Kind.CURATED, None)
        with self._reporting() as progress:
            return steps.train(self.place, snapshot, recipe, weights=weights, progress=progress)

    def index(self, release: Ref | None = None, *, curated: Ref | None = None, shards: int = 0) -> Ref:
        """A code for each photo of `curated` by `release` (the newest where None) -> index snapshot."""
        snapshot = curated or self.place.ref(Kind.CURATED, None)
        by = release or self.place.ref(Kind.RELEASE, None)
        with self._reporting() as progress:
            extraction = steps.extract(self.place, snapshot, by, progress=progress)
            return steps.index(self.place, extraction, shards=shards, progress=progress)

    def publish(self, index: Ref | None = None, *, accept: bool = False) -> live_ref.LiveRecord:
        """Make an index snapshot (the newest where None) live; `accept` takes it past the data gate's refusal."""
        wanted = index or self.place.index(None)
        with self._reporting() as progress:
            return steps.publish(
                self.place, wanted, attended=index is not None, accept=accept, progress=progress
            ).live

    def run(
        self,
        catalogue: str | os.PathLike[str],
        *,
        recipe: str,
        columns: Mapping[str, str] | None = None,
        accept: bool = False,
        **knobs: Any,
    ) -> live_ref.LiveRecord:
        """Everything from a catalogue to a search that is live. Finished steps are skipped."""
        with self._reporting() as progress:
            refs = steps.build_all(
                self.place, str(catalogue), _curation(knobs), recipe, columns=columns, progress=progress
            )
            return steps.publish(self.place, refs["index"], accept=accept, progress=progress).live

    # Inside

    def _reporting(self) -> AbstractContextManager[Progress]:
        return nullcontext(self._progress) if self._progress else Bars(Console(stderr=True, highlight=False))

    def _open(self) -> _Opened:
        """What is live, opened; once for as long as it stays live."""
        live = self.live
        if self._opened is None or self._opened.live != live:
            self._opened = _Opened.of(self.place, live, self._curated(live))
        return self._opened

    def _curated(self, live: live_ref.LiveRecord) -> Ref:
        return Ref.parse(read_manifest(self.place.store, live.tip).inputs["curated"])

    def _squares(self, opened: _Opened, photos: Sequence[Photo], part: Box | None) -> list[NDArray[np.uint8]]:
        from lookalike.imaging.photos import load_square

        side = opened.searcher.card.preset.resize
        return [load_square(read_photo(photo), side, box=part) for photo in photos]


class _Opened:
    """A live record with the searcher that answers from it and the photos of its listings."""

    def __init__(self, live: live_ref.LiveRecord, searcher: Searcher, shelf: PhotoStore) -> None:
        self.live, self.searcher, self.shelf = live, searcher, shelf

    @classmethod
    def of(cls, place: Workplace, live: live_ref.LiveRecord, curated: Ref) -> Self:
        from lookalike.catalogue.snapshot import open_photos
        from lookalike.ranking.search import open_searcher

        release, index, *deltas = (fetch(place.store, ref, place.cache_dir) for ref in live.refs)
        searcher = open_searcher(release, index, load(RankingConfig), deltas=deltas, threads=place.threads)
        return cls(live, searcher, open_photos(place.store, curated, place.cache_dir))

    def results(self, answer: Answer, asked: SearchRequest) -> Results:
        return Results(answer, self.photo_bytes, asked.offset)

    def photo_bytes(self, photo_id: str) -> bytes | None:
        return self.shelf.peek(photo_id) if photo_id in self.shelf else None


def read_photo(photo: Photo) -> bytes:
    """The bytes of a photo, whichever way it is given; a PIL image as PNG. Raises `QueryError`."""
    if isinstance(photo, bytes):
        return photo
    if isinstance(photo, str | os.PathLike):
        try:
            return Path(photo).read_bytes()
        except OSError as error:
            raise QueryError(f"{os.fspath(photo)}: {error.strerror}") from error
    if callable(getattr(photo, "save", None)):
        saved = io.BytesIO()
        photo.save(saved, "PNG")
        return saved.getvalue()
    raise QueryError(f"a {type(photo).__name__} is no photo: give a path, the file's bytes, or a PIL image")


def _part(opened: _Opened, photo: bytes, box: Box) -> NDArray[np.uint8]:
    """A box of a photo as the live network takes it."""
    from lookalike.imaging.photos import load_square

    return load_square(photo, opened.searcher.card.preset.resize, box=box)


def _curation(knobs: Mapping[str, Any]) -> Any:
    """Raises `SettingsError` naming a knob that there is none of."""
    from dataclasses import fields

    from lookalike.catalogue.rules import CurationConfig
    from lookalike.errors import unknown

    known = [entry.name for entry in fields(CurationConfig)]
    for name in knobs:
        if name not in known:
            raise SettingsError(unknown("setting of curation", name, known))
    return load(CurationConfig, **knobs)
