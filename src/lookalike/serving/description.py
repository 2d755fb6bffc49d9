"""The description of the search API: openapi.json beside this file, with what follows from declarations.

The file says everything but the parameters of a search (`ranking.model`), and the columns that hits, listings and
facets have (`columns.SHOWN`, `filters`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lookalike.columns import SHOWN
from lookalike.ranking.filters import LABELS, NUMBERS
from lookalike.ranking.model import body_schema, query_parameters

_FILE = Path(__file__).parent / "openapi.json"
_WITH_COLUMNS = ("Hit", "Listing")
_OWN = {
    "type": "object",
    "description": "What the listing states in the shop's own columns: numbers and texts, by name.",
    "additionalProperties": {"type": ["number", "string"]},
}


def openapi() -> dict[str, Any]:
    """The document, as `/openapi.json` has it."""
    document: dict[str, Any] = json.loads(_FILE.read_text())
    for operation in document["paths"]["/v1/search"].values():
        operation["parameters"] = query_parameters()
    schemas = document["components"]["schemas"]
    schemas["Search"] = body_schema()
    for name in _WITH_COLUMNS:
        schemas[name]["properties"] |= {column.name: column.json_schema for column in SHOWN}
        schemas[name]["required"] += [column.name for column in SHOWN]
        schemas[name]["properties"]["extra"] = _OWN
    facets = schemas["Facets"]
    counts = facets["properties"]["categories"]
    facets["properties"] |= dict.fromkeys(LABELS, counts) | {name: _bounds() for name in NUMBERS}
    facets["required"] += [*LABELS, *NUMBERS]
    ends = _bounds()["properties"]
    span = {"type": "object", "properties": ends, "required": ["from", "to"]}
    facets["properties"]["extra"] = {
        "type": "object",
        "description": "Of each of the shop's own numbers the lowest and the highest.",
        "additionalProperties": span,
    }
    schemas["Catalogue"]["properties"]["extra"] = {
        "type": "object",
        "description": "The shop's own columns: of numbers the lowest and the highest, null for texts.",
        "additionalProperties": _bounds(),
    }
    return document


def _bounds() -> dict[str, Any]:
    ends = {"from": {"type": "number"}, "to": {"type": "number"}}
    return {"type": ["object", "null"], "properties": ends, "required": ["from", "to"]}
