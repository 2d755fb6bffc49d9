"""Drafts: rows that name the same listing become one listing.

A shop may write one row per photo or per variant. All photos count, in the order of the rows and, within a row, of
its image columns. Values of aspects count as well: each variant may have a size of its own. Everything else belongs
to the listing: the first row that states it decides. A later row that states something else is a contradiction, which
is counted and shown, and an empty cell says nothing. What no row states and one needs (a photo, a category) leaves
out all rows of the listing.

Rows enter as `cells` has understood them, in columns. Few rows have company: those that have are brought together by
the hashes of their ids and go through Python one listing at a time, and all others stay columns.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lookalike.catalogue import fields
from lookalike.catalogue.fields import ASPECT_PREFIX, FURTHER, OPTIONAL
from lookalike.catalogue.listings import Listed, Losses
from lookalike.catalogue.shelf import Places
from lookalike.catalogue.spool import Spool
from lookalike.columns import own_columns

IMPLIED = "implied_currency"
"""Column of rows beside those of listings: what a price says its currency is."""
_BLOCK, _AT_ONCE = 1 << 16, 1 << 12
_MOST_BLOCKS = 256
"""Blocks of rows, each a file for a while."""


class Spellings:
    """How values of aspects are written: ``Blue`` and ``blue`` are one value, written as in the first row."""

    def __init__(self) -> None:
        self._first: dict[tuple[str, str], str] = {}

    def all_of(self, aspect: str, values: Iterable[str]) -> list[str]:
        """`values` as they were written first."""
        return [self._first.setdefault((aspect, value.casefold()), value) for value in values]


def merged(rows: Spool, hashes: array[int], unit: str) -> tuple[Spool, Losses]:
    """Listings of rows, in the order of their first ones, and rows of listings that lack a photo or a category.

    `rows` have the columns of listings and `IMPLIED`; `hashes` are those of their ids, equal for equal ids, 64 bits
    each.
    """
    blocks: Iterator[tuple[pa.Table, NDArray[np.integer]]]
    if (group := _groups(np.frombuffer(hashes, np.int64))) is not None:
        blocks = _blocks(rows, group)
    else:
        blocks = ((pa.Table.from_batches([batch]), np.arange(batch.num_rows)) for batch in rows.batches())
    found, lost = Spool(Listed.schema_of(rows.schema), rows.folder, rows.held), []
    for table, groups in blocks:
        listings = _finished(_joined(table, groups, unit))
        lacking = pc.or_(_empty(listings["images"]), pc.equal(listings["category"], ""))
        if pc.any(lacking).as_py():
            lost.append(_lacking(listings.filter(lacking)))
            listings = listings.filter(pc.invert(lacking))
        found.add(listings.select(found.schema.names).combine_chunks())
    return found, Losses.together(lost)


def _groups(hashes: NDArray[np.int64]) -> Places | None:
    """For each row the first one of the same hash; None where each has its own."""
    ordered = np.sort(hashes)
    common = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    del ordered
    if not len(common):
        return None
    group = np.arange(len(hashes), dtype=np.int32)
    first = np.full(len(common), -1, np.int32)
    for at in range(0, len(hashes), _BLOCK):
        own = hashes[at : at + _BLOCK]
        number = np.searchsorted(common, own).clip(max=len(common) - 1)
        several = np.flatnonzero(common[number] == own)
        number = number[several]
        rows = several.astype(np.int32) + np.int32(at)
        new = first[number] < 0
        first[number[new][::-1]] = rows[new][::-1]
        group[rows] = first[number]
    return group


def _blocks(rows: Spool, group: Places) -> Iterator[tuple[pa.Table, NDArray[np.integer]]]:
    """Rows in the order of their groups, none of which is parted, and the groups."""
    order = np.argsort(group, kind="stable").astype(np.int32)
    groups = group[order]
    rest, before = rows.schema.empty_table(), 0
    for block in rows.in_order(order, max(_BLOCK, len(order) // _MOST_BLOCKS)):
        table = pa.concat_tables([rest, block])
        own = groups[before : before + table.num_rows]
        last = before + table.num_rows == len(groups)
        cut = table.num_rows if last else int(np.searchsorted(own, own[-1]))
        yield table.slice(0, cut), own[:cut]
        rest, before = table.slice(cut), before + cut


def _joined(rows: pa.Table, groups: NDArray[np.integer], unit: str) -> pa.Table:
    """Rows of one listing each; `groups` are in order."""
    first = np.flatnonzero(np.append(True, groups[1:] != groups[:-1]))[: len(groups)]
    sizes = np.diff(np.append(first, len(groups)))
    if (sizes == 1).all():
        return rows
    alone = np.zeros(len(groups), bool)
    alone[first[sizes == 1]] = True
    parts, places = [rows.filter(pa.array(alone))], [np.flatnonzero(alone)]
    several = first[sizes > 1]
    for at in range(0, len(several), _AT_ONCE // 2):
        starts = several[at : at + _AT_ONCE // 2]
        told = []
        for start, size in zip(starts.tolist(), sizes[np.searchsorted(first, starts)].tolist(), strict=True):
            by_id: dict[str, list[dict[str, Any]]] = {}
            for row in rows.slice(start, size).to_pylist():
                by_id.setdefault(row["listing_id"], []).append(row)
            told += [(start, _one(same, unit)) for same in by_id.values()]
        parts.append(pa.Table.from_pylist([row for _, row in told], schema=rows.schema))
        places.append(np.array([start for start, _ in told], np.int64))
    order = np.argsort(np.concatenate(places), kind="stable")
    return pa.concat_tables(parts).combine_chunks().take(pa.array(order))


def _one(rows: Sequence[dict[str, Any]], unit: str) -> dict[str, Any]:
    """One row that says what several say of a listing."""
    stated: dict[str, tuple[Any, int]] = {}  # column -> the value, and the line that states it first
    unclear: dict[str, str] = {}
    contradictions: dict[str, str] = {}
    aspects: dict[str, dict[str, None]] = {}
    own = [column.name for column in own_columns(rows[0])]
    names = ("category", *OPTIONAL, *own)
    for row in rows:
        odd = dict(row["unclear"] or ())
        for name in names:
            value, why = row[name], odd.get(name, "")
            if why and name not in stated:
                unclear.setdefault(name, why)
            if value is None or value == "":
                continue
            if name not in stated:
                unclear.pop(name, None)  # of a row before
            first, line = stated.setdefault(name, (value, row["line"]))
            if first != value and name not in contradictions:
                new, old = (fields.shown(fields.as_text(x)) for x in (value, first))
                contradictions[name] = f"{unit} {row['line']} says {new}, {unit} {line} {old}"
        for name in row:
            if name.startswith(ASPECT_PREFIX):
                aspects.setdefault(name, {}).update(dict.fromkeys(row[name] or ()))
                unclear.pop(name, None)
                if name in odd:
                    unclear[name] = odd[name]
    nothing = {name: None if name in {*FURTHER, *own, "price"} else "" for name in names}
    return {
        **nothing,
        **{name: value for name, (value, _) in stated.items()},
        **{name: list(values) or None for name, values in aspects.items()},
        "listing_id": rows[0]["listing_id"],
        "line": rows[0]["line"],
        "rows": sum(row["rows"] for row in rows),
        "images": list(dict.fromkeys(image for row in rows for image in row["images"])),
        "unclear": list(unclear.items()) or None,
        "contradictions": list(contradictions.items()) or None,
        "lost": [lost for row in rows for lost in row["lost"] or ()] or None,
        IMPLIED: next((row[IMPLIED] for row in rows if row[IMPLIED]), None),
    }


def _finished(rows: pa.Table) -> pa.Table:
    """With the currency that a price implies and the address that a photo has, where no column says."""
    rows = rows.combine_chunks()
    firsts = pc.list_flatten(rows["images"])
    on_web = pc.match_substring_regex(firsts, "^https?://")
    pictured = pa.nulls(rows.num_rows, pa.string())
    if pc.any(on_web).as_py():
        parents = pc.list_parent_indices(rows["images"]).filter(on_web)
        pictured = firsts.filter(on_web).take(pc.index_in(pa.array(np.arange(rows.num_rows)), parents))
    implied = pc.if_else(pc.equal(rows[IMPLIED], ""), None, rows[IMPLIED])
    for name, other in (("currency", implied), ("image_url", pictured)):
        rows = rows.set_column(
            rows.schema.get_field_index(name), rows.schema.field(name), pc.coalesce(rows[name], other)
        )
    return rows


def _empty(lists: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.equal(pc.list_value_length(lists), 0)


def _lacking(listings: pa.Table) -> pa.Table:
    """Why these are left out."""
    pictureless = _empty(listings["images"])
    reason = pc.if_else(pictureless, "no image", "no category")
    detail = pc.if_else(
        pictureless, "image is empty", "category is empty, so it can be neither learnt nor found"
    )
    columns = [listings["line"], listings["listing_id"], reason, detail, listings["rows"]]
    return pa.table(columns, schema=Losses.SCHEMA)
