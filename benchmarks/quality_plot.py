"""Draws the results of `benchmarks.quality`: quality against bits, and against milliseconds per query.

python -m benchmarks.quality_plot results.json docs/images/quality-clothing.svg
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("svg")

from matplotlib import pyplot
from matplotlib.axes import Axes

_BITS = (32, 64, 128, 256, 512, 1024, 2048, 4096)
MEASURES = ("mAP", "precision@10", "recall@100", "features kept")
COLOURS = {
    "LSH, medians": "#9aa5b1",
    "ITQ": "#6a994e",
    "PCA": "#a7c957",
    "signs, medians": "#386641",
    "sigmoid": "#30638e",
    "orthogonal": "#edae49",
    "split": "#d1495b",
    "split in half": "#8d2f3d",
}
"""The methods that are drawn: those left out lie on the line of one of these."""


def draw(results: Mapping[str, Mapping[str, float]], times: Mapping[str, float], path: Path) -> None:
    """One panel per measure over the bits, and mAP over the time of a query."""
    figure, panels = pyplot.subplots(1, len(MEASURES) + 1, figsize=(17, 3.8), layout="constrained")
    for panel, name in zip(panels, MEASURES, strict=False):
        for method, found in lines(results, name).items():
            if found:
                draw_line(panel, method, [bits for bits, _ in found], [value for _, value in found])
        panel.axhline(results["floats, centred"][name], color="black", linestyle=":", label="floats")
        panel.set(title=name, xlabel="bits", xscale="log")
        panel.set_xticks(_BITS, map(str, _BITS), fontsize=7, rotation=45)
        panel.minorticks_off()
    last = panels[-1]
    for method, found in lines(results, "mAP").items():
        timed = [(times[f"codes {bits}"], value) for bits, value in found if f"codes {bits}" in times]
        draw_line(last, method, [ms for ms, _ in timed], [value for _, value in timed])
    last.plot(times["floats"], results["floats, centred"]["mAP"], "k*", label="floats")
    last.set(title="mAP and time", xlabel="ms per query", xscale="log")
    panels[0].legend(frameon=False, fontsize=7)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def lines(results: Mapping[str, Mapping[str, float]], measure: str) -> dict[str, list[tuple[int, float]]]:
    """Per drawn method its (bits, value), by bits."""
    found: dict[str, list[tuple[int, float]]] = {method: [] for method in COLOURS}
    for name, numbers in results.items():
        method, _, bits = name.rpartition(" ")
        if method in found and bits.isdigit():
            found[method].append((int(bits), numbers[measure]))
    return {method: sorted(points) for method, points in found.items()}


def draw_line(panel: Axes, method: str, at: Sequence[float], values: Sequence[float]) -> None:
    panel.plot(at, values, "o-", color=COLOURS[method], label=method, markersize=3)


def drawn_again(report: Path, picture: Path) -> None:
    """Draw what `--json` wrote."""
    results: dict[str, dict[str, float]] = defaultdict(dict)
    for entry in json.loads(report.read_text())["results"]:
        name, _, measure = entry["name"].rpartition(": ")
        results[name][measure] = entry["value"]
    times = {name: found["one query"] for name, found in results.items() if "one query" in found}
    draw(results, times, picture)


if __name__ == "__main__":
    drawn_again(*map(Path, sys.argv[1:3]))
