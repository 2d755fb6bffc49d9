"""The look measures of an evaluation as one table for people: a terminal's and the page's.

Enters: the part `looks` of an evaluation report. Leaves: a title, columns and rows of text, percentages throughout.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lookalike.quality.looks import ALL, LEARNED, NEW

_COLUMNS = (ALL, LEARNED, NEW)
_ROWS = {"in_category": "in its category", "base": "by chance", "best": "at best"}


def looks_table(looks: Mapping[str, Any]) -> tuple[str, tuple[str, ...], list[tuple[str, ...]]]:
    """Title, columns and rows. A value stands with its 95 % interval; "–" where no query could be judged.

    With the sample's aspects it fits a terminal of 80 columns.
    """
    queries = looks["queries"]
    columns = [name for name in _COLUMNS if queries[name]]
    rows = [(name, *_cells(measured, columns)) for name, measured in looks["measures"].items()]
    for aspect, measured in looks["agreement"].items():
        rows.append((f"same {aspect} in {looks['first']}", *_cells(measured, columns)))
        rows += [
            (f"  {text}", *(_percent(measured[c][key]) if c in measured else "–" for c in columns))
            for key, text in _ROWS.items()
        ]
    title = "looks, in % with 95 % intervals"
    return title, ("measure", *(f"{name} ({queries[name]:,})" for name in columns)), rows


def _cells(measured: Mapping[str, Any], columns: list[str]) -> list[str]:
    return [
        f"{_percent(found['value'])} ({_percent(found['low'])}–{_percent(found['high'])})"
        if (found := measured.get(name))
        else "–"
        for name in columns
    ]


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"
