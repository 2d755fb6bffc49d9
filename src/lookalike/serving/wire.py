"""The search API's wire format: parameters to a `SearchRequest`, an `Answer` to JSON (openapi.json describes both).

A parameter that may have several values is repeated (``categories=a&categories=b``). Unknown parameters are refused,
since a misspelt filter that is silently ignored is worse than an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lookalike.errors import QueryError
from lookalike.imaging.photos import Box
from lookalike.ranking.parameters import (
    parse_aspects,
    parse_box,
    parse_flag,
    parse_integer,
    parse_number,
    parse_price,
)
from lookalike.ranking.request import Answer, Filters, SearchRequest

PARAMETERS = (
    "listing_id", "k", "offset", "categories", "everything", "aspects", "price", "box", "alpha", "colour",
    "least_likeness", "photos", "exclude",
)  # fmt: skip
_REPEATED = ("categories", "aspects", "exclude")
_MAXIMUM_REPEATS = 100
_MAXIMUM_TEXT = 500


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
    low, high = parse_price(single["price"]) if "price" in single else (None, None)
    request = SearchRequest(
        k=parse_integer("k", single["k"]) if "k" in single else defaults.k,
        offset=parse_integer("offset", single["offset"]) if "offset" in single else 0,
        categories=tuple(repeated["categories"]),
        everything=parse_flag("everything", single["everything"]) if "everything" in single else False,
        filters=Filters(parse_aspects(repeated["aspects"]), low, high),
        blend=parse_number("alpha", single["alpha"]) if "alpha" in single else None,
        colour=parse_number("colour", single["colour"]) if "colour" in single else None,
        least_likeness=parse_number("least_likeness", single["least_likeness"])
        if "least_likeness" in single
        else None,
        every_photo=_every_photo(single.get("photos", "main")),
        exclude=frozenset(repeated["exclude"]),
    )
    box = parse_box(single["box"]) if "box" in single else None
    return SearchParameters(request, box, single.get("listing_id"))


def _every_photo(text: str) -> bool:
    if text not in ("main", "all"):
        raise QueryError(f"photos is main or all, not {text[:40]!r}")
    return text == "all"


def answer_json(answer: Answer, milliseconds: Mapping[str, float]) -> dict[str, Any]:
    """The reply's body; `milliseconds` adds the stages that the service itself timed."""
    partial = {"partial": {"missing_shards": list(answer.missing_shards)}} if answer.missing_shards else {}
    return partial | {
        "hits": [hit.to_json() for hit in answer.hits],
        "categories": [
            {"category": guess.category, "probability": guess.probability, "opened": guess.opened}
            for guess in answer.categories
        ],
        "aspects": {
            name: [{"value": value, "probability": probability} for value, probability in values]
            for name, values in answer.aspects.items()
        },
        "likeness": answer.judged.likeness,
        "nothing_alike": answer.judged.nothing_alike,
        "release": answer.release,
        "index": answer.index,
        "delta": answer.delta or None,
        "scanned": answer.scanned,
        "unlearned": answer.unlearned,
        "milliseconds": {name: round(value, 3) for name, value in milliseconds.items()},
    }
