"""Reading a shop's catalogue: its export enters, checked listings and a list of what is wrong leave.

Rows become columns lot by lot (`cells`), and those that name the same listing become one (`drafts`). One bad row never
stops the rest: it is left out, with its line number and a reason. An optional field that is not understood never leaves
its row out: it is empty, and the listing says so. What makes the whole table unusable (unreadable, a required column
missing, nothing left) is a `CatalogueError`. Columns that mean nothing here are not even read. In Parquet a NaN is an
empty value, since that is how data frames write one. Photos may lie where `places` says, and are read only when asked
for.
"""

from __future__ import annotations

import difflib
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import compress, islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lookalike.catalogue import cells, fields, tally
from lookalike.catalogue.cells import Memory
from lookalike.catalogue.drafts import IMPLIED, Spellings, merged
from lookalike.catalogue.exports import Export, Layout, open_export
from lookalike.catalogue.fields import ASPECT_PREFIX, FURTHER, OPTIONAL, REQUIRED, is_aspect, is_image
from lookalike.catalogue.listings import Catalogue, LeftOut, Listed, Losses
from lookalike.catalogue.places import PhotoPlaces
from lookalike.catalogue.presets import folded
from lookalike.catalogue.prices import decimal_mark
from lookalike.catalogue.shelf import Shelf
from lookalike.catalogue.sources import databases
from lookalike.catalogue.spool import Spool
from lookalike.catalogue.tables import RowProblem, Table
from lookalike.columns import own_column, own_columns
from lookalike.errors import CatalogueError, NothingLeft, SettingsError
from lookalike.settings import S3Settings

_PRICES = 1_000
"""Prices that are looked at for their decimal mark."""

