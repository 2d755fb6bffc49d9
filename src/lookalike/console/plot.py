"""The quality of the last model releases as one SVG picture: a line for each measure, a column for each release.

The picture carries no style and no legend of its own: the page's stylesheet colours it by class, for light and dark,
and names the measures below it, in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from lookalike.console.overview import ReleaseQuality

_WIDTH, _HEIGHT = 600, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 14, 12, 44


def quality_plot(releases: Sequence[ReleaseQuality]) -> str:
    """SVG text; empty where no release has a measure. The live release's column is marked."""
    measures = list(dict.fromkeys(name for release in releases for name in release.measures))
    if not measures:
        return ""
    values = [value for release in releases for value in release.measures.values()]
    low = min(0.8, int(min(values) * 5) / 5)
    columns = [_column(i, len(releases)) for i in range(len(releases))]

    def height(value: float) -> float:
        return _TOP + (1 - (value - low) / (1 - low)) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" class="plot" xmlns="http://www.w3.org/2000/svg">',
        "<title>Held-out quality of the last model releases</title>",
    ]
    for step in range(5):
        value = low + (1 - low) * step / 4
        y = height(value)
        parts.append(f'<line class="rule" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(
            f'<text class="tick" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:.0%}</text>'
        )
    for x, release in zip(columns, releases, strict=True):
        marked = " live" if release.live else ""
        if release.live:
            parts.append(
                f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>'
            )
        parts.append(
            f'<text class="name{marked}" x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">'
            f"{escape(release.id[:6])}</text>"
        )
        below = "live" if release.live else release.made[5:10]
        parts.append(
            f'<text class="tick{marked}" x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 34}" text-anchor="middle">{below}</text>'
        )
    for number, measure in enumerate(measures):
        points = [
            (x, height(release.measures[measure]), release)
            for x, release in zip(columns, releases, strict=True)
            if measure in release.measures
        ]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in points)
        parts.append(f'<polyline class="line m{number}" points="{path}"/>')
        for x, y, release in points:
            value = release.measures[measure]
            parts.append(
                f'<circle class="dot m{number}" cx="{x:.1f}" cy="{y:.1f}" r="4">'
                f"<title>{escape(measure)} {value:.3f}, release {escape(release.id)}</title></circle>"
            )
    return "".join([*parts, "</svg>"])


def _column(i: int, count: int) -> float:
    width = _WIDTH - _LEFT - _RIGHT
    return _LEFT + width * (i + 0.5) / count
