"""A day or a month at a glance: four pictures, and the categories that people look for.

Enters: what search processes counted (`traffic`), what was live (`overview`), the quality of releases. Leaves: JSON
with the pictures as SVG. Everything here blocks; the application calls it on a thread.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from lookalike.console.charts import Line, chart
from lookalike.console.overview import Overview, ReleaseQuality
from lookalike.console.plot import quality_plot
from lookalike.traffic import Interval, TrafficReader

SPANS = {"24h": (86_400, 1800), "30d": (30 * 86_400, 86_400)}
"""Seconds that are shown, and of one point."""
_TOP = 8
_MOVED = 0.05
"""A category whose share of the searches differs by more from the time before is marked as moved."""


class Trends:
    """Makes the pictures of one store."""

    def __init__(self, overview: Overview, *, clock: Callable[[], float] = time.time) -> None:
        self._overview, self._clock = overview, clock
        self._traffic = TrafficReader(overview.store)

    def of(self, span: str) -> dict[str, Any]:
        """`span` is one of `SPANS`. Raises `StorageError`."""
        seconds, step = SPANS[span]
        end = self._clock()
        begin = (end - seconds) // step * step
        found = self._traffic.intervals(begin - seconds, step=step)
        before, rows = [r for r in found if r.at < begin], [r for r in found if r.at >= begin]
        releases = self._overview.releases()
        return {
            "span": span,
            "pictures": [
                _searches(begin, end, step, rows),
                _answers(begin, end, step, rows),
                self._inventory(begin, end),
                {
                    "title": "Quality of the last model releases",
                    "svg": quality_plot(releases),
                    "legend": _measures(releases),
                    "none": "No model release yet.",
                },
            ],
            "categories": _categories(rows, before),
            "store": self._overview.size(),
        }

    def _inventory(self, begin: float, end: float) -> dict[str, Any]:
        published = self._overview.published()
        past = [p for p in published if p["at"] <= begin][-1:]
        shown = [p | {"at": max(p["at"], begin)} for p in past] + [p for p in published if p["at"] > begin]
        if shown:
            shown.append(shown[-1] | {"at": end})
        listings = Line("listings", "steps", "m0", [(p["at"], p["listings"]) for p in shown])
        left = Line(
            "rows left out (right)",
            "steps",
            "m3",
            [(p["at"], p["left_out"]) for p in shown],
            lambda v: f"{v:.0%}",
        )
        marks = [(p["at"], f"#{p['sequence']} went live") for p in published]
        age = f"{_span(end - published[-1]['at'])}" if published else ""
        return {
            "title": "Listings, rows left out, freshness",
            "svg": chart(
                "Listings and the share of rows left out", begin, end, [listings], [left], marks, least_top=0
            ),
            "legend": [
                *_legend(listings, left),
                {"name": "▲ published; what is live is old", "css": "", "value": age},
            ],
            "none": "Nothing has been published yet.",
        }


def _searches(begin: float, end: float, step: int, rows: Sequence[Interval]) -> dict[str, Any]:
    per_minute = step / 60
    searches = Line(
        "searches a minute",
        "area",
        "m0",
        [(r.at, r.searches / per_minute) for r in _every(begin, end, step, rows)],
        _small,
    )
    failed = Line(
        "failed or refused",
        "bars",
        "bad",
        [(r.at, (r.errors + r.refused) / per_minute) for r in rows],
        _small,
    )
    times = [
        Line(
            f"{name} of searches within (right)",
            "line",
            css,
            [(r.at, r.quantile(share)) for r in _every(begin, end, step, rows)],
            _milliseconds,
        )
        for name, css, share in (("half", "m2", 0.5), ("95 %", "m3", 0.95))
    ]
    total = Interval(0)
    for row in rows:
        total.add(row)
    return {
        "title": "Searches, time, errors",
        "svg": chart("Searches a minute, and the time they take", begin, end, [searches, failed], times)
        if rows
        else "",
        "legend": [
            {"name": "searches in all", "css": "m0", "value": f"{total.searches:,}"},
            {"name": "failed / refused", "css": "bad", "value": f"{total.errors:,} / {total.refused:,}"},
            *(
                {
                    "name": line.name,
                    "css": line.css,
                    "value": _milliseconds(total.quantile(share)) if total.quantile(share) else "",
                }
                for line, share in zip(times, (0.5, 0.95), strict=True)
            ),
        ],
        "none": "No searches in this time.",
    }


def _answers(begin: float, end: float, step: int, rows: Sequence[Interval]) -> dict[str, Any]:
    def share(of: Callable[[Interval], int], among: Callable[[Interval], int]) -> list[Any]:
        return [(r.at, of(r) / among(r) if among(r) else None) for r in _every(begin, end, step, rows)]

    lines = [
        Line("no hits", "line", "m3", share(lambda r: r.empty, lambda r: r.searches), _percent),
        Line("nothing alike", "line", "m1", share(lambda r: r.unalike, lambda r: r.searches), _percent),
        Line("unsure of the category", "line", "m0", share(lambda r: r.unsure, lambda r: r.photos), _percent),
    ]
    near = [(r.at, r.likeness / r.measured if r.measured else None) for r in _every(begin, end, step, rows)]
    likeness = Line("mean likeness (right)", "line", "m2", near, _percent)
    return {
        "title": "Answers without hits, unsure, not alike",
        "svg": chart("Shares of searches", begin, end, lines, [likeness], least_top=0.05) if rows else "",
        "legend": _legend(*lines, likeness),
        "none": "No searches in this time.",
    }


def _categories(rows: Sequence[Interval], before: Sequence[Interval]) -> list[dict[str, Any]]:
    """What is looked for most, and how its share has moved since the time before of the same length."""
    now, then = Counter[str](), Counter[str]()
    for row in rows:
        now.update(row.categories)
    for row in before:
        then.update(row.categories)
    found = []
    for name, count in now.most_common(_TOP):
        share, was = count / now.total(), then[name] / then.total() if then else None
        moved = "" if was is None or abs(share - was) < _MOVED else "up" if share > was else "down"
        found.append({"name": name, "searches": count, "share": share, "was": was, "moved": moved})
    return found


def _every(begin: float, end: float, step: int, rows: Sequence[Interval]) -> list[Interval]:
    """The rows with an empty one wherever nobody searched."""
    found = {row.at: row for row in rows}
    return [found.get(at, Interval(at)) for at in range(int(begin), int(end), step)]


def _measures(releases: Sequence[ReleaseQuality]) -> list[dict[str, str]]:
    """The measures of the live release, or else of the last, in the colours of the plot."""
    shown = next((one for one in releases if one.live), releases[-1] if releases else None)
    names = dict.fromkeys(name for release in releases for name in release.measures)
    return [
        {
            "name": name,
            "css": f"m{i}",
            "value": f"{shown.measures[name]:.1%}" if shown and name in shown.measures else "",
        }
        for i, name in enumerate(names)
    ]


def _legend(*lines: Line) -> list[dict[str, str]]:
    return [{"name": line.name, "css": line.css, "value": line.latest} for line in lines]


def _small(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def _milliseconds(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f} ms" if value < 1000 else f"{value / 1000:g} s"


def _percent(value: float) -> str:
    return f"{value:.0%}" if value >= 0.1 or not value else f"{value:.1%}"


def _span(seconds: float) -> str:
    for name, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {name}"
    return "1 minute" if seconds >= 60 else "less than a minute"
