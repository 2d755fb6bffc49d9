"""Examination: which photos of the log a curation takes, and what it knows of them.

Enter: photo ids and the log. Leave: arrays over the good ones, in the order of their ids, and why the others are not.
The log says what a photo is; the configuration says what is good enough, so that a new one needs no photo read again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lookalike.catalogue.intake import Taken
from lookalike.catalogue.lots import Refusal
from lookalike.catalogue.photo_log import PhotoLog
from lookalike.catalogue.pictures import Photos
from lookalike.catalogue.rules import CurationConfig


@dataclass(frozen=True, slots=True)
class Examined:
    """All good photos, in the order of their ids, and why the others are not."""

    rows: pa.Table
    """Of the log (`photo_log.PHOTOS_SCHEMA`)."""
    photo_ids: pa.StringArray
    refused: Mapping[str, Refusal]
    """Photo id -> why not, in the order of ids."""


def examine(log: PhotoLog, photo_ids: pa.StringArray, config: CurationConfig) -> Examined:
    """Judge photos that are all in the log; their ids are in order."""
    rows = log.photos.take(log.rows_of(photo_ids))
    width, height = rows["width"], rows["height"]
    longer, shorter = pc.max_element_wise(width, height), pc.min_element_wise(width, height)
    good = pc.and_(
        pc.less_equal(longer, pc.multiply(pc.cast(shorter, pa.float64()), config.max_ratio)),
        pc.and_(
            pc.greater_equal(shorter, config.min_side),
            pc.greater_equal(rows["deviation"], config.min_deviation),
        ),
    )
    good = pc.and_(pc.is_null(rows["reason"]), pc.fill_null(good, False))
    columns = ["photo_id", "reason", "detail", "width", "height", "deviation"]
    told = rows.select(columns).filter(pc.invert(good)).to_pylist()
    kept = rows.filter(good)
    return Examined(
        kept,
        kept["photo_id"].combine_chunks(),
        {
            row["photo_id"]: Refusal(row["reason"], row["detail"]) if row["reason"] else _judge(row, config)
            for row in told
        },
    )


def photos_of(taken: Taken, photo_ids: pa.StringArray, refused: Mapping[str, Refusal]) -> Photos:
    """What references lead to, of photos with these ids, in order; others are `refused`."""
    known = photo_ids.to_numpy(zero_copy_only=False).astype("S32")
    codes = np.full(len(taken.ids), -1, np.int32)
    if len(known):
        at = np.searchsorted(known, taken.ids).clip(max=len(known) - 1)
        there = known[at] == taken.ids
        codes[there] = at[there]
    why = dict(taken.refused)
    why |= {place: refused[taken.ids[place].decode()] for place in _others(codes, taken).tolist()}
    places = sorted(why)
    to = np.full(len(codes), -1, np.int64)
    to[places] = np.arange(len(places))
    at_all = pa.array(to, mask=to < 0)
    reasons = pa.array([why[place].reason for place in places], pa.string())
    details = pa.array([why[place].detail for place in places], pa.string())
    return Photos(codes, reasons.take(at_all), details.take(at_all))


def _others(codes: NDArray[np.int32], taken: Taken) -> NDArray[np.int64]:
    """References to photos that are not good."""
    return np.flatnonzero((codes < 0) & (taken.ids != b""))


def _judge(row: Mapping[str, float], config: CurationConfig) -> Refusal:
    width, height, deviation = int(row["width"]), int(row["height"]), row["deviation"]
    if max(width, height) > config.max_ratio * min(width, height):
        return Refusal("extreme shape", f"{width} x {height} pixels is longer than {config.max_ratio:g} to 1")
    if min(width, height) < config.min_side:
        return Refusal("tiny", f"{width} x {height} pixels; the shorter side must have {config.min_side}")
    return Refusal("blank", f"it is all one colour (deviation {deviation:.1f} grey levels)")
