"""Examination: which photos of the log a curation takes, and what it knows of them.

Enter: photo ids and the log. Leave: arrays over the good ones, in the order of their ids, and why the others are not.
The log says what a photo is; the configuration says what is good enough, so that a new one needs no photo read again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from lookalike.catalogue.intake import Refusal
from lookalike.catalogue.packs import Pack
from lookalike.catalogue.photo_log import PhotoLog, packs_of
from lookalike.catalogue.rules import CurationConfig


@dataclass(frozen=True, slots=True)
class Examined:
    """All good photos, in the order of their ids, and why the others are not."""

    rows: pa.Table
    """Of the log (`photo_log.PHOTOS_SCHEMA`)."""
    photo_ids: Sequence[str]
    refused: dict[str, Refusal]
    """Photo id -> why not, in the order of ids."""

    @property
    def packs(self) -> list[Pack]:
        """Where the good photos lie, by key."""
        return packs_of(self.rows)


def examine(log: PhotoLog, photo_ids: Collection[str], config: CurationConfig) -> Examined:
    """Judge photos that are all in the log."""
    ids = pa.array(sorted(photo_ids), pa.string())
    rows = log.photos.take(log.rows_of(ids))
    measures = (rows[name].to_pylist() for name in ("reason", "detail", "width", "height", "deviation"))
    refused: dict[str, Refusal] = {}
    good = np.ones(len(ids), bool)
    for at, (reason, detail, width, height, deviation) in enumerate(zip(*measures, strict=True)):
        refusal = Refusal(reason, detail) if reason else _judge(width, height, deviation, config)
        if refusal is not None:
            good[at] = False
            refused[ids[at].as_py()] = refusal
    kept = rows.filter(pa.array(good))
    return Examined(
        kept,
        kept["photo_id"].to_pylist(),
        refused,
    )


def _judge(width: int, height: int, deviation: float, config: CurationConfig) -> Refusal | None:
    if max(width, height) > config.max_ratio * min(width, height):
        return Refusal("extreme shape", f"{width} x {height} pixels is longer than {config.max_ratio:g} to 1")
    if min(width, height) < config.min_side:
        return Refusal("tiny", f"{width} x {height} pixels; the shorter side must have {config.min_side}")
    if deviation < config.min_deviation:
        return Refusal("blank", f"it is all one colour (deviation {deviation:.1f} grey levels)")
    return None
