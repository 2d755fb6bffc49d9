"""A search's parameters as people and programs write them: text in, checked values out.

The HTTP API and the command line read the same texts by the same rules, so what one takes the other takes. Numbers are
read as every language prints a double: ``0.5``, ``1e-7``, ``-0.0``, seventeen digits. Each function raises `QueryError`
naming the parameter.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from difflib import get_close_matches

from lookalike.errors import QueryError
from lookalike.imaging.photos import Box
from lookalike.ranking.filters import NUMBERS, Choices, Range
from lookalike.ranking.request import SearchRequest

# A plus that an address does not escape arrives as a space: 1e+21 as "1e 21".
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+\- ]?[0-9]+)?")
_INTEGER = re.compile(r"[0-9]{1,9}")
_ROUNDING = 0.01
"""How far a box may reach over the photo's edge, as a fraction of its side: corners rounded to whole percents do."""
_SMALLEST_SIDE = 1e-6
"""A box has at least this width and height, far less than a pixel: finite sizes come of dividing by it."""
_NAMES_SHOWN = 40


def parse_number(name: str, text: str) -> float:
    """A finite double; -0.0 becomes 0.0."""
    written = text.strip()
    if not _NUMBER.fullmatch(written):
        raise QueryError(f"{name}: {text[:40]!r} is not a finite number, such as 0.25 or 1e-7")
    value = float(written.replace(" ", "+"))
    if not math.isfinite(value):
        raise QueryError(f"{name}: {text[:40]!r} is larger than a number can be")
    return value + 0.0


def parse_integer(name: str, text: str) -> int:
    """A whole number of at least 0."""
    if not _INTEGER.fullmatch(text.strip()):
        raise QueryError(f"{name}: {text[:40]!r} is not a whole number")
    return int(text)


def parse_flag(name: str, text: str) -> bool:
    """``true`` or ``false``, whatever the case."""
    value = {"true": True, "false": False}.get(text.strip().casefold())
    if value is None:
        raise QueryError(f"{name}: {text[:40]!r} is neither true nor false")
    return value


def parse_price(text: str) -> tuple[float | None, float | None]:
    """``10..50``, ``10..`` or ``..50``: the lowest and the highest price."""
    return _bounds("price", text)


def _bounds(name: str, text: str) -> tuple[float | None, float | None]:
    low, dots, high = text.partition("..")
    if not dots or not (low or high):
        raise QueryError(f"{name}: give a range such as 10..50, 10.. or ..50")
    return (parse_number(name, low) if low else None), (parse_number(name, high) if high else None)


def parse_box(text: str) -> Box:
    """``x,y,width,height`` as fractions of the photo; what reaches over its edge by rounding is cut off."""
    parts = [parse_number("box", part) for part in text.split(",")]
    if len(parts) != 4:
        raise QueryError("box: give x,y,width,height as fractions of the photo, such as 0.1,0.2,0.5,0.5")
    x, y, width, height = parts
    left, across = _side(x, width)
    top, down = _side(y, height)
    return left, top, across, down


def _side(start: float, length: float) -> tuple[float, float]:
    """Start and length of a box along one side of the photo, cut off at its edges."""
    end = start + length
    low, high = max(0.0, start), min(1.0, end)
    if length <= 0 or start < -_ROUNDING or end > 1 + _ROUNDING or low >= 1 or high <= 0:
        raise QueryError("box does not lie in the photo: give x,y,width,height as fractions of 0..1")
    kept = length if (low, high) == (start, end) else high - low
    kept = max(kept, _SMALLEST_SIDE)
    return min(low, 1 - kept), kept


def parse_aspects(items: Sequence[str], parameter: str = "aspects") -> Choices:
    """``colour=red`` and ``colour=blue`` mean either; ``size=41`` beside them means both."""
    wanted: dict[str, list[str]] = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not (name and equals and value):
            raise QueryError(f"{parameter}: {item[:40]!r} is not of the form name=value")
        wanted.setdefault(name, []).append(value)
    return tuple((name, tuple(sorted(set(values)))) for name, values in sorted(wanted.items()))


def parse_ranges(items: Sequence[str]) -> tuple[Range, ...]:
    """``weight=10..50``: as a price, of any column or aspect that has numbers. Each name once."""
    found: dict[str, Range] = {}
    for item in items:
        name, equals, text = item.partition("=")
        if not (name and equals):
            raise QueryError(f"ranges: {item[:40]!r} is not of the form name=low..high")
        if name in found:
            raise QueryError(f"ranges: {name[:40]} is given twice")
        found[name] = (name, *_bounds(f"ranges: {name[:40]}", text))
    return tuple(found[name] for name in sorted(found))


def check_names(request: SearchRequest, known: Sequence[str], numbers: Collection[str] = NUMBERS) -> None:
    """Refuse an aspect, to filter by or to be shown, that is none of `known`, sorted names, and a sort by what is none
    of `numbers`. A value that nothing has is no error."""
    if request.sort is not None and request.sort.removeprefix("-") not in numbers:
        offered = " or ".join(sign + name for name in numbers for sign in ("", "-"))
        raise QueryError(f"sort is {offered}, not {request.sort[:40]!r}")
    filters = request.filters
    named = [name for name, _ in (*filters.aspects, *filters.aspects_not)]
    named += [name for name in request.show if name != "*"]
    for name in (*named, *(name for name, *_ in filters.ranges if name not in numbers)):
        if name in known:
            continue
        by_case = {each.casefold(): each for each in known}
        near = get_close_matches(name.casefold(), by_case, 1)
        meant = f"; did you mean {by_case[near[0]]!r}?" if near else "."
        more = f" and {len(known) - _NAMES_SHOWN} more" if len(known) > _NAMES_SHOWN else ""
        there = f"there are {', '.join(known[:_NAMES_SHOWN])}{more}" if known else "listings have none"
        raise QueryError(f"unknown aspect {name[:40]!r}{meant} {there[0].upper()}{there[1:]}")
