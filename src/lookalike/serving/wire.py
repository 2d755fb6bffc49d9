"""The search API's reply: an `Answer` to JSON, as openapi.json describes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lookalike.ranking.request import Answer


def answer_json(answer: Answer, milliseconds: Mapping[str, float]) -> dict[str, Any]:
    """The reply's body; `milliseconds` adds the stages that the service itself timed."""
    partial = {"partial": {"missing_shards": list(answer.missing_shards)}} if answer.missing_shards else {}
    more = {
        "facets": answer.facets and answer.facets.to_json(),
        "text": answer.understood.to_json() if answer.understood.text.strip() else None,
        "explain": answer.explain,
    }
    return (
        partial
        | {name: said for name, said in more.items() if said is not None}
        | {
            "hits": [hit.to_json() for hit in answer.hits],
            "categories": [
                {"category": guess.category, "probability": guess.probability, "opened": guess.opened}
                for guess in answer.categories
            ],
            "aspects": {
                name: [{"value": value, "probability": probability} for value, probability in values]
                for name, values in answer.aspects.items()
            },
            "likeness": answer.judged.likeness,
            "nothing_alike": answer.judged.nothing_alike,
            "boxes": [list(box) for box in answer.boxes],
            "box": None if answer.box is None else list(answer.box),
            "release": answer.release,
            "index": answer.index,
            "delta": answer.delta or None,
            "scanned": answer.scanned,
            "unlearned": answer.unlearned,
            "milliseconds": {name: round(value, 3) for name, value in milliseconds.items()},
        }
    )
