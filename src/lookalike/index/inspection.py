"""What an index snapshot holds, and a check of everything that opening it leaves out: `lookalike inspect`, `verify`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lookalike.errors import SegmentError
from lookalike.index.reader import IndexSnapshot, Partition
from lookalike.index.segment import FORMAT
from lookalike.storage.artefacts import Artefact

_CHUNK = 8192


def describe(artefact: Artefact) -> dict[str, Any]:
    """Format, model release, rows by category, aspects, and bytes. Raises `SegmentError`."""
    snapshot = IndexSnapshot.open(artefact)
    sketched = [name for name in snapshot.categories if any(p.sketch for p in snapshot.partitions(name))]
    rows = len(snapshot)
    return {
        "format": FORMAT,
        "release": snapshot.release,
        "preset": dict(snapshot.preset),
        "bits": snapshot.bits,
        "shards": len(artefact.manifest.files),
        "rows": rows,
        "categories": dict(snapshot.rows),
        "aspects": list(snapshot.aspects),
        "sketched": sketched,
        "bytes": sum(entry.size for entry in artefact.manifest.files),
        "code_bytes": rows * snapshot.bits // 8,
    }


def verify(artefact: Artefact) -> list[str]:
    """Every broken rule, in words; empty for a sound snapshot. Reads all of it.

    Beyond what opening checks: rows are sorted by listing id and no listing appears twice, a price that is missing
    is not a number, every sketch is the one of its code, and the manifest counts the rows that are there.
    """
    try:
        snapshot = IndexSnapshot.open(artefact)
    except SegmentError as error:
        return [str(error)]
    problems = []
    for category in snapshot.categories:
        try:
            parts = snapshot.partitions(category)
        except SegmentError as error:
            problems.append(str(error))
            continue
        problems += [f"{category}: {problem}" for part in parts for problem in _partition_problems(part)]
        ids = pa.concat_arrays([part.listing_ids for part in parts])
        if pc.count_distinct(ids).as_py() != len(ids):
            problems.append(f"{category}: a listing is in it twice (rule: unique)")
    meta = artefact.manifest.meta
    if meta.get("rows") != len(snapshot) or meta.get("categories") != dict(snapshot.rows):
        problems.append(f"{artefact.ref}: the manifest counts other rows than there are (rule: manifest)")
    return problems


def _partition_problems(part: Partition) -> list[str]:
    problems = []
    ids = part.listing_ids
    if len(ids) > 1 and not pc.all(pc.less(ids[:-1], ids[1:])).as_py():
        problems.append("the rows are not sorted by listing id (rule: sorted)")
    if np.isinf(part.prices).any():
        problems.append("a price is infinite (rule: price)")
    if part.sketch is not None:
        for start in range(0, len(part), _CHUNK):
            rows = slice(start, min(start + _CHUNK, len(part)))
            if (part.sketch.count(part.codes[rows]) != part.sketch.planes[:, rows]).any():
                problems.append(
                    f"a sketch among rows {rows.start}-{rows.stop - 1} is not its code's (rule: sketch)"
                )
                break
    return problems
