"""A checked catalogue: its usable rows as listings, and the rows that are left out.

`reading` makes one of a shop's table. Listings are columns on local disk (`spool`), whatever their number; one becomes
an object when somebody asks for it. Photos may lie where `places` says, and are read only when asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Self, overload

import pyarrow as pa
import pyarrow.compute as pc

from lookalike.catalogue.fields import ASPECT_PREFIX, FURTHER, OPTIONAL
from lookalike.catalogue.places import PhotoPlaces
from lookalike.catalogue.sources.opening import state_now
from lookalike.catalogue.spool import Spool
from lookalike.catalogue.tables import CUT_OFF
from lookalike.columns import Column, own_columns
from lookalike.errors import CatalogueError, ObjectNotFound
from lookalike.settings import S3Settings
from lookalike.storage.stores import split_uri
from lookalike.strict_json import plain

_TEXT, _TEXTS = pa.string(), pa.list_(pa.string())
_NAMED = pa.map_(_TEXT, _TEXT)
_AT_ONCE = 1 << 12
"""Rows that are objects at a time."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Rows, or a photo, that are not used: where they stand, a stable word or two for the reason, and a sentence."""

    line: int
    listing_id: str
    reason: str
    detail: str
    rows: int = 1
    """Rows of the table, where a whole listing is left out; 1 for a photo."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What one or more rows say of a listing. Empty text means that the catalogue does not say."""

    listing_id: str
    images: tuple[str, ...]
    """References to its photos, each once; the first is the main photo."""
    category: str
    """Slash path, without spaces around its parts."""
    line: int
    """Where it stands first: the line of a CSV (the header is line 1), the row of a Parquet table counted from 1."""
    split: str = ""
    title: str = ""
    price: float | None = None
    product: str = ""
    seller: str = ""
    further: Mapping[str, Any] = field(default_factory=dict)
    """Other columns of the registry (`fields.FURTHER`) and the shop's own -> what the row states, where it does."""
    aspects: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Name without the prefix -> values, in the order given; only what is not empty."""
    unclear: Mapping[str, str] = field(default_factory=dict)
    """Optional column -> what stands there and was not understood: the field is empty then."""
    rows: int = 1
    """Rows of the table that speak of it."""
    contradictions: Mapping[str, str] = field(default_factory=dict)
    """Column -> which rows state different things; the first one is believed."""
    lost: tuple[LeftOut, ...] = ()
    """Photos that the table names in a way that cannot be used; the listing has others."""


class Losses(Sequence[LeftOut]):
    """What is left out, as columns: line, listing_id, reason, detail, rows."""

    SCHEMA: ClassVar[pa.Schema] = pa.schema(
        [
            pa.field("line", pa.int64(), nullable=False),
            pa.field("listing_id", _TEXT, nullable=False),
            pa.field("reason", _TEXT, nullable=False),
            pa.field("detail", _TEXT, nullable=False),
            pa.field("rows", pa.int64(), nullable=False),
        ]
    )

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    @classmethod
    def of(cls, rows: Iterable[LeftOut]) -> Self:
        """Those of a list."""
        return cls(pa.Table.from_pylist([plain(asdict(row)) for row in rows], schema=cls.SCHEMA))

    @classmethod
    def together(cls, parts: Iterable[Losses | pa.Table]) -> Self:
        """One after the other."""
        tables = [part.table if isinstance(part, Losses) else part for part in parts]
        return cls(pa.concat_tables([cls.SCHEMA.empty_table(), *tables]))

    def in_order(self, *names: str) -> Self:
        """By these columns; those that are equal as they stand."""
        keys = [(name, "ascending") for name in names]
        return type(self)(self.table.take(pc.sort_indices(self.table, sort_keys=keys)))

    @property
    def counted(self) -> int:
        """Rows of the catalogue's table."""
        return int(pc.sum(self.table["rows"]).as_py() or 0)

    def of_reason(self, reason: str) -> Losses:
        """Those that one reason befell."""
        return Losses(self.table.filter(pc.equal(self.table["reason"], reason)))

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __iter__(self) -> Iterator[LeftOut]:
        for batch in self.table.to_batches(_AT_ONCE):
            yield from (LeftOut(**row) for row in batch.to_pylist())

    @overload
    def __getitem__(self, at: int) -> LeftOut: ...
    @overload
    def __getitem__(self, at: slice) -> list[LeftOut]: ...
    def __getitem__(self, at: int | slice) -> LeftOut | list[LeftOut]:
        if isinstance(at, slice):
            start, stop, _ = at.indices(len(self))
            return list(Losses(self.table.slice(start, max(0, stop - start))))
        return next(iter(Losses(self.table.slice(range(len(self))[at], 1))))


