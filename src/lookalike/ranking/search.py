"""The searcher: encode, open the likeliest categories, scan, re-score, reward, blend, group.

Enters: one model release (encoder and aspect models), the listings of the index snapshot that was built for it, and
queries. Leaves: an `Answer` for each. Queries that are asked together share one forward pass and one scan; their
answers are those they would get alone. Everything here is stateless: what does not change with a snapshot is kept by
its `Listings`.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from lookalike.aspects.models import AspectModels, Predictions, load_aspects
from lookalike.coding.encoder import Encoder, Encoding, open_encoder
from lookalike.errors import QueryError, ReleaseError
from lookalike.ranking import encoded as encode
from lookalike.ranking.beyond import by_look, mixed
from lookalike.ranking.emphasis import Emphasis
from lookalike.ranking.encoded import EncodedQuery, guesses
from lookalike.ranking.grouping import first_of_each_group, groups_of, without
from lookalike.ranking.listings import Candidates, Listings, Summary, Wanted, check_fit
from lookalike.ranking.local import map_listings
from lookalike.ranking.parameters import check_aspects
from lookalike.ranking.request import (
    Answer,
    Hit,
    Query,
    RankingConfig,
    SearchRequest,
    expand_categories,
)
from lookalike.ranking.rescoring import Scale
from lookalike.ranking.rewards import matched, rewards
from lookalike.ranking.routing import Router
from lookalike.ranking.similarity import UNKNOWN, Judged, by_shape, distances_by_listing, in_words_of, judge
from lookalike.ranking.steps import Before
from lookalike.ranking.trust import trusted
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
        check_aspects(query.request.filters, self._aspect_names)
        if query.listing_id is not None and self.listings.find(query.listing_id) is None:
            raise QueryError(f"unknown listing: {query.listing_id}")

    def search_all(self, queries: Sequence[Query]) -> list[Answer]:
        """Answer all `queries` together. Raises `QueryError` for the first that `check` refuses."""
        understood, milliseconds = self._encode(queries)
        answers = self.rank(understood, [query.request for query in queries])
        return [replace(a, milliseconds={**milliseconds, **a.milliseconds}) for a in answers]

    def encode(self, queries: Sequence[Query]) -> list[EncodedQuery]:
        """The first half of `search_all`: one forward pass for all photos, a look-up for each listing."""
        return self._encode(queries)[0]

    def rank(self, queries: Sequence[EncodedQuery], requests: Sequence[SearchRequest]) -> list[Answer]:
        """The second half of `search_all`: route and scan together, then order each query's candidates."""
        started = time.perf_counter()
        for request in requests:
            check_aspects(request.filters, self._aspect_names)
        opened = [self._router.open(query, request) for query, request in zip(queries, requests, strict=True)]
        wanted = [
            self._wanted(query, request, categories)
            for query, request, categories in zip(queries, requests, opened, strict=True)
        ]
        alone = [
            self._by_look(query, request, categories)
            for query, request, categories in zip(queries, requests, opened, strict=True)
        ]
        by_shapes = [self._by_shape(query, want) for query, want in zip(queries, wanted, strict=True)]
        asked = [*wanted, *filter(None, by_shapes), *(want for _, want in filter(None, alone))]
        candidates = self.listings.nearest(asked)
        more = iter(candidates[len(wanted) :])
        shapes = [None if want is None else next(more) for want in by_shapes]
        scan_ms = (time.perf_counter() - started) * 1e3
        answers = []
        for query, request, want, found, look, shape in zip(
            queries, requests, wanted, candidates, alone, shapes, strict=False
        ):
            started = time.perf_counter()
            near = {} if shape is None else distances_by_listing(shape, self.card.bits, self.summary.likeness)
            hits, missing = self._hits(query, request, want, found, near)
            if look is not None:
                others, _ = self._hits(look[0], request, look[1], next(more), {})
                hits = self._mixed(query, request, hits, others)
            judged = self._judge(query, request, shape)
            answers.append(
                Answer(
                    hits=hits[request.offset :],
                    categories=guesses(query, want.categories, self._number, request),
                    aspects=query.aspects,
                    release=self.summary.release,
                    index=self.summary.name,
                    delta=self.summary.delta,
                    scanned=self._rows(want.categories if look is None else self.summary.rows),
                    unlearned=self._unlearned_rows(query, request, want.categories),
                    judged=judged,
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
            next(remaining) if q.listing_id is None else self._of_listing(q, q.listing_id) for q in queries
        ], milliseconds

    def understand(self, encoding: Encoding) -> list[EncodedQuery]:
        """What the forward pass says of each photo, with the aspects that it is trusted with."""
        known = [{n: v for n, v in each.items() if n in self.trusted} for each in self.predict(encoding)]
        return encode.of_photos(encoding, known, self.card, self.trusted)

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

    def _of_listing(self, query: Query, listing_id: str) -> EncodedQuery:
        found = self.listings.find(listing_id)
        if found is None:
            raise QueryError(f"unknown listing: {listing_id}")
        return encode.of_listing(found[0], found[1][: None if query.request.every_photo else 1], self.card)

    def _wanted(self, query: EncodedQuery, request: SearchRequest, categories: tuple[str, ...]) -> Wanted:
        move = self._emphasis(request).moved if self.config.asymmetric else lambda _: None
        return Wanted(
            code=query.code,
            categories=categories,
            filters=request.filters,
            k=self.config.candidates,
            weights=move(query.bit_probabilities),
            aspects=tuple(query.expected.aspects),
            others=tuple((code, move(probabilities)) for code, probabilities in query.others),
        )

    def _by_look(
        self, query: EncodedQuery, request: SearchRequest, opened: tuple[str, ...]
    ) -> tuple[EncodedQuery, Wanted] | None:
        """The query without what it says of the category, for what was not opened; None where that is not asked for."""
        photo = not request.categories and query.own_category is None
        unsure = photo and float(query.probabilities.max()) < self.config.unsure
        if not (request.everything or unsure):
            return None
        others = opened if request.everything else tuple(c for c in self.summary.rows if c not in opened)
        if not others:
            return None
        look = by_look(query, self.card.category_bits)
        return look, self._wanted(look, request, others)

    def _mixed(
        self, query: EncodedQuery, request: SearchRequest, routed: Sequence[Hit], others: Sequence[Hit]
    ) -> tuple[Hit, ...]:
        """Both kinds of hits in one order, in which no score rises."""
        hits: list[Hit] = []
        beyond = [replace(hit, beyond=True) for hit in others]
        for hit in mixed(routed, beyond, request.reach, grouped=self.config.group):
            score = min(hit.score, hits[-1].score) if hits else hit.score
            hits.append(replace(self._measured(query, request, hit), score=score))
        return tuple(hits)

    def _measured(self, query: EncodedQuery, request: SearchRequest, hit: Hit) -> Hit:
        """A hit from beyond, found by a part of its code, with the distance of all of it (of its main photo's)."""
        found = self.listings.find(hit.listing_id) if hit.beyond else None
        if found is None:
            return hit
        differing = np.unpackbits(query.code ^ found[1])
        distance, measure = int(differing.sum()), self.summary.likeness
        near = None if measure is None else float(differing[slice(*measure.bits)].sum())
        same = distance <= self.config.same_photo * self.card.bits
        ((likeness, words),) = in_words_of(self.summary.likeness, self._least(request), [near], [same])
        return replace(hit, distance=distance, likeness=likeness, alike=words)

    def _emphasis(self, request: SearchRequest) -> Emphasis:
        return Emphasis.of(self.card, self.config.colour if request.colour is None else request.colour)

    def _least(self, request: SearchRequest) -> float:
        return self.config.least_likeness if request.least_likeness is None else request.least_likeness

    def _by_shape(self, query: EncodedQuery, want: Wanted) -> Wanted | None:
        """The same candidates, with distances in the bits that likeness is measured by; None without a measure."""
        measure = self.summary.likeness
        return (
            None if measure is None else replace(want, weights=by_shape(query.code, measure.bits), aspects=())
        )

    def _judge(self, query: EncodedQuery, request: SearchRequest, shape: Candidates | None) -> Judged:
        if shape is None:
            return UNKNOWN
        others = without(shape, request.exclude, query.own_group)
        nearest = np.sort(
            np.array(list(distances_by_listing(others, self.card.bits, self.summary.likeness).values()))
        )
        return judge(self.summary.likeness, nearest, self._least(request))

    def _rows(self, categories: Collection[str]) -> int:
        return sum(self.summary.rows.get(category, 0) for category in categories)

    def _unlearned_rows(self, query: EncodedQuery, request: SearchRequest, opened: Collection[str]) -> int:
        """Rows that were scanned although nobody named their categories and the model does not know them."""
        unasked = not request.categories and query.own_category is None
        return self._rows(set(opened).intersection(self._router.unlearned)) if unasked else 0

    def _hits(
        self,
        query: EncodedQuery,
        request: SearchRequest,
        wanted: Wanted,
        found: Candidates,
        near: Mapping[str, float],
    ) -> tuple[tuple[Hit, ...], tuple[int, ...]]:
        """The best of the candidates, and the shards missing. More are scanned until there are enough, or no more rows;
        they follow those before, so that an answer does not depend on how many hits are asked for."""
        reachable, before, hits = self._rows(wanted.categories), Before(), list[Hit]()
        while True:
            beyond = found.take(range(before.candidates, len(found))) if before.candidates else found
            hits += self._order(query, request, beyond, near, before)
            if len(hits) == request.reach or len(found) < wanted.k or wanted.k >= reachable:
                return tuple(hits), found.missing
            before.candidates = len(found)
            wanted = replace(wanted, k=min(reachable, wanted.k * 4))
            (found,) = self.listings.nearest([wanted])

    def _order(
        self,
        query: EncodedQuery,
        request: SearchRequest,
        candidates: Candidates,
        near: Mapping[str, float],
        before: Before,
    ) -> tuple[Hit, ...]:
        if request.exclude or query.own_group is not None:
            candidates = without(candidates, request.exclude, query.own_group)
        if not len(candidates):
            return ()
        scores = np.minimum(self._scores(query, request, candidates, before), before.score)
        # Whatever aspects say, nothing looks more like a photo than the photo itself.
        same = candidates.distance <= self.config.same_photo * self.card.bits
        scores[same] = 1.0
        # Candidates come by distance and listing id, and a stable sort keeps that order among equal scores.
        order = np.lexsort((-scores, ~same)).tolist()
        limit = request.reach - before.hits
        if self.config.group:
            groups = groups_of(candidates, order, limit)
            order = [order[i] for i in first_of_each_group(groups, limit=limit, seen=before.groups)]
        best = order[:limit]
        before.passed(scores[best])
        shown = candidates.take(best)
        distances = [near.get(each) for each in shown.listing_ids()]
        alike = in_words_of(self.summary.likeness, self._least(request), distances, same[best].tolist())
        return tuple(
            Hit(
                listing_id=found.listing_id,
                photo_id=found.photo_id,
                photo_ordinal=found.photo_ordinal,
                category=found.category,
                score=round(score, 6),
                distance=distance,
                likeness=likeness,
                alike=words,
                group=found.group,
                beyond=False,
                columns=found.columns,
                matched_aspects=matched(query.expected, found.aspects),
            )
            for found, distance, score, (likeness, words) in zip(
                shown.listings(query.expected.aspects),
                shown.distance.tolist(),
                scores[best].tolist(),
                alike,
                strict=True,
            )
        )

    def _scores(
        self, query: EncodedQuery, request: SearchRequest, candidates: Candidates, before: Before
    ) -> np.ndarray:
        """f64[m], 0 to 1: the blend of appearance and aspect reward."""
        distances = candidates.distance
        if self.config.asymmetric:
            distances = self._emphasis(request).distances(candidates.expected_distances())
        scale = before.scale = before.scale or Scale.of(
            distances, self.card.bits, relative=self.config.relative
        )
        appearance = scale.appearances(distances)
        blend = self.config.blend if request.blend is None else request.blend
        if not query.expected or blend == 1:
            return appearance
        chances = {name: candidates.chances(name, values) for name, values in query.expected.aspects.items()}
        scores: np.ndarray = blend * appearance + (1 - blend) * rewards(
            query.expected, chances, candidates.prices(), self.config
        )
        return scores
