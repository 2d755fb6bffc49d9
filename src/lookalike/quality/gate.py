"""The quality gate: is a new model release good enough to take the live one's place?

In come a curated snapshot and two model releases; out goes a table. Both releases, as search runs them, encode the
same held-out photos, and each is asked two things: is the true leaf category likeliest, or among the five likeliest;
and, with every held-out photo as a query and all others ranked by Hamming distance, how good is the order? A measure
fails where the new release is worse by more than the margin. A category that the live release has never seen counts
as its mistake: that is what shoppers would get. Ties are broken by photo id.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lookalike.catalogue.snapshot import CuratedSnapshot
from lookalike.coding import codes
from lookalike.coding.encoder import Encoder, open_encoder
from lookalike.errors import PhotoError, QualityGateError
from lookalike.imaging.photos import load_square
from lookalike.progress import Progress, silent
from lookalike.quality.metrics import rank_relevance, ranking_quality, top_k_accuracy
from lookalike.storage.artefacts import Ref, digest_of, fetch
from lookalike.storage.objects import ObjectStore

HELD_OUT = ("test", "val")
"""Splits that no release trains on, in the order in which they are preferred."""


@dataclass(frozen=True, slots=True)
class GateConfig:
    """How strict the quality gate is."""

    table: ClassVar[str] = "quality_gate"

    margin: float = 0.02
    """By how much (fraction of 1) each measure may fall below the live release's."""
    queries: int = 1000
    """Held-out photos used at most, chosen by their id; 1000 put two standard errors of a top-1 of 0.8 at 0.025."""
    k: int = 10
    """Nearest listings of recall@k."""
    batch: int = 32
    """Photos that are encoded at a time; more need more memory and are hardly faster."""


@dataclass(frozen=True, slots=True)
class GateRow:
    """One measure of both releases."""

    measure: str
    live: float | None
    new: float
    passed: bool


@dataclass(frozen=True, slots=True)
class GateReport:
    """What was measured, on how many held-out photos, and whether the new release may be published."""

    rows: tuple[GateRow, ...]
    queries: int
    split: str
    margin: float
    first: bool
    """Nothing is live, so there is nothing to be worse than."""

    @property
    def passed(self) -> bool:
        return self.first or all(row.passed for row in self.rows)

    def verdict(self) -> str:
        """One sentence for a person."""
        if self.first:
            return f"the first model release passes; measured on {self.queries} held-out photos"
        if self.passed:
            return f"no measure is worse than the live release's by more than {self.margin:.3f}"
        worse = ", ".join(f"{r.measure} {r.live:.3f} -> {r.new:.3f}" for r in self.rows if not r.passed)
        return f"worse than the live release by more than {self.margin:.3f}: {worse}"

    def require(self) -> None:
        """Raises `QualityGateError` with the verdict where the release must not be published."""
        if not self.passed:
            raise QualityGateError(f"{self.verdict()} ({self.queries} held-out photos); nothing is published")


def compare(
    store: ObjectStore,
    curated: Ref,
    new: Ref,
    live: Ref | None,
    config: GateConfig = GateConfig(),
    *,
    cache_dir: Path,
    threads: int = 0,
    progress: Progress = silent,
) -> GateReport:
    """Measure `new` and `live` (None: nothing is live) on the held-out photos of `curated`.

    The first release passes whatever it measures. Later ones need held-out photos: `QualityGateError` where the
    snapshot has none, because the gate never passes what it cannot see.
    """
    snapshot = CuratedSnapshot.open(store, curated, cache_dir)
    split, held_out = _held_out(snapshot, config.queries)
    if not held_out and live is None:
        return GateReport((), 0, split, config.margin, first=True)
    if not held_out:
        raise QualityGateError(f"{curated}: no photo is held out, so the gate has nothing to measure with")
    measured = []
    for name, ref in (("new", new), ("live", live)):
        if ref is not None:
            encoder = open_encoder(fetch(store, ref, cache_dir), threads=threads)
            measured.append(
                _measure(encoder, snapshot, held_out, config, progress, f"measure {name} release")
            )
    before = measured[1] if live is not None else {}
    rows = tuple(
        GateRow(
            name,
            before.get(name),
            value,
            passed=name not in before or value >= before[name] - config.margin,
        )
        for name, value in measured[0].items()
    )
    return GateReport(rows, len(held_out), split, config.margin, first=live is None)


def _held_out(snapshot: CuratedSnapshot, limit: int) -> tuple[str, dict[str, str]]:
    """Photo id -> category of at most `limit` held-out photos. Ids are hashed anew: their order is no sample order."""
    splits, categories, ids = (
        snapshot.listings[name].to_pylist() for name in ("split", "category", "photo_id")
    )
    for split in HELD_OUT:
        found = {p: c for s, c, p in zip(splits, categories, ids, strict=True) if s == split}
        if found:
            chosen = sorted(found, key=digest_of)[:limit]
            return split, {photo_id: found[photo_id] for photo_id in sorted(chosen)}
    return HELD_OUT[0], {}


def _measure(
    encoder: Encoder,
    snapshot: CuratedSnapshot,
    held_out: Mapping[str, str],
    config: GateConfig,
    progress: Progress,
    stage: str,
) -> dict[str, float]:
    side, known = encoder.card.preset.resize, {name: i for i, name in enumerate(encoder.card.categories)}
    truth, labels, scores, packed = [], [], [], []
    squares: list[NDArray[np.uint8]] = []
    for done, (photo_id, category) in enumerate(held_out.items(), 1):
        try:
            squares.append(load_square(snapshot.photo_bytes(photo_id), side))
            truth.append(known.get(category, -1))
            labels.append(category)
        except PhotoError:  # neither release can be asked about it
            pass
        if squares and (len(squares) == config.batch or done == len(held_out)):
            encoding = encoder.encode(np.stack(squares))
            scores.append(encoding.probabilities)
            packed.append(encoding.codes)
            squares.clear()
        progress(stage, done, len(held_out))
    if not labels:
        raise QualityGateError(f"{snapshot.ref}: no held-out photo can be read")
    names, places, all_codes = np.array(labels), np.array(truth), np.concatenate(packed)
    distances = np.stack([codes.hamming(query, all_codes) for query in all_codes])
    itself = np.eye(len(names), dtype=bool)
    quality = ranking_quality(rank_relevance(distances, names[:, None] == names, itself), [config.k])
    probabilities = np.concatenate(scores)
    measures = {
        "category top-1": top_k_accuracy(probabilities, places, 1),
        "category top-5": top_k_accuracy(probabilities, places, 5),
        "mAP": quality.mean_average_precision,
        f"recall@{config.k}": quality.recall_at[config.k],
    }
    return {name: value for name, value in measures.items() if not math.isnan(value)}
