"""Listings that a shop leaves out by hand: a list enters, ids leave.

A list is any table with a column `listing_id`, such as the one that `lookalike suspects` writes, or a text of one id a
line. A row with anything in a column `keep` is passed over, so that a list of suspects can be gone through in a
spreadsheet program. A curated snapshot keeps its list, and its reference names that list, too: so a re-index leaves out
the same.
"""

from __future__ import annotations

from pathlib import Path

from lookalike.catalogue.fields import as_text
from lookalike.catalogue.left_out import as_written
from lookalike.catalogue.sources.opening import opened
from lookalike.catalogue.tables import RowProblem
from lookalike.errors import CatalogueError
from lookalike.settings import S3Settings
from lookalike.storage.artefacts import Kind, Ref, fetch, read_manifest
from lookalike.storage.objects import ObjectStore

EXCLUDED = "excluded.txt"
"""A snapshot's own list: one id a line."""
NOBODY = "none"
"""In place of a list: leave nothing out by hand."""
_ID, _KEEP = "listing_id", "keep"


def read_excluded(
    store: ObjectStore, place: str, cache_dir: Path, s3: S3Settings | None = None
) -> tuple[str, ...]:
    """The ids that a list names, sorted; `place` is a path, an address, or ``curated/ID@DIGEST`` of a snapshot.

    Raises `CatalogueError` where it cannot be read as a list.
    """
    if place in ("", NOBODY):
        return ()
    if place.startswith(f"{Kind.CURATED}/") and "@" in place:
        return excluded_from(store, Ref.parse(place), cache_dir)
    ids: set[str] = set()
    with opened(place, s3) as source:
        header = source.table.header
        if _ID in header:
            for line, row in source.table.rows([_ID, *([_KEEP] if _KEEP in header else [])]):
                if isinstance(row, RowProblem):
                    raise CatalogueError(f"{place}: line {line}: {row.detail}")
                if not _said(row.get(_KEEP)):
                    ids.add(as_written(_said(row[_ID])))
        elif len(header) == 1:
            ids.add(as_written(header[0].strip()))
            for _, row in source.table.rows(header):
                if not isinstance(row, RowProblem):
                    ids.add(as_written(_said(row[header[0]])))
        else:
            raise CatalogueError(f"{place} has no column {_ID!r}: whom does it exclude?")
    return tuple(sorted(ids - {""}))


def excluded_from(store: ObjectStore, ref: Ref, cache_dir: Path) -> tuple[str, ...]:
    """The list that a curated snapshot was made with; empty where there was none."""
    if all(entry.name != EXCLUDED for entry in read_manifest(store, ref).files):
        return ()
    return tuple(fetch(store, ref, cache_dir, [EXCLUDED]).path(EXCLUDED).read_text("utf-8").splitlines())


def _said(cell: object) -> str:
    return "" if cell is None or isinstance(cell, RowProblem) else as_text(cell).strip()
