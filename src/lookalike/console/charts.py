"""A chart over time as one SVG picture: lines, areas, steps and bars on a left and a right scale, and marks below.

As with `plot`, the picture has no style of its own: the page's stylesheet colours each part by class.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT = 600, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 52, 12, 26

Points = Sequence[tuple[float, float | None]]
"""(Unix seconds, value); None where there is none, which leaves a gap."""


@dataclass(frozen=True, slots=True)
class Line:
    """One measure over time. `kind` is line, area, steps or bars; `css` its class, which is its colour."""

    name: str
    kind: str
    css: str
    points: Points
    text: Callable[[float], str] = "{:,.0f}".format

    @property
    def latest(self) -> str:
        """Its last value, in words; empty without any."""
        return next((self.text(value) for _, value in reversed(self.points) if value is not None), "")


def chart(
    title: str,
    begin: float,
    end: float,
    left: Sequence[Line],
    right: Sequence[Line] = (),
    marks: Sequence[tuple[float, str]] = (),
    *,
    least_top: float = 0.0,
) -> str:
    """SVG text; empty where no line has a value. `marks` are moments with what happened then."""
    if not any(value is not None for line in (*left, *right) for _, value in line.points):
        return ""

    def across(at: float) -> float:
        return _LEFT + (at - begin) / (end - begin) * (_WIDTH - _LEFT - _RIGHT)

    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" class="plot" xmlns="http://www.w3.org/2000/svg">',
        f"<title>{escape(title)}</title>",
    ]
    for at, label in _moments(begin, end):
        parts.append(
            f'<text class="tick" x="{across(at):.1f}" y="{_HEIGHT - 8}" text-anchor="middle">{label}</text>'
        )
    for lines, x, anchor in ((left, _LEFT - 8, "end"), (right, _WIDTH - _RIGHT + 8, "start")):
        if not lines:
            continue
        top = _round_up(max([least_top, *(v for line in lines for _, v in line.points if v is not None)]))

        def height(value: float, top: float = top) -> float:
            return _TOP + (1 - value / top) * (_HEIGHT - _TOP - _BOTTOM)

        for step in (0.0, 0.5, 1.0):
            y = height(step * top)
            if lines is left:
                parts.append(
                    f'<line class="rule" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
                )
            said = escape(lines[0].text(step * top))
            parts.append(f'<text class="tick" x="{x}" y="{y + 4:.1f}" text-anchor="{anchor}">{said}</text>')
        for line in lines:
            parts += _drawn(line, across, height)
    for at, happened in marks:
        if begin <= at <= end:
            parts.append(
                f'<path class="event" d="M{across(at):.1f},{_HEIGHT - _BOTTOM - 7} l4,7 h-8 z">'
                f"<title>{escape(happened)}</title></path>"
            )
    return "".join([*parts, "</svg>"])


def _drawn(line: Line, across: Callable[[float], float], height: Callable[[float], float]) -> list[str]:
    name = f"<title>{escape(line.name)}</title>"
    if line.kind == "bars":
        return [
            f'<line class="bar-line {line.css}" x1="{across(at):.1f}" x2="{across(at):.1f}" y1="{height(0):.1f}" '
            f'y2="{height(value):.1f}"><title>{escape(line.name)} {escape(line.text(value))}</title></line>'
            for at, value in line.points
            if value
        ]
    parts = []
    for run in _runs(line.points):
        corners = [(across(at), height(value)) for at, value in run]
        if line.kind == "steps":
            corners = [
                corner
                for (x, y), (after, _) in zip(
                    corners, [*corners[1:], (corners[-1][0], corners[-1][1])], strict=True
                )
                for corner in ((x, y), (after, y))
            ]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
        if line.kind == "area":
            ground = height(0)
            parts.append(
                f'<polygon class="area {line.css}" points="{corners[0][0]:.1f},{ground:.1f} {path} '
                f'{corners[-1][0]:.1f},{ground:.1f}">{name}</polygon>'
            )
        if len(corners) == 1:
            (x, y) = corners[0]
            parts.append(f'<circle class="dot {line.css}" cx="{x:.1f}" cy="{y:.1f}" r="3">{name}</circle>')
        else:
            parts.append(f'<polyline class="line {line.css}" points="{path}">{name}</polyline>')
    return parts


def _runs(points: Points) -> list[list[tuple[float, float]]]:
    """The stretches without a gap."""
    runs: list[list[tuple[float, float]]] = [[]]
    for at, value in points:
        if value is None:
            runs.append([])
        else:
            runs[-1].append((at, value))
    return [run for run in runs if run]


def _moments(begin: float, end: float) -> list[tuple[float, str]]:
    """Ticks: six hours of a day, or a week of a month, in UTC."""
    short = end - begin <= 2 * 86_400
    first = datetime.fromtimestamp(begin, UTC).replace(minute=0, second=0, microsecond=0)
    step = timedelta(hours=6) if short else timedelta(days=7)
    first = first.replace(hour=first.hour // 6 * 6 if short else 0)
    found = []
    while (at := first.timestamp()) <= end:
        if at >= begin:
            found.append((at, first.strftime("%H:%M") if short else f"{first.day} {first:%b}"))
        first += step
    return found


def _round_up(value: float) -> float:
    """A round number that is at least this: 1, 2 or 5 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= value * (1 - 1e-9))
