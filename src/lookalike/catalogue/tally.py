"""What became of every row of a catalogue: kept, or left out for a reason; and which fields were left empty.

Kept and left out always add up to the rows of the table. The same words stand on the terminal, in a flow's log, in
`report.json` and on the report's page: counts, the most frequent first, each with the first row and what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lookalike.catalogue.listings import Catalogue, Losses
from lookalike.catalogue.spool import between
from lookalike.catalogue.tables import CUT_OFF
from lookalike.imaging.limits import FORMATS

ADVICE = {
    "access denied": "let the credentials read these photos",
    "blank": "give a photo that shows the thing",
    "category too small": "add listings to the category, or lower --min-category",
    CUT_OFF: "run it again when the export is finished",
    "damaged": "save the photo anew",
    "excluded": "take it off the list of --exclude to have it back",
    "extreme shape": "crop the photo",
    "field too long": "shorten it",
    "malformed category": "write it as a path, such as clothing/tops/shirt",
    "malformed image": "name the photo by a path beside the table, or by an s3://, file:// or https:// address",
    "malformed listing id": "give the listing a plain id",
    "missing": "put the photo where the row says, or correct the row",
    "no category": "fill it in; --column category=NAME takes another column",
    "no image": "fill it in; --column image=NAME takes another column",
    "no listing id": "fill it in; --column listing_id=NAME takes another column",
    "not CSV": "quote the field as CSV does",
    "not a photo": f"give a {FORMATS}",
    "outside the catalogue": "move the photo there, or allow where it lies by --photo-root or LOOKALIKE_PHOTO_ROOTS",
    "seller cap": "raise --seller-cap to keep more",
    "tiny": "give a larger photo",
    "too large": "give a smaller photo",
    "truncated": "upload the photo again",
    "unreadable": "see whether the file can be read",
    "wrong number of fields": "quote fields that hold the separator",
}
_FIELD_ADVICE = {
    "price": "write a number of at least 0, such as 12.90",
    "split": "write train, val or test, or a name of your own that begins with a letter",
}
_CONTRADICTION = "give every listing an id of its own, or state the same in all of its rows"
_ANY_FIELD = "write it as text in UTF-8, without control characters and not overlong"

_LONGEST_DETAIL = 250


@dataclass(frozen=True, slots=True)
class Count:
    """How many rows something befell, and the first of them."""

    rows: int
    line: int
    listing_id: str
    detail: str
    advice: str


@dataclass(frozen=True, slots=True)
class Tally:
    """The account of one table. Mappings have the most frequent first."""

    rows: int
    kept: int
    """Listings."""
    unit: str
    """What a row's number counts: `line` or `row`."""
    left_out: Mapping[str, Count]
    """By reason."""
    unclear: Mapping[str, Count]
    """By optional column: kept listings whose field was not understood, and is empty."""
    priced: int
    """Kept listings that have a price."""
    kept_rows: int
    """Rows of the table that speak of kept listings."""
    photos_left_out: Mapping[str, Count] = field(default_factory=dict)
    """By reason: photos of kept listings, which have others."""
    contradictions: Mapping[str, Count] = field(default_factory=dict)
    """By column: kept listings whose rows state different things."""

    @classmethod
    def of(
        cls,
        catalogue: Catalogue,
        kept: NDArray[np.integer],
        left_out: Losses,
        lost: Losses,
    ) -> Self:
        """The account of `catalogue`, of whose listings `kept` (places, in order) are used and `left_out` rows are not,
        nor `lost` photos."""
        unclear, contradictions = _Counts(_FIELD_ADVICE, _ANY_FIELD), _Counts({}, _CONTRADICTION)
        rows = kept_rows = priced = before = 0
        columns = ["line", "listing_id", "rows", "price", "unclear", "contradictions"]
        for batch in catalogue.listings.spool.batches(columns):
            rows += pc.sum(batch["rows"]).as_py() or 0
            own = kept[between(kept, before, before + batch.num_rows)]
            chosen = batch if len(own) == batch.num_rows else batch.take(pa.array(own - before))
            kept_rows += pc.sum(chosen["rows"]).as_py() or 0
            priced += len(chosen) - chosen["price"].null_count
            unclear.add(_told(chosen, "unclear"))
            contradictions.add(_told(chosen, "contradictions"))
            before += batch.num_rows
        return cls(
            rows=rows + catalogue.left_out.counted,
            kept=len(kept),
            unit=catalogue.unit,
            left_out=by_reason(left_out),
            unclear=unclear.found(),
            priced=priced,
            kept_rows=kept_rows,
            photos_left_out=by_reason(lost),
            contradictions=contradictions.found(),
        )

    @classmethod
    def from_report(cls, report: Mapping[str, Any]) -> Self:
        """What a `report.json` tells."""
        told = report["tally"]
        counts = {
            name: {entry.pop("name"): Count(**entry) for entry in [dict(row) for row in told.get(name, ())]}
            for name in ("left_out", "unclear", "photos_left_out", "contradictions")
        }
        return cls(**({"kept_rows": told["kept"]} | dict(told) | counts))

    def to_json(self) -> dict[str, Any]:
        """Lists, because the order counts."""
        return {
            "rows": self.rows,
            "kept": self.kept,
            "unit": self.unit,
            "priced": self.priced,
            "left_out": _listed(self.left_out),
            "unclear": _listed(self.unclear),
            "kept_rows": self.kept_rows,
            "photos_left_out": _listed(self.photos_left_out),
            "contradictions": _listed(self.contradictions),
        }

    @property
    def meta(self) -> dict[str, Any]:
        """The numbers alone, as a manifest holds them."""
        return {
            "rows": self.rows,
            "left_out": {reason: count.rows for reason, count in self.left_out.items()},
            "unclear": {name: count.rows for name, count in self.unclear.items()},
            "priced": self.priced,
            "kept_rows": self.kept_rows,
            "photos_left_out": {reason: count.rows for reason, count in self.photos_left_out.items()},
            "contradictions": {name: count.rows for name, count in self.contradictions.items()},
        }

    def headline(self) -> str:
        """``kept 30 of 90 rows; left out 60: missing 60 (line 3: ...)``; or ``kept 30 listings of 90 rows; ...``."""
        kept = f"{self.kept:,}" if self.kept == self.kept_rows else f"{self.kept:,} listings"
        return f"kept {kept} of {self.rows:,} rows; {self.losses()}"

    def losses(self) -> str:
        """How many rows were left out, and by which reasons."""
        gone = sum(count.rows for count in self.left_out.values())
        return f"left out {gone:,}: {self.reasons()}" if gone else "nothing left out"

    def reasons(self) -> str:
        """Every reason with its count and the first row."""
        return spoken(self.left_out, self.unit)

    def fields(self) -> list[str]:
        """``price not understood: 90, first line 2: '40.72 EUR'``, for every such column."""
        return [
            f"{name} not understood: {count.rows:,}, first {self.unit} {count.line}: {count.detail}"
            for name, count in self.unclear.items()
        ]

    def quarrels(self) -> list[str]:
        """``price contradicts itself: 2, first line 2: line 3 says '9', line 2 '8'``, for every such column."""
        return [
            f"{name} contradicts itself: {count.rows:,}, first {self.unit} {count.line}: {count.detail}"
            for name, count in self.contradictions.items()
        ]

    def advice(self) -> list[str]:
        """What to do about each reason and column."""
        told = {
            **self.left_out,
            **self.photos_left_out,
            **{f"{name} not understood": count for name, count in self.unclear.items()},
            **{f"{name} contradicts itself": count for name, count in self.contradictions.items()},
        }
        return [f"{name}: {count.advice}" for name, count in told.items() if count.advice]

    def lines(self) -> list[str]:
        """All of it, for a person."""
        told = [f"{text}; left empty" for text in self.fields()]
        told += [f"{text}; the first is taken" for text in self.quarrels()]
        if self.photos_left_out:
            told.insert(0, f"photos of kept listings left out: {spoken(self.photos_left_out, self.unit)}")
        return [self.headline(), *(f"  {text}" for text in (*told, *self.advice()))]


