"""Reading a shop's catalogue: its export enters, checked listings and a list of what is wrong leave.

Rows that name the same listing become one (`drafts`). One bad row never stops the rest: it is left out, with its line
number and a reason. An optional field that is not understood never leaves its row out: it is empty, and the listing
says so. What makes the whole table unusable (unreadable, a required column missing, nothing left) is a
`CatalogueError`. Columns that mean nothing here are not even read. In Parquet a NaN is an empty value, since that is
how data frames write one. Photos may lie where `places` says, and are read only when asked for.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from lookalike.catalogue import fields, tally
from lookalike.catalogue.drafts import Draft, Spellings
from lookalike.catalogue.exports import Export, Layout, open_export
from lookalike.catalogue.fields import ASPECT_PREFIX, OPTIONAL, REQUIRED, is_aspect, is_image
from lookalike.catalogue.listings import Catalogue, LeftOut, Listing
from lookalike.catalogue.presets import folded
from lookalike.catalogue.prices import decimal_mark
from lookalike.catalogue.sources import databases
from lookalike.catalogue.tables import RowProblem, Table
from lookalike.errors import CatalogueError, NothingLeft, SettingsError
from lookalike.settings import S3Settings

_PRICES = 1_000
"""Prices that are looked at for their decimal mark."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def read_catalogue(
    uri: str,
    *,
    columns: Mapping[str, str] | None = None,
    photo_roots: Sequence[str] = (),
    layout: Layout | None = None,
    s3: S3Settings | None = None,
    most_rows: int | None = None,
) -> Catalogue:
    """Read the export at `uri`: a path, ``file://`` or ``s3://`` of a file or folder, or a database's address.

    `most_rows` reads so many from the start. `columns` maps our name to the table's: ``{"seller": "sender_id"}``.
    `photo_roots` are folders and ``s3://bucket/prefix`` that photos may lie in, beside the table's own folder or
    bucket. Raises `CatalogueError` where the table as a whole cannot be used, `SettingsError` for a root that is
    none or a name in `columns` that we do not know, and `StorageError`.
    """
    with open_export(uri, layout or Layout(), columns=columns, photo_roots=photo_roots, s3=s3) as export:
        if most_rows is not None:
            export = replace(export, table=export.table.first(most_rows))
        return _read(databases.shown(uri), export, s3)


def _read(uri: str, export: Export, s3: S3Settings | None) -> Catalogue:
    table, places = export.table, export.places
    chosen, ignored = _choose(uri, table, export.columns)
    mark = export.preset.decimal or _decimal_mark(table, chosen)
    drafts: dict[str, Draft] = {}
    spellings = Spellings()
    left_out: list[LeftOut] = []
    for line, row in table.rows(list(dict.fromkeys(chosen.values()))):
        name = ""
        try:
            if isinstance(row, RowProblem):
                raise row
            values = {ours: row[theirs] for ours, theirs in chosen.items()}
            name = _named(values["listing_id"])
            listing_id = fields.listing_id(values["listing_id"])
            draft = drafts.get(listing_id) or Draft(listing_id, line, table.unit, spellings)
            draft.add(line, values, places, mark)
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
        message = f"{uri}: none of its {sum(x.rows for x in left_out):,} rows can be used: {why}"
        raise NothingLeft(message, left_out)
    aspects = tuple(ours.removeprefix(ASPECT_PREFIX) for ours in chosen if ours.startswith(ASPECT_PREFIX))
    return Catalogue(
        uri,
        export.digest,
        tuple(listings),
        left_out=tuple(left_out),
        ignored_columns=ignored + table.ignored,
        aspects=aspects,
        unit=table.unit,
        places=places,
        state=export.state,
        notes=tuple(table.notes),
        preset=export.preset.name,
        s3=s3,
    )


def _decimal_mark(table: Table, chosen: Mapping[str, str]) -> str:
    """The decimal mark that the first prices agree on; empty where they leave it open."""
    if "price" not in chosen:
        return ""
    rows = islice(table.rows([chosen["price"]]), _PRICES)
    cells = (row[chosen["price"]] for _, row in rows if not isinstance(row, RowProblem))
    return decimal_mark(cell for cell in cells if isinstance(cell, str))


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
    given = {*chosen, *(["image"] if any(map(is_image, chosen)) else [])}
    if missing := [name for name in REQUIRED if name not in given]:
        raise CatalogueError(f"{uri} {lacking(missing, header)}")
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


_OFTEN = {
    "listing_id": ("id", "sku", "handle", "item_id", "product_id", "listing", "article_number", "uid"),
    "image": (
        "image_url",
        "image_link",
        "photo",
        "picture",
        "img",
        "image_src",
        "filename",
        "file",
        "path",
        "image_path",
    ),
    "category": (
        "categories",
        "type",
        "product_type",
        "class",
        "label",
        "category_path",
        "kind",
        "product_category",
    ),
}


def lacking(missing: Sequence[str], header: Sequence[str]) -> str:
    """``has no column 'image'; it has ...``, for every column that is missing at once, with what was probably meant."""
    meant = {name: found for name in missing if (found := _near(name, header))}
    names = " and ".join(map(repr, missing))
    hints = " ".join(f"--column {name}={_shown(meant.get(name, 'NAME'))}" for name in missing)
    asked = "did you mean" if meant else "if another column holds it, say"
    return (
        f"has no column{'s' * (len(missing) > 1)} {names}; it has {_listed(tuple(header))}; {asked} {hints}"
        f"{'?' * bool(meant)}; exports of shop systems are read by --preset NAME"
    )


def _shown(name: str) -> str:
    return f"'{name}'" if " " in name else name


def _near(name: str, header: Sequence[str]) -> str:
    """The column that most likely holds what we call `name`, or empty."""
    by_name = {folded(column): column for column in header}
    for often in _OFTEN[name]:
        if often in by_name:
            return by_name[often]
    near = difflib.get_close_matches(name, by_name, n=1, cutoff=0.75)
    return by_name[near[0]] if near else ""


def _listed(header: tuple[str, ...]) -> str:
    shown = ", ".join(_CONTROL.sub("?", name)[:60] for name in header[:30])
    return shown + (f" and {len(header) - 30} more" if len(header) > 30 else "")
