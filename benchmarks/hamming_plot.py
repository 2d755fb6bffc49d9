"""Draws the results of `benchmarks.hamming` as bars, one picture for docs/hamming.md.

python -m benchmarks.hamming_plot results.json docs/images/hamming.svg
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")

from matplotlib import pyplot

from benchmarks.report import Entry

COLOURS = {
    "read": "#9aa5b1",
    "lookalike": "#d1495b",
    "faiss": "#30638e",
    "usearch": "#6a994e",
    "numpy": "#edae49",
}


def draw(results: Sequence[Entry], path: Path) -> None:
    """Two panels for the largest number of rows: uniform codes by number of queries, and real codes of one category."""
    times = {result.name: result.value for result in results if result.unit == "ms"}
    rows = max(int(name.split()[1]) for name in times if name.startswith("uniform"))
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    groups = [
        ("1 query", ["read 1t", "lookalike 1q 1t", "faiss 1q 1t", "usearch 1q 1t", "numpy 1q 1t"]),
        ("8 queries", ["lookalike 8q 1t", "faiss 8q 1t"]),
        ("32 queries", ["lookalike 32q 1t", "faiss 32q 1t"]),
    ]
    place, ticks = 0.0, []
    for title, names in groups:
        ticks.append((place + (len(names) - 1) / 2, title))
        for name in names:
            bar(left, place, times.get(f"uniform {rows} {name}"), name.split()[0])
            place += 1
        place += 1
    left.set_yscale("log")
    left.set_xticks([t[0] for t in ticks], [t[1] for t in ticks])
    left.set_title(f"{rows:,} uniform codes, one thread")
    left.set_ylabel("milliseconds (median)")
    kinds = list(
        dict.fromkeys(
            n.removesuffix(f" {rows} lookalike pruned")
            for n in times
            if n.endswith(f" {rows} lookalike pruned")
        )
    )
    for i, kind in enumerate(kinds):
        for j, name in enumerate(("read", "lookalike pruned", "lookalike plain", "faiss")):
            bar(
                right,
                5 * i + j,
                times.get(f"{kind} {rows} {name}"),
                name.split()[0],
                hatch="//" if "plain" in name else None,
            )
    right.set_xticks(
        [5 * i + 1.5 for i in range(len(kinds))],
        [label(kind) for kind in kinds],
        fontsize=7,
    )
    right.set_title(f"{rows:,} codes of one category, 1 query\n(hatched: without sketch)")
    handles = [pyplot.Rectangle((0, 0), 1, 1, color=colour) for colour in COLOURS.values()]
    left.legend(handles, ["plain read of the bytes", *list(COLOURS)[1:]], fontsize=8, loc="upper left")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def label(kind: str) -> str:
    """Data set and leaf category of "clothing clothing/tops/t-shirt, own head (features mixed)", on two lines."""
    found = re.match(r"(\S+) (\S+/)(\S+),", kind)
    return f"{found[1]}\n{found[3]}" if found else f"made up\n{kind.partition(' (')[0]}"


def bar(axes: Any, place: float, value: float | None, contender: str, hatch: str | None = None) -> None:
    if value is not None:
        axes.bar(place, value, color=COLOURS[contender], hatch=hatch, edgecolor="white")
        axes.text(place, value, f"{value:.3g}", ha="center", va="bottom", fontsize=7)


if __name__ == "__main__":
    results = json.loads(Path(sys.argv[1]).read_text())["results"]
    draw([Entry(**result) for result in results], Path(sys.argv[2]))
