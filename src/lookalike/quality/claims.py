"""What answers claim, and how often it is true: predicted aspects, ticks on hits, and "nothing looks like this".

Enters: predictions and answers to labelled query photos. Leaves: shares. A tick says that a hit has a value that the
query has, too; it is true where the query's listing states that value. Of an aspect that it does not state nothing can
be known, so such ticks count in neither number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lookalike.aspects.models import Predictions
from lookalike.quality.labels import Labels
from lookalike.quality.metrics import bootstrap_interval
from lookalike.quality.queries import Queries
from lookalike.ranking.request import Answer

FIRST = 10
"""Hits of an answer whose ticks are counted."""


def aspect_accuracy(
    predicted: Sequence[Predictions], answers: Sequence[Answer], queries: Queries, labels: Labels
) -> dict[str, Any]:
    """Per predicted aspect: how often the likeliest value is one that the query's listing states, beside how often
    the gallery's commonest value is (`majority`); and of the ticks on the first ten hits, how many there are and which
    share names a value that it states. Unstated aspects count in neither."""
    commonest = {name: stated.commonest() for name, stated in labels.aspects.items()}
    majority: dict[str, list[bool]] = {}
    right: dict[str, list[bool]] = {}
    ticks: dict[str, list[bool]] = {}
    for guessed, answer, listing in zip(predicted, answers, queries.listings, strict=True):
        for name, values in guessed.items():
            if values and (stated := listing.aspects.get(name)):
                right.setdefault(name, []).append(values[0][0] in stated)
                majority.setdefault(name, []).append(commonest.get(name) in stated)
                shown = [
                    hit.matched_aspects[name] for hit in answer.hits[:FIRST] if name in hit.matched_aspects
                ]
                ticks.setdefault(name, []).extend(value in stated for value in shown)
    return {
        name: {
            "queries": len(r),
            "top1": float(np.mean(r)),
            **dict(zip(("low", "high"), bootstrap_interval(np.array(r, float)), strict=True)),
            "majority": float(np.mean(majority[name])),
            "ticks": len(ticks[name]),
            "true_ticks": float(np.mean(ticks[name])) if ticks[name] else None,
        }
        for name, r in sorted(right.items())
    }


def all_ticks(aspects: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Of `aspect_accuracy`: the ticks of all aspects together, and which share of them is true."""
    shown = sum(aspect["ticks"] for aspect in aspects.values())
    true = sum(aspect["ticks"] * (aspect["true_ticks"] or 0) for aspect in aspects.values())
    return {"shown": shown, "true": true / shown if shown else None}


def refusals(answers: Sequence[Answer], least: float) -> dict[str, Any]:
    """How many answers are `judged` at all, and the share of these that say nothing looks like the query.

    False refusals where the queries are of the catalogue, true ones where they are photos of something else.
    """
    judged = [answer.judged for answer in answers if answer.judged.likeness is not None]
    values = np.array([float(each.nothing_alike) for each in judged])
    low, high = bootstrap_interval(values) if len(values) else (None, None)
    return {
        "least_likeness": least,
        "judged": len(judged),
        "refused": float(values.mean()) if len(values) else None,
        "low": low,
        "high": high,
        "median": float(np.median([each.likeness for each in judged])) if judged else None,
    }
