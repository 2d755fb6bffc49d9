"""The description of the search API: openapi.json beside this file, with the columns that hits and listings have.

The file says everything but those, which follow from the registry (`columns.SHOWN`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lookalike.columns import SHOWN

_FILE = Path(__file__).parent / "openapi.json"
_WITH_COLUMNS = ("Hit", "Listing")


def openapi() -> dict[str, Any]:
    """The document, as `/openapi.json` has it."""
    document: dict[str, Any] = json.loads(_FILE.read_text())
    for name in _WITH_COLUMNS:
        schema = document["components"]["schemas"][name]
        schema["properties"] |= {column.name: column.json_schema for column in SHOWN}
        schema["required"] += [column.name for column in SHOWN]
    return document
