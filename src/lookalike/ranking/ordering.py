"""The order of an answer: candidates of the scan become hits.

Enters: a query and its candidates, nearest first. They are re-scored, rewarded for aspects, blended, and grouped, or
sorted by price. Leaves: hits, best first, as many as a request reaches for. Where those candidates are too few, more
are asked for, which follow (`steps`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lookalike.coding.release import ModelCard
from lookalike.index.likeness import Likeness
from lookalike.ranking.beyond import mixed
from lookalike.ranking.emphasis import Emphasis
from lookalike.ranking.encoded import EncodedQuery
from lookalike.ranking.facets import Facets
from lookalike.ranking.grouping import first_of_each_group, groups_of, without
from lookalike.ranking.joined import joined
from lookalike.ranking.listings import Candidates, Listings, Summary, Wanted
from lookalike.ranking.request import Hit, RankingConfig, SearchRequest, expand_categories
from lookalike.ranking.rescoring import Scale
from lookalike.ranking.rewards import matched, rewards
from lookalike.ranking.similarity import by_shape, in_words_of, shape_distances
from lookalike.ranking.steps import Before
from lookalike.ranking.wishes import fulfilled, widened
from lookalike.ranking.words import Understood, Vocabulary


class Ordering:
    """Orders the candidates of one searcher's queries."""

    def __init__(
        self, card: ModelCard, listings: Listings, config: RankingConfig, vocabulary: Vocabulary
    ) -> None:
        self.card, self.listings, self.config, self.vocabulary = card, listings, config, vocabulary
        self.summary: Summary = listings.summary

    def emphasis(self, request: SearchRequest) -> Emphasis:
        """How much colours count."""
        return Emphasis.of(self.card, self.config.colour if request.colour is None else request.colour)

    def least(self, request: SearchRequest) -> float:
        """The likeness below which nothing is said to look like the query."""
        return self.config.least_likeness if request.least_likeness is None else request.least_likeness

    def measure(self, query: EncodedQuery) -> Likeness | None:
        """What likeness to a query is measured by; None where the index has no measure of it."""
        return self.summary.likeness and replace(self.summary.likeness, cosine=query.cosine)

    def rows(self, categories: Collection[str]) -> int:
        """Listings of these categories."""
        return sum(self.summary.rows.get(category, 0) for category in categories)

    def wanted_of(self, query: EncodedQuery, request: SearchRequest, categories: tuple[str, ...]) -> Wanted:
        """What is asked of the listings for a query that opens these categories."""
        move = self.emphasis(request).moved if self.config.asymmetric else lambda _: None
        counted = self.summary.values if request.facets else self.shown(request)
        return Wanted(
            code=query.code,
            categories=categories,
            filters=request.filters,
            k=self.config.candidates,
            weights=move(query.bit_probabilities),
            aspects=tuple(dict.fromkeys((*query.expected.aspects, *self.wishes(request).aspects, *counted))),
            own=tuple(self.summary.own),
            others=tuple((code, move(probabilities)) for code, probabilities in query.others),
        )

    def by_shape(self, want: Wanted) -> Wanted | None:
        """The same candidates, with distances in the bits that likeness is measured by; None without a measure."""
        measure = self.summary.likeness
        if measure is None:
            return None
        weights, *others = (by_shape(code, measure.bits) for code in want.codes)
        further = tuple(zip(want.codes[1:], others, strict=True))
        return replace(want, weights=weights, others=further, aspects=(), own=())

    def measured(self, found: Candidates, shape: Candidates | None) -> Candidates:
        """`found` with the distances of `shape`: the same candidates, asked for by `by_shape`."""
        measure = self.summary.likeness
        if shape is not None and measure is not None:
            found.near = shape_distances(shape.expected_distances(), self.card.bits, measure.bits)
        return found

    def wishes(self, request: SearchRequest) -> Understood:
        """What the text of a search asks for."""
        return self.vocabulary.understand(request.text)

    def shown(self, request: SearchRequest) -> tuple[str, ...]:
        """The aspects that hits are to carry."""
        return tuple(sorted(self.summary.values)) if "*" in request.show else request.show

    def pool(self, query: EncodedQuery, request: SearchRequest, found: Candidates) -> Candidates:
        """The candidates that may be answered: not those excluded, nor the query's own product."""
        own = frozenset() if query.own_group is None else {query.own_group}
        return without(found, request.exclude, request.exclude_groups | own)

    def nearest(self, query: EncodedQuery, request: SearchRequest, found: Candidates) -> int | None:
        """The least distance in the pool, in bits."""
        distances = self.pool(query, request, found).distance
        return int(distances.min()) if len(distances) else None

    def facets(self, query: EncodedQuery, request: SearchRequest, found: Candidates) -> Facets | None:
        """What the pool states, where it is asked for."""
        if not request.facets:
            return None
        return Facets.of(self.pool(query, request, found).listings(sorted(self.summary.values)))

    def hits(
        self,
        query: EncodedQuery,
        request: SearchRequest,
        wanted: Wanted,
        found: Candidates,
    ) -> tuple[tuple[Hit, ...], tuple[int, ...]]:
        """The best of the candidates, and the shards missing. More are scanned until there are enough, or no more rows;
        they follow those before, so that an answer does not depend on how many hits are asked for."""
        reachable, before, hits = self.rows(wanted.categories), Before(), list[Hit]()
        beyond = self._widened(request, wanted, found)
        shown = frozenset() if beyond is found else frozenset(beyond.listing_ids())
        while True:
            if before.candidates:
                beyond = without(found.take(range(before.candidates, len(found))), shown, ())
            hits += self._order(query, request, beyond, before)
            whole = len(found) < wanted.k or wanted.k >= reachable
            if len(hits) == request.reach or whole or request.sort:
                return tuple(hits), found.missing
            before.candidates = len(found)
            wanted = replace(wanted, k=min(reachable, wanted.k * 4))
            (found,) = self.listings.nearest([wanted])

    def _widened(self, request: SearchRequest, wanted: Wanted, found: Candidates) -> Candidates:
        """What was found, with the nearest of those that fulfil the wishes of a text."""
        barred = expand_categories(request.categories_not, self.summary.rows)
        known = [category for category in self.summary.rows if category not in barred]
        more = widened(self.wishes(request), wanted, known, fixed=bool(request.categories))
        if not more:
            return found
        shapes = [self.by_shape(want) for want in more]
        others = self.listings.nearest([*more, *filter(None, shapes)])
        by_shapes = iter(others[len(more) :])
        return joined([found, *(self.measured(each, next(by_shapes, None)) for each in others[: len(more)])])

    def _order(
        self,
        query: EncodedQuery,
        request: SearchRequest,
        candidates: Candidates,
        before: Before,
    ) -> tuple[Hit, ...]:
        candidates = self.pool(query, request, candidates)
        if not len(candidates):
            return ()
        scores = np.minimum(self._scores(query, request, candidates, before), before.score)
        # Whatever aspects say, nothing looks more like a photo than the photo itself.
        same = candidates.distance <= self.config.same_photo * self.card.bits
        if wishes := self.wishes(request):
            same &= fulfilled(wishes, candidates) == 1  # "this in red" asks for another
        scores[same] = 1.0
        # Candidates come by distance and listing id, and a stable sort keeps that order among equal scores.
        order = np.lexsort((-scores, ~same)).tolist()
        if request.sort:
            column = self.summary.sortable[request.sort.removeprefix("-")]
            order = _by_number(candidates.numbers(column), order, highest_first=request.sort.startswith("-"))
        limit = request.reach - before.hits
        if self.config.group:
            groups = groups_of(candidates, order, limit)
            order = [order[i] for i in first_of_each_group(groups, limit=limit, seen=before.groups)]
        best = order[:limit]
        before.passed(scores[best])
        shown, carried = candidates.take(best), self.shown(request)
        listings = shown.listings(dict.fromkeys((*query.expected.aspects, *carried)))
        alike = in_words_of(self.measure(query), self.least(request), shown.near, same[best].tolist())
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
                aspects={n: v for n, v in found.aspects.items() if n in carried} if carried else None,
                extra=found.extra,
                explain=explained,
            )
            for found, explained, distance, score, (likeness, words) in zip(
                listings,
                self._explained(query, request, shown, before) if request.explain else [None] * len(shown),
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
        distances = self._distances(request, candidates)
        scale = before.scale = before.scale or Scale.of(
            distances, self.card.bits, relative=self.config.relative
        )
        scores = self._blended(query, request, candidates, scale.appearances(distances))
        if wishes := self.wishes(request):
            weight = self.config.text.weight
            scores = (scores + weight * fulfilled(wishes, candidates)) / (1 + weight)
        return scores

    def _blended(
        self, query: EncodedQuery, request: SearchRequest, candidates: Candidates, appearance: np.ndarray
    ) -> np.ndarray:
        """f64[m], 0 to 1: `appearance` f64[m] blended with the reward for aspects that are as expected."""
        blend = self._blend(query, request)
        if blend == 1:
            return appearance
        scores: np.ndarray = blend * appearance + (1 - blend) * self._rewards(query, candidates)
        return scores

    def _distances(self, request: SearchRequest, candidates: Candidates) -> np.ndarray:
        """[m]: re-scored, colours counted as often as asked, where that is configured; in bits."""
        if not self.config.asymmetric:
            return candidates.distance
        return self.emphasis(request).distances(candidates.expected_distances())

    def _blend(self, query: EncodedQuery, request: SearchRequest) -> float:
        """The weight of appearance; 1 where nothing else is known."""
        if not query.expected:
            return 1.0
        return self.config.blend if request.blend is None else request.blend

    def _rewards(self, query: EncodedQuery, candidates: Candidates) -> np.ndarray:
        chances = {name: candidates.chances(name, values) for name, values in query.expected.aspects.items()}
        return rewards(query.expected, chances, candidates.prices(), self.config)

    def _explained(
        self, query: EncodedQuery, request: SearchRequest, shown: Candidates, before: Before
    ) -> list[Mapping[str, float | bool]]:
        """The parts of each score: distance after the re-score, appearance, aspect reward, and whether it is the photo
        itself, which comes first whatever they are."""
        assert before.scale is not None
        distances, blend = self._distances(request, shown), self._blend(query, request)
        reward = self._rewards(query, shown) if blend < 1 else np.zeros(len(shown))
        same = shown.distance <= self.config.same_photo * self.card.bits
        wishes = self.wishes(request)
        text = fulfilled(wishes, shown) if wishes else np.zeros(len(shown))
        if wishes:
            same &= text == 1
        parts = (distances, before.scale.appearances(distances), reward, text, same)
        return [
            {
                "rescored_distance": round(distance, 3),
                "appearance": round(appearance, 6),
                "aspects": round(rewarded, 6),
                "text": round(wished, 6),
                "same_photo": bool(itself),
            }
            for distance, appearance, rewarded, wished, itself in zip(
                *(part.tolist() for part in parts), strict=True
            )
        ]

    def explain(
        self, query: EncodedQuery, request: SearchRequest, wanted: Wanted, found: Candidates
    ) -> Mapping[str, Any] | None:
        """How an answer came about, where that is asked for: why these categories were opened, how many listings each
        has, how many were ordered together, and the weights."""
        if not request.explain:
            return None
        route = "listing" if query.own_category is not None else "predicted"
        if request.everything or request.categories:
            route = "everything" if request.everything else "categories"
        return {
            "route": route,
            "opened": {category: self.summary.rows[category] for category in wanted.categories},
            "pool": len(self.pool(query, request, found)),
            "bits": self.card.bits,
            "alpha": self._blend(query, request),
            "text": self.config.text.weight if self.wishes(request) else 0.0,
            "colour": self.emphasis(request).colour,
        }

    def mixed(
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
        """A hit from beyond, found by a part of its photo's code, with the distance of all of it."""
        found = self.listings.find(hit.listing_id) if hit.beyond else None
        if found is None:
            return hit
        listing, codes = found
        own = np.stack([query.code, *(code for code, _ in query.others)])
        distance = int(np.bitwise_count(own ^ codes[listing.photos.index(hit.photo_id)]).sum(axis=1).min())
        near, measure = None, self.measure(query)
        if measure is not None:
            shapes = np.unpackbits(own[:, None] ^ codes, axis=2)[:, :, slice(*measure.bits)]
            near = np.array([shapes.sum(axis=2).min()], np.float64)
        same = distance <= self.config.same_photo * self.card.bits
        ((likeness, words),) = in_words_of(measure, self.least(request), near, [same])
        return replace(hit, distance=distance, likeness=likeness, alike=words)


def _by_number(numbers: np.ndarray, order: Sequence[int], *, highest_first: bool) -> list[int]:
    """`order` by the `numbers` f64[m] of its candidates, those without one last, equal numbers as they were."""
    ordered = numbers[list(order)]
    keys = -ordered if highest_first else ordered
    found: list[int] = np.asarray(order)[np.argsort(keys, kind="stable")].tolist()  # NaN sorts last
    return found
