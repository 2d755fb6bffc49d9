"""A whole search from the names and texts of its parameters, for whoever asks one.

The HTTP API, the command line and `api.Shop.search` come here, so what one takes the others take, by the same rules and
with the same words where something is wrong. `model` declares the parameters. One that may have several values is
repeated (``categories=a&categories=b``). Unknown parameters are refused, since a misspelt filter that is silently
ignored is worse than an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from lookalike.errors import QueryError
from lookalike.imaging.photos import Box
from lookalike.ranking.filters import LABELS, Choices, Filters
from lookalike.ranking.model import BY_NAME, MAXIMUM_VALUES, REPEATED
from lookalike.ranking.parameters import (
    parse_aspects,
    parse_box,
    parse_flag,
    parse_integer,
    parse_number,
    parse_price,
    parse_ranges,
)
from lookalike.ranking.request import SearchRequest

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class SearchParameters:
    """One search as a client asked for it; a photo is the query where it names no other."""

    request: SearchRequest
    box: Box | None = None
    listing_id: str | None = None
    query_id: str | None = None
    image_url: str | None = None


def parse_parameters(items: Iterable[tuple[str, str]]) -> SearchParameters:
    """Parameters of the query string and of form fields. Raises `QueryError` naming the parameter."""
    single: dict[str, str] = {}
    repeated: dict[str, list[str]] = {name: [] for name, each in BY_NAME.items() if each.kind in REPEATED}
    for name, value in items:
        if name not in BY_NAME:
            raise QueryError(f"unknown parameter {name[:40]!r}; there are {', '.join(BY_NAME)}")
        if len(value) > BY_NAME[name].longest:
            raise QueryError(f"{name}: a value may have {BY_NAME[name].longest} characters at most")
        if name in repeated:
            repeated[name].append(value)
            if len(repeated[name]) > MAXIMUM_VALUES:
                raise QueryError(f"{name}: at most {MAXIMUM_VALUES} values")
        elif name in single:
            raise QueryError(f"{name} is given twice")
        else:
            single[name] = value

    def one(name: str, parse: Callable[[str, str], _T], default: _T) -> _T:
        return parse(name, single[name]) if name in single else default

    low, high = parse_price(single["price"]) if "price" in single else (None, None)
    request = SearchRequest(
        k=one("k", parse_integer, SearchRequest().k),
        offset=one("offset", parse_integer, 0),
        categories=tuple(repeated["categories"]),
        categories_not=tuple(repeated["categories_not"]),
        everything=one("everything", parse_flag, default=False),
        filters=Filters(
            aspects=parse_aspects(repeated["aspects"]),
            price_from=low,
            price_to=high,
            aspects_not=parse_aspects(repeated["aspects_not"], "aspects_not"),
            labels=_chosen(repeated, ""),
            labels_not=_chosen(repeated, "_not"),
            ranges=parse_ranges(repeated["ranges"]),
        ),
        text=single.get("text", ""),
        blend=one("alpha", parse_number, None),
        colour=one("colour", parse_number, None),
        least_likeness=one("least_likeness", parse_number, None),
        every_photo=_every_photo(single.get("photos", "main")),
        exclude=frozenset(repeated["exclude"]),
        exclude_groups=frozenset(repeated["exclude_group"]),
        sort=single.get("sort"),
        show=tuple(dict.fromkeys(repeated["show"])),
        explain=one("explain", parse_flag, default=False),
        facets=one("facets", parse_flag, default=False),
    )
    box = parse_box(single["box"]) if "box" in single else None
    return SearchParameters(request, box, *(single.get(n) for n in ("listing_id", "query_id", "image_url")))


def _chosen(repeated: Mapping[str, list[str]], ending: str) -> Choices:
    """The values that are asked for of each column of labels."""
    named = ((name, repeated[name + ending]) for name in LABELS)
    return tuple((name, tuple(sorted(set(values)))) for name, values in named if values)


def _every_photo(text: str) -> bool:
    if text not in ("main", "all"):
        raise QueryError(f"photos is main or all, not {text[:40]!r}")
    return text == "all"