def by_reason(left_out: Losses) -> dict[str, Count]:
    """Rows that were left out, the most frequent reason first."""
    counts = _Counts(ADVICE, "")
    counts.add(left_out.table.rename_columns({"reason": "name"}))
    return counts.found()


def spoken(counts: Mapping[str, Count], unit: str) -> str:
    """``duplicate listing id 60 (line 3: ...), missing 2 (line 9: ...)``."""
    return ", ".join(
        f"{reason} {count.rows:,} ({unit} {count.line}: {count.detail})" for reason, count in counts.items()
    )


def mending(counts: Mapping[str, Count]) -> str:
    """What to do about the most frequent reason, to end an error with."""
    return next((f"; {reason}: {count.advice}" for reason, count in counts.items() if count.advice), "")


class _Counts:
    """How often each name befell rows, and the first of them."""

    def __init__(self, advice: Mapping[str, str], otherwise: str) -> None:
        self._advice, self._otherwise = advice, otherwise
        self._rows: dict[str, int] = {}
        self._first: dict[str, tuple[int, str, str]] = {}

    def add(self, found: pa.Table) -> None:
        """Columns: name, line, listing_id, detail, rows."""
        for name in found["name"].unique().to_pylist():
            own = found.filter(pc.equal(found["name"], name))
            self._rows[name] = self._rows.get(name, 0) + pc.sum(own["rows"]).as_py()
            least = own.filter(pc.equal(own["line"], pc.min(own["line"])))
            told = zip(*(least[x].to_pylist() for x in ("line", "listing_id", "detail")), strict=True)
            self._first[name] = min([*told, *([self._first[name]] if name in self._first else [])])

    def found(self) -> dict[str, Count]:
        """The most frequent first."""
        return {
            name: Count(rows, line, listing_id, _one_line(detail), self._advice.get(name, self._otherwise))
            for name, rows in sorted(self._rows.items(), key=lambda item: (-item[1], item[0]))
            for line, listing_id, detail in [self._first[name]]
        }


def _told(listings: pa.RecordBatch, column: str) -> pa.Table:
    """What a column of names and texts says, one row each."""
    said = pc.is_valid(listings[column])
    own = listings.select(["line", "listing_id", column]).filter(said)
    lengths = np.diff(own[column].offsets.to_numpy())
    parents = pa.array(np.repeat(np.arange(own.num_rows), lengths))
    return pa.table(
        {
            "name": own[column].keys,
            "line": own["line"].take(parents),
            "listing_id": own["listing_id"].take(parents),
            "detail": own[column].items,
            "rows": pa.repeat(1, len(parents)),
        }
    )


def _one_line(text: str) -> str:
    joined = " ".join(text.split())
    return joined if len(joined) <= _LONGEST_DETAIL else joined[: _LONGEST_DETAIL - 1] + "…"


def _listed(counts: Mapping[str, Count]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "rows": count.rows,
            "line": count.line,
            "listing_id": count.listing_id,
            "detail": count.detail,
            "advice": count.advice,
        }
        for name, count in counts.items()
    ]
