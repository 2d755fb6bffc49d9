"""A query as the ranking sees it: a code, weights for its bits, category probabilities, and what to expect of hits.

A photo gets them from the encoder and the aspect models, a listing from the index: its stored code is certain of
every bit, its category is known, and its own aspects and price are what a good hit should have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lookalike.aspects.models import AspectModels, Predictions
from lookalike.coding.encoder import Encoding
from lookalike.coding.release import ModelCard
from lookalike.index.likeness import Likeness
from lookalike.ranking import carried
from lookalike.ranking.listings import IndexedListing
from lookalike.ranking.request import CategoryGuess, Query, SearchRequest
from lookalike.ranking.rescoring import bit_probabilities
from lookalike.ranking.rewards import Expectation
from lookalike.ranking.trust import Trusted

_GUESSES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class EncodedQuery:
    """Everything that ranking needs to know of one query."""

    code: np.ndarray
    """u8[bits // 8]"""
    bit_probabilities: np.ndarray
    """f32[bits]: how sure the query is that each bit is 1."""
    probabilities: np.ndarray
    """f32[C]: of each leaf category of the model card."""
    expected: Expectation
    aspects: Mapping[str, list[tuple[str, float]]]
    """What the reply says of the query's aspects."""
    own_category: str | None = None
    """The category of the listing that was asked for, which the model may not know."""
    others: tuple[tuple[np.ndarray, np.ndarray], ...] = ()
    """Code and bit probabilities, as above, of further photos of the listing that was asked for."""
    cosine: float | None = None
    """Of a photo's features with the catalogue's mean (`index.likeness`); None where there is none."""
    regions: np.ndarray | None = None
    """f32[s, s] of a photo: how like the catalogue each part of its frame is; None where nothing says so."""
    own_group: str | None = None
    """The group of the listing that was asked for, whose members are no answer to it."""

    @property
    def carried(self) -> bytes:
        """What searches by the same photo again (`carried`); empty where a listing was asked for."""
        if self.own_category is not None:
            return b""
        return carried.pack(
            carried.Carried(self.code, self.bit_probabilities, self.probabilities, self.cosine, self.aspects)
        )


def of_photos(
    encoding: Encoding,
    predicted: Sequence[Predictions],
    card: ModelCard,
    trusted: Trusted,
    likeness: Likeness | None,
) -> list[EncodedQuery]:
    """One `EncodedQuery` for each photo of a batch, with those of its predictions that are trusted."""
    weights = bit_probabilities(encoding.activations, card.threshold_array)
    parts = (
        encoding.codes,
        carried.kept_probabilities(weights, encoding.codes),
        carried.kept_categories(encoding.probabilities),
        [
            None if likeness is None else carried.kept_cosine(likeness.seen_from(f).cosine)
            for f in encoding.features
        ],
        predicted,
    )
    found = [_of_photo(carried.Carried(*each), trusted) for each in zip(*parts, strict=True)]
    if not encoding.regions.size:
        return found
    return [replace(each, regions=seen) for each, seen in zip(found, encoding.regions, strict=True)]


def of_carried(data: bytes, card: ModelCard, trusted: Trusted) -> EncodedQuery:
    """The query that `EncodedQuery.carried` stands for. Raises `QueryError`."""
    return _of_photo(carried.unpack(data, card), trusted)


def _of_photo(photo: carried.Carried, trusted: Trusted) -> EncodedQuery:
    sure_from = {name: each.sure_from for name, each in trusted.items()}
    skill = {name: each.skill for name, each in trusted.items()}
    return EncodedQuery(
        code=photo.code,
        bit_probabilities=photo.bit_probabilities,
        probabilities=photo.categories,
        cosine=photo.cosine,
        expected=Expectation.of_photo(photo.aspects, sure_from, skill),
        aspects=photo.aspects,
    )


def predict_aspects(models: AspectModels, encoding: Encoding) -> list[Predictions]:
    """Aspect predictions of a batch; cheap where a release has no aspect models."""
    if not models.models:
        return [{} for _ in encoding.codes]
    return models.predict(encoding.features, encoding.probabilities)


def of_listing(listing: IndexedListing, codes: np.ndarray, card: ModelCard) -> EncodedQuery:
    """The query that looks for more like one listing of the index, by the stored codes u8[n, bits // 8] of some of its
    photos, the main one first."""
    chances = np.array([c == listing.category for c in card.categories], np.float32)
    return EncodedQuery(
        code=codes[0],
        others=tuple((code, np.unpackbits(code).astype(np.float32)) for code in codes[1:]),
        bit_probabilities=np.unpackbits(codes[0]).astype(np.float32),
        probabilities=chances,
        expected=Expectation.of_listing(listing.aspects, listing.price),
        aspects={name: [(value, 1.0) for value in values] for name, values in listing.aspects.items()},
        own_category=listing.category,
        own_group=listing.group,
    )


def photos_of(queries: Sequence[Query]) -> np.ndarray | None:
    """u8[n, side, side, 3] of the queries that are photos, or None where there is none."""
    photos = [query.photo for query in queries if query.photo is not None]
    return np.stack(photos) if photos else None


def guesses(
    query: EncodedQuery, opened: Sequence[str], known: Mapping[str, int], request: SearchRequest
) -> tuple[CategoryGuess, ...]:
    """The categories `opened` and the likeliest others, likeliest first. Those that were opened because everything was
    asked for, or because the model does not know them, are no news.

    `known` is the place of each category in the query's probabilities.
    """
    names = list(known)
    likeliest = np.argsort(-query.probabilities, kind="stable")[:_GUESSES_SHOWN].tolist()
    shown = {names[i]: float(query.probabilities[i]) for i in likeliest}
    for name in () if request.everything else opened:
        i = known.get(name)
        if i is None and not request.categories:
            continue
        shown[name] = 0.0 if i is None else float(query.probabilities[i])
    if query.own_category is not None:
        shown[query.own_category] = 1.0
    ranked = sorted(shown, key=lambda name: (-shown[name], name))
    return tuple(CategoryGuess(name, round(shown[name], 4), name in opened) for name in ranked)
