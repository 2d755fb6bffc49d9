"""What an index snapshot holds, and a check of everything that opening it leaves out: `lookalike inspect`, `verify`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lookalike.errors import SegmentError
from lookalike.index.layers import open_delta
from lookalike.index.reader import IndexSnapshot, Partition
from lookalike.index.searchable import one_array
from lookalike.index.tombstones import SCHEMA, to_table
from lookalike.storage.artefacts import Artefact

_CHUNK = 8192


def describe(artefact: Artefact) -> dict[str, Any]:
    """Format, model release, rows and listings, columns, aspects, and bytes. Raises `SegmentError`."""
    snapshot = IndexSnapshot.open(artefact)
    sketched = [name for name in snapshot.categories if any(p.sketch for p in snapshot.partitions(name))]
    rows = len(snapshot)
    return {
        "format": snapshot.format,
        "release": snapshot.release,
        "preset": dict(snapshot.preset),
        "bits": snapshot.bits,
        "shards": len(artefact.manifest.files),
        "rows": rows,
        "listings": sum(snapshot.listings.values()),
        "categories": dict(snapshot.listings),
        "columns": dict(snapshot.columns),
        "descriptors": dict(snapshot.descriptors),
        "aspects": list(snapshot.aspects),
        "sketched": sketched,
        "bytes": sum(entry.size for entry in artefact.manifest.files),
        "code_bytes": rows * snapshot.bits // 8,
    }


def verify(artefact: Artefact) -> list[str]:
    """Every broken rule, in words; empty for a sound snapshot. Reads all of it.

    Beyond what opening checks: rows are sorted by listing id and ordinal, no listing is in two places and no photo
    of it twice, texts of a listing stand in its first row alone, numbers are finite or missing, every sketch is the
    one of its code, and the manifest counts the rows and listings that are there.
    """
    try:
        snapshot = IndexSnapshot.open(artefact)
    except SegmentError as error:
        return [str(error)]
    problems = _snapshot_problems(snapshot)
    meta = artefact.manifest.meta
    if meta.get("rows") != len(snapshot) or meta.get("categories") != dict(snapshot.listings):
        problems.append(f"{artefact.ref}: the manifest counts other rows than there are (rule: manifest)")
    return problems


def verify_delta(artefact: Artefact) -> list[str]:
    """As `verify`, for the segments and the tombstones of a delta."""
    try:
        delta = open_delta(artefact)
    except SegmentError as error:
        return [str(error)]
    problems = [] if delta.snapshot is None else _snapshot_problems(delta.snapshot)
    dead, stated = delta.tombstones, artefact.manifest.meta["delta"]
    if not dead.table.equals(to_table(*(one_array(dead.table[name]) for name in SCHEMA.names))):
        problems.append(
            f"{artefact.ref}: the tombstones are not sorted, or one is there twice (rule: tombstones)"
        )
    if (stated["rows"], stated["tombstones"]) != (len(delta.snapshot or ()), len(dead)):
        problems.append(f"{artefact.ref}: the manifest counts other rows than there are (rule: manifest)")
    return problems


def _snapshot_problems(snapshot: IndexSnapshot) -> list[str]:
    problems = []
    for category in snapshot.categories:
        try:
            parts = snapshot.partitions(category)
        except SegmentError as error:
            problems.append(str(error))
            continue
        problems += [f"{category}: {problem}" for part in parts for problem in _partition_problems(part)]
        ids = pa.concat_arrays([part.listing_ids for part in parts])
        if pc.count_distinct(ids).as_py() != snapshot.listings[category]:
            problems.append(f"{category}: a listing is in it twice (rule: unique)")
    return problems


def _partition_problems(part: Partition) -> list[str]:
    problems = []
    ids = part.listing_ids
    new = np.ones(len(part), np.bool_)
    new[1:] = pc.not_equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False)
    ordinals = part.photo_ordinals(np.arange(len(part)))
    if not (
        pc.all(pc.less_equal(ids[:-1], ids[1:]), min_count=0).as_py()
        and (new | (np.diff(ordinals, prepend=-1) > 0)).all()
    ):
        problems.append("the rows are not sorted by listing id and photo (rule: sorted)")
    if int(new.sum()) != part.listings:
        problems.append("a listing is in it twice (rule: unique)")
    for name, column in part.columns.items():
        if pa.types.is_floating(column.type):
            values = column.to_numpy(zero_copy_only=False)  # NaN where there is none
            if not np.isfinite(values[column.is_valid().to_numpy(zero_copy_only=False)]).all():
                problems.append(f"a {name} is infinite or no number (rule: number)")
        elif pa.types.is_string(column.type) and column.filter(pa.array(~new)).null_count != int(
            (~new).sum()
        ):
            problems.append(f"a {name} stands in another row than its listing's first (rule: first)")
    if part.sketch is not None:
        for start in range(0, len(part), _CHUNK):
            rows = slice(start, min(start + _CHUNK, len(part)))
            if (part.sketch.count(part.codes[rows]) != part.sketch.planes[:, rows]).any():
                problems.append(
                    f"a sketch among rows {rows.start}-{rows.stop - 1} is not its code's (rule: sketch)"
                )
                break
    return problems