class Listed(Sequence[Listing]):
    """Listings as columns on disk, in the order of their first rows. Texts that are not stated are empty, further ones
    and lists are null."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool

    @staticmethod
    def schema(aspects: Iterable[str] = (), own: Iterable[Column] = ()) -> pa.Schema:
        """Its columns; `aspects` are named without their prefix, `own` are the shop's."""
        lost = pa.struct([("line", pa.int64()), ("reason", _TEXT), ("detail", _TEXT)])
        kinds = {
            "listing_id": _TEXT,
            "line": pa.int64(),
            "rows": pa.int32(),
            "images": _TEXTS,
            "category": _TEXT,
        }
        kinds |= {name: pa.float64() if name == "price" else _TEXT for name in OPTIONAL}
        kinds |= {column.name: column.type for column in own}
        kinds |= {ASPECT_PREFIX + name: _TEXTS for name in aspects}
        kinds |= {"unclear": _NAMED, "contradictions": _NAMED, "lost": pa.list_(lost)}
        return pa.schema(list(kinds.items()))

    @classmethod
    def schema_of(cls, rows: pa.Schema) -> pa.Schema:
        """That of listings whose rows have these columns."""
        aspects = (x.removeprefix(ASPECT_PREFIX) for x in rows.names if x.startswith(ASPECT_PREFIX))
        return cls.schema(aspects, own_columns(rows.names))

    @classmethod
    def of(cls, listings: Iterable[Listing]) -> Self:
        """Those of a list."""
        found = list(listings)
        aspects = dict.fromkeys(name for listing in found for name in listing.aspects)
        own = own_columns(name for listing in found for name in listing.further)
        spool = Spool(cls.schema(aspects, own))
        spool.add(pa.Table.from_pylist([_row(listing) for listing in found], schema=spool.schema))
        return cls(spool)

    def __len__(self) -> int:
        return self.spool.num_rows

    def __iter__(self) -> Iterator[Listing]:
        for batch in self.spool.batches():
            for at in range(0, batch.num_rows, _AT_ONCE):
                yield from map(_listing, batch.slice(at, _AT_ONCE).to_pylist())

    @overload
    def __getitem__(self, at: int) -> Listing: ...
    @overload
    def __getitem__(self, at: slice) -> list[Listing]: ...
    def __getitem__(self, at: int | slice) -> Listing | list[Listing]:
        if isinstance(at, slice):
            start, stop, _ = at.indices(len(self))
            return [_listing(row) for row in self.spool.slice(start, stop - start).to_pylist()]
        return _listing(self.spool.slice(range(len(self))[at], 1).to_pylist()[0])


def _listing(row: Mapping[str, Any]) -> Listing:
    """One row of `Listed`."""
    return Listing(
        row["listing_id"],
        tuple(row["images"]),
        row["category"],
        row["line"],
        **{name: row[name] for name in OPTIONAL if name not in FURTHER},
        further={name: row[name] for name in FURTHER if row[name]}
        | {x.name: row[x.name] for x in own_columns(row) if row[x.name] is not None},
        aspects={
            name.removeprefix(ASPECT_PREFIX): tuple(values)
            for name, values in row.items()
            if name.startswith(ASPECT_PREFIX) and values
        },
        unclear=dict(row["unclear"] or ()),
        rows=row["rows"],
        contradictions=dict(row["contradictions"] or ()),
        lost=tuple(
            LeftOut(x["line"], row["listing_id"], x["reason"], x["detail"]) for x in row["lost"] or ()
        ),
    )


def _row(listing: Listing) -> dict[str, Any]:
    told = {name: getattr(listing, name) for name in OPTIONAL if name not in FURTHER}
    told |= {ASPECT_PREFIX + name: list(values) for name, values in listing.aspects.items()}
    return {
        **told,
        **listing.further,
        "listing_id": listing.listing_id,
        "line": listing.line,
        "rows": listing.rows,
        "images": list(listing.images),
        "category": listing.category,
        "unclear": list(listing.unclear.items()) or None,
        "contradictions": list(listing.contradictions.items()) or None,
        "lost": [{"line": x.line, "reason": x.reason, "detail": x.detail} for x in listing.lost] or None,
    }


class Catalogue:
    """A checked catalogue, in the order of its rows. Photos are read through it; safe for several threads."""

    def __init__(
        self,
        uri: str,
        digest: str,
        listings: Listed,
        *,
        left_out: Losses | None = None,
        ignored_columns: tuple[str, ...] = (),
        aspects: tuple[str, ...] = (),
        unit: str = "line",
        places: PhotoPlaces | None = None,
        state: str = "",
        notes: tuple[str, ...] = (),
        preset: str = "",
        s3: S3Settings | None = None,
    ) -> None:
        self.uri = uri
        self.digest = digest
        """SHA-256 of the table's bytes."""
        self.listings = listings
        self.left_out = Losses.of(()) if left_out is None else left_out
        self.ignored_columns = ignored_columns
        """Columns of the table that mean nothing here, in its order."""
        self.aspects = aspects
        """Names of the aspect columns, without the prefix, in the table's order."""
        self.unit = unit
        """What the number of a row counts: `line` or `row`."""
        self.places = places or PhotoPlaces(split_uri(uri)[0])
        """Where photos may lie."""
        self.notes = notes
        """What a person should know of how the table was read."""
        self.preset = preset
        """Name of the preset that it was read by; empty for our own columns."""
        self._state, self._s3 = state, s3

    def __len__(self) -> int:
        return len(self.listings)

    def check_unchanged(self) -> None:
        """Raises `CatalogueError` where the table is no longer the one whose reading began (its etag says so)."""
        try:
            if not self._state or state_now(self.uri, self._s3) == self._state:
                return
            what = "changed"
        except ObjectNotFound:
            what = "was removed"
        cut = [row.line for row in self.left_out.of_reason(CUT_OFF)]
        ends = f"; what was read ends in the middle of line {cut[0]}" if cut else ""
        raise CatalogueError(
            f"{self.uri} {what} while it was read{ends}; run it again when the export is finished"
        )

    def photo(self, image: str, *, max_bytes: int | None = None) -> bytes:
        """The bytes of a photo that a listing names, or the first `max_bytes` + 1 of them.

        Raises `ObjectNotFound` where there is none, `PhotoOutside` where a link leads out of where photos may lie, and
        other `StorageError`s.
        """
        return self.places.read(image, length=None if max_bytes is None else max_bytes + 1)

    def has_photo(self, image: str) -> bool:
        """Whether the photo is there, as far as can be seen without reading it."""
        return self.places.has(image)

    def photo_is_local(self, image: str) -> bool:
        """Whether the photo lies on this machine, so that trouble with it is no trouble with a service."""
        return self.places.is_local(image)
