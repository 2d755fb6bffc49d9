"""Reading a shop's catalogue: a CSV or Parquet table enters, checked listings and a list of what is wrong leave.

Rows that name the same listing become one (`drafts`). One bad row never stops the rest: it is left out, with its line
number and a reason. An optional field that is not
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
from lookalike.catalogue.drafts import Draft
from lookalike.catalogue.fields import ASPECT_PREFIX, OPTIONAL, REQUIRED, is_aspect, is_image
from lookalike.catalogue.listings import Catalogue, LeftOut, Listing
from lookalike.catalogue.places import PhotoPlaces
from lookalike.catalogue.tables import RowProblem, Table, read_table
from lookalike.errors import CatalogueError, ObjectNotFound, SettingsError
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
    drafts: dict[str, Draft] = {}
    left_out: list[LeftOut] = []
    for line, row in table.rows(list(dict.fromkeys(chosen.values()))):
        name = ""
        try:
            if isinstance(row, RowProblem):
                raise row
            values = {ours: row[theirs] for ours, theirs in chosen.items()}
            name = _named(values["listing_id"])
            listing_id = fields.listing_id(values["listing_id"])
            draft = drafts.get(listing_id) or Draft(listing_id, line, table.unit)
            draft.add(line, values, places)
            drafts[listing_id] = draft
        except RowProblem as problem:
            left_out.append(LeftOut(line, name, problem.reason, problem.detail))
    finished = [draft.finished() for draft in drafts.values()]
    listings = [x for x in finished if isinstance(x, Listing)]
    left_out += [x for x in finished if isinstance(x, LeftOut)]
    left_out.sort(key=lambda row: row.line)
    if not listings:
        if not left_out:
            raise CatalogueError(f"{uri} has a header and no listings")
        gone = tally.by_reason(left_out)
        why = f"{tally.spoken(gone, table.unit)}{tally.mending(gone)}"
        raise CatalogueError(f"{uri}: none of its {sum(x.rows for x in left_out):,} rows can be used: {why}")
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
        if not _known(ours):
            known = ", ".join((*REQUIRED, "image_2", *OPTIONAL, "aspect_NAME"))
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
    chosen = {name: name for name in chosen if _known(name)}
    chosen = {name: name for name in chosen if name in REQUIRED or name not in table.no_text}
    chosen |= columns
    for ours, theirs in chosen.items():
        if theirs in table.no_text:
            raise CatalogueError(
                f"{uri}: {ours} cannot be taken from {theirs!r}, a column of structs or maps"
            )
    for name in REQUIRED:
        if name not in chosen and not (name == "image" and any(map(is_image, chosen))):
            hint = f"if another column holds it, say --column {name}=NAME"
            raise CatalogueError(f"{uri} has no column {name!r}; it has {_listed(header)}; {hint}")
    used = set(chosen.values())
    in_order = sorted(chosen, key=lambda ours: (_image_number(ours), header.index(chosen[ours])))
    return {ours: chosen[ours] for ours in in_order}, tuple(name for name in header if name not in used)


def _known(name: str) -> bool:
    return name in REQUIRED + OPTIONAL or is_image(name) or is_aspect(name)


def _image_number(name: str) -> int:
    """Photos of ``image`` come before those of ``image_2``, wherever the columns stand."""
    return int(name.partition("_")[2] or 1) if is_image(name) else 0


def _named(value: Any) -> str:
    """What a row that may be left out is called."""
    try:
        return "" if isinstance(value, RowProblem) else fields.as_text(value).strip()[:200]
    except UnicodeDecodeError:
        return ""


def _listed(header: tuple[str, ...]) -> str:
    shown = ", ".join(_CONTROL.sub("?", name)[:60] for name in header[:30])
    return shown + (f" and {len(header) - 30} more" if len(header) > 30 else "")
