"""Reading a shop's catalogue: a CSV or Parquet table enters, checked listings and a list of what is wrong leave.

One bad row never stops the rest: it is left out, with its line number and a reason. An optional field that is not
understood never leaves its row out: it is empty, and the listing says so. What makes the whole table
unusable (unreadable, a required column missing, nothing left) is a `CatalogueError`. Columns that mean nothing here are
not even read. In Parquet a NaN is an empty value, since that is how data frames write one. Photos may lie where
`places` says, and are read only when asked for.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from lookalike.catalogue import fields, tally
from lookalike.catalogue.fields import ASPECT_PREFIX, OPTIONAL, REQUIRED, is_aspect, required
from lookalike.catalogue.listings import Catalogue, LeftOut, Listing
from lookalike.catalogue.places import PhotoPlaces
from lookalike.catalogue.tables import RowProblem, Table, read_table
from lookalike.errors import CatalogueError, ObjectNotFound, PhotoOutside, SettingsError
from lookalike.settings import S3Settings
from lookalike.storage.stores import open_store, split_uri

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def read_catalogue(
    uri: str,
    *,
    columns: Mapping[str, str] | None = None,
    photo_roots: Sequence[str] = (),
    s3: S3Settings | None = None,
) -> Catalogue:
    """Read the table at `uri` (a path, ``file://`` or ``s3://``; Parquet by its first bytes, else CSV in UTF-8).

    `columns` maps our name to the table's: ``{"seller": "sender_id"}``. `photo_roots` are folders and
    ``s3://bucket/prefix`` that photos may lie in, beside the table's own folder or bucket. Raises `CatalogueError`
    where the table as a whole cannot be used, `SettingsError` for a root that is none or a name in `columns` that we do
    not know, and `StorageError`.
    """
    folder, name = split_uri(uri)
    try:
        data, etag = open_store(folder, s3).get_with_etag(name)
    except ObjectNotFound as error:
        raise CatalogueError(f"{uri}: there is no such catalogue") from error
    if not data:
        raise CatalogueError(f"{uri} is an empty file")
    table = read_table(uri, data)
    chosen, ignored = _choose(uri, table, columns or {})
    places = PhotoPlaces(folder, photo_roots, s3)
    listings: list[Listing] = []
    left_out: list[LeftOut] = []
    seen: dict[str, int] = {}
    for line, row in table.rows(list(dict.fromkeys(chosen.values()))):
        listing_id = ""
        try:
            if isinstance(row, RowProblem):
                raise row
            values = {ours: row[theirs] for ours, theirs in chosen.items()}
            listing_id = _named(values["listing_id"])
            listing = _listing(line, values, places)
            if listing_id in seen:
                first = f"{table.unit} {seen[listing_id]} has the listing id {listing_id!r} already"
                raise RowProblem("duplicate listing id", first)
            seen[listing_id] = line
            listings.append(listing)
        except RowProblem as problem:
            left_out.append(LeftOut(line, listing_id, problem.reason, problem.detail))
    if not listings:
        if not left_out:
            raise CatalogueError(f"{uri} has a header and no listings")
        gone = tally.by_reason(left_out)
        why = f"{tally.spoken(gone, table.unit)}{tally.mending(gone)}"
        raise CatalogueError(f"{uri}: none of its {len(left_out):,} rows can be used: {why}")
    aspects = tuple(ours.removeprefix(ASPECT_PREFIX) for ours in chosen if ours.startswith(ASPECT_PREFIX))
    return Catalogue(
        uri,
        hashlib.sha256(data).hexdigest(),
        tuple(listings),
        left_out=tuple(left_out),
        ignored_columns=ignored,
        aspects=aspects,
        unit=table.unit,
        places=places,
        etag=etag,
        s3=s3,
    )


def _choose(uri: str, table: Table, columns: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Our name -> the table's name, and the table's columns that are of no use here."""
    header = table.header
    for ours, theirs in columns.items():
        if ours not in REQUIRED + OPTIONAL and not is_aspect(ours):
            known = ", ".join((*REQUIRED, *OPTIONAL, "aspect_NAME"))
            raise SettingsError(f"no column is called {ours!r} here; NAME=COLUMN takes one of {known}")
        if theirs not in header:
            raise CatalogueError(
                f"{uri} has no column {theirs!r} (asked for as {ours}); it has {_listed(header)}"
            )
    doubled = sorted({name for name in header if header.count(name) > 1 and name})
    if doubled:
        raise CatalogueError(f"{uri} has the column {doubled[0]!r} twice")
    taken = set(columns.values())
    chosen = {name: name for name in header if name not in taken and name not in columns}
    chosen = {name: name for name in chosen if name in REQUIRED + OPTIONAL or is_aspect(name)}
    chosen = {name: name for name in chosen if name in REQUIRED or name not in table.no_text}
    chosen |= columns
    for ours, theirs in chosen.items():
        if theirs in table.no_text:
            raise CatalogueError(
                f"{uri}: {ours} cannot be taken from {theirs!r}, a column of structs or maps"
            )
    for name in REQUIRED:
        if name not in chosen:
            hint = f"if another column holds it, say --column {name}=NAME"
            raise CatalogueError(f"{uri} has no column {name!r}; it has {_listed(header)}; {hint}")
    used = set(chosen.values())
    in_order = sorted(chosen, key=lambda ours: header.index(chosen[ours]))
    return {ours: chosen[ours] for ours in in_order}, tuple(name for name in header if name not in used)


def _named(value: Any) -> str:
    """What a row that may be left out is called."""
    try:
        return "" if isinstance(value, RowProblem) else fields.as_text(value).strip()[:200]
    except UnicodeDecodeError:
        return ""


def _listed(header: tuple[str, ...]) -> str:
    shown = ", ".join(_CONTROL.sub("?", name)[:60] for name in header[:30])
    return shown + (f" and {len(header) - 30} more" if len(header) > 30 else "")


def _listing(line: int, values: Mapping[str, Any], places: PhotoPlaces) -> Listing:
    """A row as a listing. Raises `RowProblem`."""
    must = {name: required(name, values[name]) for name in REQUIRED}
    try:
        places.check(must["image"])
    except PhotoOutside as error:
        raise RowProblem("outside the catalogue", str(error)) from error
    except SettingsError as error:
        raise RowProblem("malformed image", f"not a usable place of a photo: {must['image']!r}") from error
    text: dict[str, str] = {}
    aspects: dict[str, tuple[str, ...]] = {}
    unclear: dict[str, str] = {}
    for name, value in values.items():
        if is_aspect(name):
            found, unclear[name] = fields.values(name, value)
            if found:
                aspects[name.removeprefix(ASPECT_PREFIX)] = found
        elif name in OPTIONAL and name != "price":
            text[name], unclear[name] = fields.optional(name, value)
    price, unclear["price"] = fields.price(values.get("price"))
    return Listing(
        **must,
        line=line,
        price=price,
        **text,
        aspects=aspects,
        unclear={name: problem for name, problem in unclear.items() if problem},
    )
