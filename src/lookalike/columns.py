"""Every column of a listing, declared once, and where it goes.

A column is one line of `COLUMNS`. From it follow the schema of a curated snapshot's listings, what a shop's table may
hold, how an index segment stores it, what rankers send of a candidate, and the fields of a hit and of a listing in the
search API with their description in openapi.json. Aspects, whose names are each shop's own, stand beside: one column
`aspect_<name>` each. So do a shop's own columns, whose kind their names tell: `number_<name>` and `text_<name>`. Code
asks for a column by name only where it knows its meaning, as a filter does of the price.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

Storage = Literal["text", "label", "number"]
"""How a segment holds a column: texts of which nearly each is another; texts of few values; float64. Null: unknown."""
TEXT, NUMBER = pa.utf8(), pa.float64()


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a listing."""

    name: str
    type: pa.DataType
    """In the curated table of listings."""
    meaning: str
    """A sentence for those who read the API's description."""
    required: bool = False
    """No listing is without it."""
    offered: bool = False
    """A shop's table may have a column of this name."""
    stored: Storage | None = None
    """How an index segment holds it, with what a query reads of it; None: not at all, or as a part of the format."""
    shown: bool = False
    """A hit and a listing of the search API have it, null where the listing does not state it."""

    @property
    def field(self) -> pa.Field:
        return pa.field(self.name, self.type, nullable=not self.required)

    @property
    def called(self) -> str:
        """A shop's own column without what tells its kind: what hits, filters and sorting call it."""
        return self.name.partition("_")[2]

    @property
    def json_schema(self) -> dict[str, Any]:
        """The field of a hit and of a listing in the API's description."""
        kind = "number" if pa.types.is_floating(self.type) else "string"
        return {"type": kind if self.required else [kind, "null"], "description": self.meaning}


COLUMNS = (
    Column("listing_id", TEXT, "The shop's own id.", required=True),
    Column("photo_id", TEXT, "MD5 of the main photo's bytes, 32 hexadecimal digits.", required=True),
    Column("category", TEXT, "Leaf category, after small ones were merged.", required=True),
    Column("source_category", TEXT, "Leaf category as the shop's table has it.", required=True),
    Column(
        "split", TEXT, "train, val, test, or another name that the shop gave.", required=True, offered=True
    ),
    Column("title", TEXT, "The listing's title.", offered=True, stored="text", shown=True),
    Column("price", NUMBER, "The price, in `currency`.", offered=True, stored="number", shown=True),
    Column("product", TEXT, "Equal for listings of one product.", offered=True),
    Column("seller", TEXT, "Who sells it.", offered=True, stored="label", shown=True),
    Column("group", TEXT, "What a shopper would call the same thing.", required=True),
    Column("url", TEXT, "The listing's page at the shop.", offered=True, stored="text", shown=True),
    Column("image_url", TEXT, "Its main photo at the shop.", offered=True, stored="text", shown=True),
    Column("currency", TEXT, "Of the price, such as EUR.", offered=True, stored="label", shown=True),
    Column("availability", TEXT, "In the shop's words.", offered=True, stored="label", shown=True),
)

OFFERED = tuple(column for column in COLUMNS if column.offered)
STORED = tuple(column for column in COLUMNS if column.stored is not None)
SHOWN = tuple(column for column in COLUMNS if column.shown)

_OWN: tuple[tuple[str, pa.DataType, Storage], ...] = (("number_", NUMBER, "number"), ("text_", TEXT, "text"))
NUMBER_PREFIX = "number_"


def own_column(name: str) -> Column | None:
    """A shop's own column of this name, such as `number_weight` or `text_badge`; None where it is none."""
    for prefix, kind, stored in _OWN:
        if name.startswith(prefix) and name != prefix:
            return Column(name, kind, "The shop's own.", offered=True, stored=stored)
    return None


def own_columns(names: Iterable[str]) -> tuple[Column, ...]:
    """Those of `names` that are a shop's own columns, by name."""
    return tuple(column for name in sorted(set(names)) if (column := own_column(name)))


def stored_among(names: Iterable[str]) -> tuple[Column, ...]:
    """Those of `names` that an index holds: of the registry, then a shop's own."""
    known = set(names)
    return (*(column for column in STORED if column.name in known), *own_columns(known))
