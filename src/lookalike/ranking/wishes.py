"""Wishes of a text in the ranking: which listings fulfil them, and where more of those are found.

Enters: an understood text (`words`), a query and its candidates. Leaves: a number from 0 to 1 for each candidate, with
which the score is blended. Wishes only prefer: what fulfils none is found all the same. A further scan among those that
fulfil them widens the pool, whatever k is, so that ten hits stay the first of two hundred.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from itertools import islice

import numpy as np

from lookalike.ranking.encoded import EncodedQuery
from lookalike.ranking.listings import Candidates, Wanted
from lookalike.ranking.request import SearchRequest
from lookalike.ranking.words import Understood, Wish

_SCANS = 6
"""The most scans that widen the pool of one search."""


def fulfilled(understood: Understood, candidates: Candidates) -> np.ndarray:
    """f64[m], 0 to 1: the share of the wishes that each candidate fulfils."""
    met = np.zeros(len(candidates))
    for wish in understood.wishes:
        has = np.zeros(len(candidates), bool)
        for aspect, values in wish.aspects:
            has |= candidates.chances(aspect, dict.fromkeys(values, 1.0)) > 0
        if wish.categories:
            has |= np.isin(candidates.categories(), wish.categories)
        met += ~has if wish.against else has
    return met / max(len(understood.wishes), 1)


def changed(
    query: EncodedQuery, request: SearchRequest, understood: Understood
) -> tuple[EncodedQuery, SearchRequest]:
    """The query without what the photo says of that which the text says otherwise.

    An aspect that a wish names is expected as the wish has it, and with a colour the photo's own colours count nothing.
    """
    if not understood:
        return query, request
    expected = query.expected
    aspects = {name: chances for name, chances in expected.aspects.items() if name not in understood.aspects}
    for wish in understood.wishes:
        for name, values in () if wish.against else wish.aspects:
            aspects[name] = {**aspects.get(name, {}), **dict.fromkeys(values, 1.0)}
    sure_from = {name: least for name, least in expected.sure_from.items() if name in aspects}
    skill = {name: worth for name, worth in expected.skill.items() if name not in understood.aspects}
    for name in understood.aspects:
        sure_from.pop(name, None)
    query = replace(query, expected=replace(expected, aspects=aspects, sure_from=sure_from, skill=skill))
    if understood.about_colour and request.colour is None:
        request = replace(request, colour=0.0)
    return query, request


def widened(understood: Understood, wanted: Wanted, known: Collection[str], *, fixed: bool) -> list[Wanted]:
    """Scans among the listings that fulfil the wishes: all of them together, and each alone.

    `known` are all categories, of which wishes may open more than `wanted` has, unless it is `fixed` which are opened.
    """
    wishes = [wish for wish in understood.wishes if not wish.against]
    asked: list[tuple[Wish, ...]] = [(wish,) for wish in wishes]
    if len(wishes) > 1:
        asked.insert(0, tuple(wishes))
    scans: dict[tuple[object, ...], Wanted] = {}
    for together in asked:
        for scan in _scans(together, wanted, known, fixed=fixed):
            scans.setdefault((scan.categories, scan.filters), scan)
    return list(scans.values())[:_SCANS]


def _scans(wishes: tuple[Wish, ...], wanted: Wanted, known: Collection[str], *, fixed: bool) -> list[Wanted]:
    """Those that find what fulfils all of `wishes`, each in one of the ways that it can be fulfilled."""
    found = [wanted]
    for wish in wishes:
        ways = (way for scan in found for way in _ways(wish, scan, known, fixed=fixed))
        found = list(islice(ways, _SCANS))
    return [scan for scan in found if scan is not wanted and scan.categories]


def _ways(wish: Wish, wanted: Wanted, known: Collection[str], *, fixed: bool) -> list[Wanted]:
    filters = wanted.filters
    ways = [
        replace(wanted, filters=replace(filters, aspects=(*filters.aspects, choice)))
        for choice in wish.aspects
    ]
    if wish.categories:
        allowed = wanted.categories if fixed else known
        ways.append(replace(wanted, categories=tuple(c for c in wish.categories if c in allowed)))
    return ways
