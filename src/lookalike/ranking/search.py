"""The searcher: encode, open the likeliest categories, scan, re-score, reward, blend, group.

Enters: one model release (encoder and aspect models), the listings of the index snapshot that was built for it, and
queries. Leaves: an `Answer` for each. Queries that are asked together share one forward pass and one scan; their
answers are those they would get alone. Everything here is stateless: what does not change with a snapshot is kept by
its `Listings`.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from lookalike.aspects.models import AspectModels, Predictions, load_aspects
from lookalike.coding.encoder import Encoder, Encoding, open_encoder
from lookalike.errors import QueryError, ReleaseError
from lookalike.ranking import encoded as encode
from lookalike.ranking.beyond import by_look
from lookalike.ranking.encoded import EncodedQuery, guesses
from lookalike.ranking.finding import Part, best_of, boxes_in, is_cluttered, parts_of
from lookalike.ranking.listings import Candidates, Listings, Summary, Wanted, check_fit
from lookalike.ranking.local import map_listings
from lookalike.ranking.ordering import Ordering
from lookalike.ranking.parameters import check_names
from lookalike.ranking.request import (
    Answer,
    Query,
    RankingConfig,
    SearchRequest,
    expand_categories,
)
from lookalike.ranking.routing import Router
from lookalike.ranking.similarity import UNKNOWN, Judged, judge
from lookalike.ranking.trust import trusted
from lookalike.ranking.wishes import changed
from lookalike.ranking.words import Vocabulary
from lookalike.storage.artefacts import Artefact


def open_searcher(
    release: Artefact,
    index: Artefact,
    config: RankingConfig | None = None,
    *,
    deltas: Sequence[Artefact] = (),
    threads: int = 0,
    reuse: Searcher | None = None,
) -> Searcher:
    """The searcher of a fetched pair of model release and index snapshot (with `deltas`), mapped into this process.

    `reuse` is a searcher of the same release, whose encoder, aspect models and scanning threads serve again. Raises
    `ReleaseError` where the two do not belong together or the release is damaged, `SegmentError` where the index is.
    """
    listings = map_listings(index, deltas=deltas, threads=threads, reuse=reuse.listings if reuse else None)
    return join_searcher(release, listings, config, threads=threads, reuse=reuse)


def join_searcher(
    release: Artefact,
    listings: Listings,
    config: RankingConfig | None = None,
    *,
    threads: int = 0,
    reuse: Searcher | None = None,
) -> Searcher:
    """The searcher of a fetched model release, aspect models included, over listings wherever they are.

    Raises `ReleaseError` where the two do not belong together or the release is damaged.
    """
    summary = listings.summary
    if summary.release != str(release.ref):
        raise ReleaseError(f"{summary.name} was built for {summary.release}, not for {release.ref}")
    if reuse is not None and reuse.listings.summary.release == summary.release:
        return Searcher(reuse.encoder, listings, config, aspects=reuse.aspects)
    encoder = open_encoder(release, threads=threads)
    return Searcher(encoder, listings, config, aspects=load_aspects(release, encoder.card))


class Searcher:
    """Answers queries against one model release and one index snapshot. Safe to use from several threads."""

    def __init__(
        self,
        encoder: Encoder,
        listings: Listings,
        config: RankingConfig | None = None,
        *,
        aspects: AspectModels | None = None,
    ) -> None:
        """Raises `ReleaseError` where encoder and index do not belong together."""
        self.encoder, self.listings = encoder, listings
        self.config = config or RankingConfig()
        self.card = encoder.card
        self.aspects = aspects or AspectModels.none(len(self.card.categories))
        self.summary: Summary = listings.summary
        self.trusted = trusted(self.card.metrics.get("aspects", {}), self.config)
        check_fit(self.card, self.summary)
        self.vocabulary = Vocabulary(self.summary.values, tuple(self.summary.rows), self.config.text)
        self._ordering = Ordering(self.card, listings, self.config, self.vocabulary)
        self._aspect_names = sorted(
            {*self.summary.values, *self.card.aspects}
        )  # stated, or predicted at least
        self._number = {category: i for i, category in enumerate(self.card.categories)}
        self._router = Router(self.card.categories, self.summary, self.config)

    @property
    def unlearned(self) -> tuple[str, ...]:
        """The categories of the index that the model was not trained on."""
        return self._router.unlearned

    def check(self, query: Query) -> None:
        """Raise the `QueryError` that searching for `query` would raise, before it costs anything."""
        expand_categories(query.request.categories, self.summary.rows)
        expand_categories(query.request.categories_not, self.summary.rows)
        check_names(query.request, self._aspect_names, self.summary.sortable)
        if query.listing_id is not None and self.listings.find(query.listing_id) is None:
            raise QueryError(f"unknown listing: {query.listing_id}")

    def search_all(self, queries: Sequence[Query]) -> list[Answer]:
        """Answer all `queries` together. Raises `QueryError` for the first that `check` refuses.

        Parts of cluttered photos are answered, too, all together once more (`finding`).
        """
        answers = self.first_look(queries)
        started = time.perf_counter()
        parts = [self.parts_of(query, answer) for query, answer in zip(queries, answers, strict=True)]
        asked = [part.query for each in parts for part in each]
        if not asked:
            return answers
        found = iter(self.first_look(asked))
        took = (time.perf_counter() - started) * 1e3
        return [
            best_of(answer, each, list(islice(found, len(each))), took) if each else answer
            for answer, each in zip(answers, parts, strict=True)
        ]

    def first_look(self, queries: Sequence[Query]) -> list[Answer]:
        """The answers to photos as a whole, and to listings. Raises as `search_all` does."""
        understood, milliseconds = self._encode(queries)
        answers = self.rank(understood, [query.request for query in queries])
        return [
            replace(a, carried=query.carried, milliseconds={**milliseconds, **a.milliseconds})
            for query, a in zip(understood, answers, strict=True)
        ]

    def parts_of(self, query: Query, answer: Answer) -> list[Part]:
        """What else to search by before `answer`, a first look's, stands (`best_of`): parts of a cluttered photo."""
        return parts_of(query, answer, self.config) if answer.cluttered else []

    def _in_clutter(self, query: EncodedQuery) -> bool:
        """Whether it is a photo of a cluttered frame."""
        return query.regions is not None and is_cluttered(query.regions, self.card.cluttered_below)

    def encode(self, queries: Sequence[Query]) -> list[EncodedQuery]:
        """The first half of `search_all`: one forward pass for all photos, a look-up for each listing."""
        return self._encode(queries)[0]

    def rank(self, queries: Sequence[EncodedQuery], requests: Sequence[SearchRequest]) -> list[Answer]:
        """The second half of `search_all`: route and scan together, then order each query's candidates."""
        order, started = self._ordering, time.perf_counter()
        for request in requests:
            check_names(request, self._aspect_names, self.summary.sortable)
        wishes = [self.vocabulary.understand(request.text) for request in requests]
        queries, requests = zip(*map(changed, queries, requests, wishes), strict=True)
        opened = [self._router.open(query, request) for query, request in zip(queries, requests, strict=True)]
        wanted = [
            self._ordering.wanted_of(query, request, categories)
            for query, request, categories in zip(queries, requests, opened, strict=True)
        ]
        alone = [
            self._by_look(query, request, categories)
            for query, request, categories in zip(queries, requests, opened, strict=True)
        ]
        by_shapes = [order.by_shape(want) for want in wanted]
        asked = [*wanted, *filter(None, by_shapes), *(want for _, want in filter(None, alone))]
        candidates = self.listings.nearest(asked)
        more = iter(candidates[len(wanted) :])
        shapes = [None if want is None else next(more) for want in by_shapes]
        scan_ms = (time.perf_counter() - started) * 1e3
        answers = []
        for query, request, want, found, look, shape, understood in zip(
            queries, requests, wanted, candidates, alone, shapes, wishes, strict=False
        ):
            started = time.perf_counter()
            judged = self._judge(query, request, order.measured(found, shape))
            hits, missing = order.hits(query, request, want, found)
            if look is not None:
                others, _ = order.hits(look[0], request, look[1], next(more))
                hits = order.mixed(query, request, hits, others)
            answers.append(
                Answer(
                    hits=hits[request.offset :],
                    categories=guesses(query, want.categories, self._number, request),
                    aspects=query.aspects,
                    release=self.summary.release,
                    index=self.summary.name,
                    delta=self.summary.delta,
                    scanned=self._ordering.rows(want.categories if look is None else self.summary.rows),
                    unlearned=self._unlearned_rows(query, request, want.categories),
                    understood=understood,
                    facets=order.facets(query, request, found),
                    explain=order.explain(query, request, want, found),
                    judged=judged,
                    nearest=order.nearest(query, request, found),
                    boxes=() if query.regions is None else boxes_in(query.regions),
                    cluttered=self._in_clutter(query),
                    milliseconds={"scan": scan_ms, "rank": (time.perf_counter() - started) * 1e3},
                    missing_shards=missing,
                )
            )
        return answers

    def _encode(self, queries: Sequence[Query]) -> tuple[list[EncodedQuery], dict[str, float]]:
        photos = encode.photos_of(queries)
        of_photos: list[EncodedQuery] = []
        milliseconds: dict[str, float] = {}
        if photos is not None:
            started = time.perf_counter()
            encoding = self.encoder.encode(photos)
            encoded = time.perf_counter()
            of_photos = self.understand(encoding)
            milliseconds["encode"] = (encoded - started) * 1e3
            milliseconds["aspects"] = (time.perf_counter() - encoded) * 1e3
        remaining = iter(of_photos)
        return [
            next(remaining) if q.photo is not None else self._of_no_photo(q) for q in queries
        ], milliseconds

    def understand(self, encoding: Encoding) -> list[EncodedQuery]:
        """What the forward pass says of each photo, with the aspects that it is trusted with."""
        known = [{n: v for n, v in each.items() if n in self.trusted} for each in self.predict(encoding)]
        return encode.of_photos(encoding, known, self.card, self.trusted, self.summary.likeness)

    def predict(self, encoding: Encoding) -> list[Predictions]:
        """Every predicted aspect of each photo that fits its likeliest category, trusted or not."""
        return [
            self._fitting(aspects, probabilities)
            for aspects, probabilities in zip(
                encode.predict_aspects(self.aspects, encoding), encoding.probabilities, strict=True
            )
        ]

    def _fitting(self, predicted: Predictions, probabilities: np.ndarray) -> Predictions:
        """Without the aspects that no listing of the likeliest category states: a mug has no shoe size."""
        stated = self.summary.stated.get(self.card.categories[int(probabilities.argmax())])
        return predicted if stated is None else {n: v for n, v in predicted.items() if n in stated}

    def _of_no_photo(self, query: Query) -> EncodedQuery:
        if query.carried is not None:
            return encode.of_carried(query.carried, self.card, self.trusted)
        found = self.listings.find(query.listing_id or "")
        if found is None:
            raise QueryError(f"unknown listing: {query.listing_id}")
        return encode.of_listing(found[0], found[1][: None if query.request.every_photo else 1], self.card)

    def _by_look(
        self, query: EncodedQuery, request: SearchRequest, opened: tuple[str, ...]
    ) -> tuple[EncodedQuery, Wanted] | None:
        """The query without what it says of the category, for what was not opened; None where that is not asked for."""
        photo = not request.categories and query.own_category is None
        unsure = photo and float(query.probabilities.max()) < self.config.unsure
        if request.sort or not (request.everything or unsure):
            return None
        passed = {*opened, *self._router.barred(request)}
        others = opened if request.everything else tuple(c for c in self.summary.rows if c not in passed)
        if not others:
            return None
        look = by_look(query, self.card.category_bits)
        return look, self._ordering.wanted_of(look, request, others)

    def _judge(self, query: EncodedQuery, request: SearchRequest, found: Candidates) -> Judged:
        """What the answer is worth by how near its candidates are."""
        near = self._ordering.pool(query, request, found).near
        if near is None:
            return UNKNOWN
        return judge(self._ordering.measure(query), np.sort(near), self._ordering.least(request))

    def _unlearned_rows(self, query: EncodedQuery, request: SearchRequest, opened: Collection[str]) -> int:
        """Rows that were scanned although nobody named their categories and the model does not know them."""
        unasked = not request.categories and query.own_category is None
        return self._ordering.rows(set(opened).intersection(self._router.unlearned)) if unasked else 0