_ROWS_OF_A_LOT = 1 << 15
"""Rows that are Python objects at a time."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
Row = tuple[int, dict[str, Any] | RowProblem]


def read_catalogue(
    uri: str,
    *,
    columns: Mapping[str, str] | None = None,
    photo_roots: Sequence[str] = (),
    layout: Layout | None = None,
    s3: S3Settings | None = None,
    most_rows: int | None = None,
    shelf: Shelf | None = None,
) -> Catalogue:
    """Read the export at `uri`: a path, ``file://`` or ``s3://`` of a file or folder, or a database's address.

    `most_rows` reads so many from the start; a long table lies where columns of `shelf` do. `columns` maps our
    name to the table's: ``{"seller": "sender_id"}``. `photo_roots` are folders and ``s3://bucket/prefix`` that photos
    may lie in, beside the table's own folder or bucket.

    Raises `CatalogueError` where the table as a whole cannot be used, `SettingsError` for a root that is
    none or a name in `columns` that we do not know, and `StorageError`.
    """
    with open_export(uri, layout or Layout(), columns=columns, photo_roots=photo_roots, s3=s3) as export:
        if most_rows is not None:
            export = replace(export, table=export.table.first(most_rows))
        return _read(databases.shown(uri), export, s3, shelf or Shelf())


def _read(uri: str, export: Export, s3: S3Settings | None, shelf: Shelf) -> Catalogue:
    table, places = export.table, export.places
    chosen, ignored = _choose(uri, table, export.columns)
    mark = export.preset.decimal or _decimal_mark(table, chosen)
    rows = _Rows(chosen, places, mark, shelf)
    for lot in _lots(table.rows(list(dict.fromkeys(chosen.values())))):
        rows.add(lot)
    listings, lacking = merged(rows.spool, rows.hashes, table.unit)
    left_out = Losses.together([rows.left_out, lacking]).in_order("line")
    if not listings.num_rows:
        if not left_out:
            raise CatalogueError(f"{uri} has a header and no listings")
        gone = tally.by_reason(left_out)
        why = f"{tally.spoken(gone, table.unit)}{tally.mending(gone)}"
        message = f"{uri}: none of its {left_out.counted:,} rows can be used: {why}"
        raise NothingLeft(message, left_out)
    return Catalogue(
        uri,
        export.digest,
        Listed(listings),
        left_out=left_out,
        ignored_columns=ignored + table.ignored,
        aspects=rows.aspects,
        unit=table.unit,
        places=places,
        state=export.state,
        notes=tuple(table.notes),
        preset=export.preset.name,
        s3=s3,
    )


def _lots(rows: Iterable[Row]) -> Iterator[list[Row]]:
    rows = iter(rows)
    while lot := list(islice(rows, _ROWS_OF_A_LOT)):
        yield lot


class _Rows:
    """The rows of a table that can be used, in columns, and those that cannot."""

    def __init__(self, chosen: Mapping[str, str], places: PhotoPlaces, mark: str, shelf: Shelf) -> None:
        self._chosen, self._places = chosen, places
        names = [name for name in chosen if is_aspect(name)]
        self.aspects = tuple(name.removeprefix(ASPECT_PREFIX) for name in names)
        self._own = own_columns(chosen)
        schema = Listed.schema(self.aspects, self._own).append(pa.field(IMPLIED, pa.string()))
        self.spool = Spool(schema, shelf.folder, shelf.at_once)
        self._left_out: list[pa.Table] = []
        self.hashes = array("q")
        """Of the ids of the rows in `spool`."""
        self._spellings = Spellings()
        self._category = Memory(cells.category)
        self._price = Memory(lambda cell: fields.price(cell, mark))
        self._aspects = {name: Memory(partial(fields.values, name)) for name in names}

    @property
    def left_out(self) -> Losses:
        return Losses.together(self._left_out)

    def add(self, lot: Sequence[Row]) -> None:
        """Take in some rows."""
        wrong = [LeftOut(line, "", x.reason, x.detail) for line, x in lot if isinstance(x, RowProblem)]
        read = [(line, row) for line, row in lot if not isinstance(row, RowProblem)]
        lines = np.array([line for line, _ in read], np.int64)
        given = {ours: [row[theirs] for _, row in read] for ours, theirs in self._chosen.items()}
        ids, bad_ids = cells.listing_ids(given["listing_id"])
        images, lost = cells.images({x: y for x, y in given.items() if is_image(x)}, self._places)
        categories, bad_categories = cells.categories(given["category"], self._category)
        none = {at: lost[at][0] for at in lost if not len(images[at])}
        problems = bad_categories | none | bad_ids  # the first one of a row decides
        wrong += [
            LeftOut(int(lines[at]), _named(given["listing_id"][at]), x.reason, x.detail)
            for at, x in problems.items()
        ]
        if wrong:
            self._left_out.append(Losses.of(wrong).table)
        if problems:
            good = np.ones(len(read), bool)
            good[list(problems)] = False
            places = np.cumsum(good) - 1
            lost = {int(places[at]): x for at, x in lost.items() if good[at]}
            given = {name: [*compress(column, good)] for name, column in given.items()}
            lines, mask = lines[good], pa.array(good)
            ids, images, categories = (column.filter(mask) for column in (ids, images, categories))
        if len(lines):
            self.hashes.extend(map(hash, ids.to_pylist()))
            self.spool.add(self._batch(lines, ids, images, categories, given, lost))

    def _batch(
        self,
        lines: NDArray[np.int64],
        ids: pa.StringArray,
        images: pa.ListArray,
        categories: pa.StringArray,
        given: Mapping[str, Sequence[Any]],
        lost: Mapping[int, Sequence[RowProblem]],
    ) -> pa.RecordBatch:
        unclear: cells.Unclear = {}
        count = len(lines)
        columns: dict[str, Any] = {
            "listing_id": ids,
            "line": lines,
            "rows": np.ones(count, np.int32),
            "images": images,
            "category": categories,
        }
        for name in OPTIONAL:
            if name == "price" and name in given:
                columns[name], columns[IMPLIED] = cells.prices(given[name], self._price, unclear)
            elif name in given:
                column = cells.optional(name, given[name], unclear)
                columns[name] = pc.if_else(pc.equal(column, ""), None, column) if name in FURTHER else column
            elif name != "price" and name not in FURTHER:
                columns[name] = pa.repeat(pa.scalar("", pa.string()), count)
        columns |= {x.name: cells.own(x, given[x.name], unclear) for x in self._own}
        for name, memory in self._aspects.items():
            columns[name] = cells.aspects(name, given[name], memory, self._spellings, unclear)
        if unclear:
            columns["unclear"] = [list(unclear[at].items()) if at in unclear else None for at in range(count)]
        if lost:
            told = {
                at: [{"line": int(lines[at]), "reason": x.reason, "detail": x.detail} for x in wrong]
                for at, wrong in lost.items()
            }
            columns["lost"] = [told.get(at) for at in range(count)]
        arrays = [
            pa.array(columns[x.name], x.type) if x.name in columns else pa.nulls(count, x.type)
            for x in self.spool.schema
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self.spool.schema)


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
            known = ", ".join((*REQUIRED, "image_2", *OPTIONAL, "aspect_NAME", "number_NAME", "text_NAME"))
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
    own = Counter(column.called for column in own_columns(chosen))
    if twice := [name for name, count in own.items() if count > 1]:
        raise CatalogueError(
            f"{uri} has both number_{twice[0]} and text_{twice[0]}: hits can show one of them"
        )
    used = set(chosen.values())
    in_order = sorted(chosen, key=lambda ours: (_image_number(ours), header.index(chosen[ours])))
    return {ours: chosen[ours] for ours in in_order}, tuple(name for name in header if name not in used)


def _known(name: str) -> bool:
    return name in REQUIRED + OPTIONAL or is_image(name) or is_aspect(name) or own_column(name) is not None


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
