"""The search API's wire format: parameters to a `SearchRequest`, an `Answer` to JSON (openapi.json describes both).

A parameter that may have several values is repeated (``categories=a&categories=b``). Unknown parameters are refused,
since a misspelt filter that is silently ignored is worse than an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lookalike.catalogue.photos import Box
from lookalike.errors import QueryError
from lookalike.ranking.request import Answer, Filters, Hit, SearchRequest

PARAMETERS = ("listing_id", "k", "categories", "aspects", "price", "box", "alpha", "exclude")
_REPEATED = ("categories", "aspects", "exclude")
_MAXIMUM_REPEATS = 100
_MAXIMUM_TEXT = 500
_NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]{1,18})?|\.[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class SearchParameters:
    """One search as a client asked for it; `listing_id` is None where a photo is the query."""

    request: SearchRequest
    box: Box | None = None
    listing_id: str | None = None


def parse_parameters(items: Iterable[tuple[str, str]]) -> SearchParameters:
    """Parameters of the query string and of form fields. Raises `QueryError` naming the parameter."""
    single: dict[str, str] = {}
    repeated: dict[str, list[str]] = {name: [] for name in _REPEATED}
    for name, value in items:
        if name not in PARAMETERS:
            raise QueryError(f"unknown parameter {name[:40]!r}; there are {', '.join(PARAMETERS)}")
        if len(value) > _MAXIMUM_TEXT:
            raise QueryError(f"{name}: a value may have {_MAXIMUM_TEXT} characters at most")
        if name in repeated:
            repeated[name].append(value)
            if len(repeated[name]) > _MAXIMUM_REPEATS:
                raise QueryError(f"{name}: at most {_MAXIMUM_REPEATS} values")
        elif name in single:
            raise QueryError(f"{name} is given twice")
        else:
            single[name] = value
    defaults = SearchRequest()
    low, high = _price(single["price"]) if "price" in single else (None, None)
    request = SearchRequest(
        k=_integer("k", single["k"]) if "k" in single else defaults.k,
        categories=tuple(repeated["categories"]),
        filters=Filters(_aspects(repeated["aspects"]), low, high),
        blend=_number("alpha", single["alpha"]) if "alpha" in single else None,
        exclude=frozenset(repeated["exclude"]),
    )
    box = _box(single["box"]) if "box" in single else None
    return SearchParameters(request, box, single.get("listing_id"))


def answer_json(answer: Answer, milliseconds: Mapping[str, float]) -> dict[str, Any]:
    """The reply's body; `milliseconds` adds the stages that the service itself timed."""
    partial = {"partial": {"missing_shards": list(answer.missing_shards)}} if answer.missing_shards else {}
    return partial | {
        "hits": [hit_json(hit) for hit in answer.hits],
        "categories": [
            {"category": guess.category, "probability": guess.probability, "opened": guess.opened}
            for guess in answer.categories
        ],
        "aspects": {
            name: [{"value": value, "probability": probability} for value, probability in values]
            for name, values in answer.aspects.items()
        },
        "release": answer.release,
        "index": answer.index,
        "scanned": answer.scanned,
        "milliseconds": {name: round(value, 3) for name, value in milliseconds.items()},
    }


def hit_json(hit: Hit) -> dict[str, Any]:
    return {
        "listing_id": hit.listing_id,
        "photo_id": hit.photo_id,
        "category": hit.category,
        "score": hit.score,
        "distance": hit.distance,
        "price": hit.price,
        "group": hit.group,
        "matched_aspects": dict(hit.matched_aspects),
    }


def _aspects(items: Sequence[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """``colour=red`` and ``colour=blue`` mean either; ``size=41`` beside them means both."""
    wanted: dict[str, list[str]] = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not (name and equals and value):
            raise QueryError(f"aspects: {item[:40]!r} is not of the form name=value")
        wanted.setdefault(name, []).append(value)
    return tuple((name, tuple(sorted(set(values)))) for name, values in sorted(wanted.items()))


def _price(text: str) -> tuple[float | None, float | None]:
    low, dots, high = text.partition("..")
    if not dots or not (low or high):
        raise QueryError("price: give a range such as 10..50, 10.. or ..50")
    return (_number("price", low) if low else None), (_number("price", high) if high else None)


def _box(text: str) -> Box:
    parts = [_number("box", part) for part in text.split(",")]
    if len(parts) != 4:
        raise QueryError("box: give x,y,width,height as fractions of the photo, such as 0.1,0.2,0.5,0.5")
    x, y, w, h = parts
    if w <= 0 or h <= 0 or x + w > 1 + 1e-6 or y + h > 1 + 1e-6:
        raise QueryError("box does not lie in the photo: give x,y,width,height as fractions of 0..1")
    return x, y, w, h


def _number(name: str, text: str) -> float:
    if not _NUMBER.fullmatch(text.strip()):
        raise QueryError(f"{name}: {text[:40]!r} is not a number of at least 0")
    return float(text)


def _integer(name: str, text: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text.strip(), re.ASCII):
        raise QueryError(f"{name}: {text[:40]!r} is not a whole number")
    return int(text)
