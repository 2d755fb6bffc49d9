"""The quality gate: is a new model release good enough to take the live one's place?

In come a curated snapshot and two model releases; out goes a table. Both releases, as search runs them, are tried on
the same held-out photos and the same sample of the gallery (`trial`): is the category known, is the gallery well
ordered, is the product, the variant and the colour found? Photo by photo the new release is better or worse. A measure
fails where it is surely worse: where even the upper end of the interval of the mean difference lies below the margin.
So luck with a few photos stops nobody, and a large loss is seen with few photos. A category that the live release has
never seen counts as its mistake: that is what shoppers would get. Ties are broken by photo id.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lookalike.catalogue.snapshot import LISTINGS, PHOTOS, photos_in
from lookalike.coding.encoder import open_encoder
from lookalike.coding.shards import known_codes
from lookalike.errors import QualityGateError
from lookalike.progress import Progress, silent
from lookalike.quality import trial
from lookalike.storage import keys
from lookalike.storage.artefacts import Ref, fetch, read_manifest
from lookalike.storage.objects import ObjectStore


@dataclass(frozen=True, slots=True)
class GateConfig:
    """How strict the quality gate is."""

    table: ClassVar[str] = "quality_gate"

    margin: float = 0.005
    """By how much (fraction of 1) each measure may surely fall below the live release's."""
    deviations: float = 3.0
    """How sure: standard deviations of the mean difference. At 3 an equal release passed in 99.5 % of 3,000 simulated
    trials on 146 photos, where a tenth of the photos change in each of seven measures and where 30 % do."""
    queries: int = 1000
    """Held-out photos used at most, chosen by their id."""
    gallery: int = 1000
    """Other photos that are searched beside those of the queries' products."""
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
    at_best: float | None = None
    """The upper end of the interval of the difference, new less live."""


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
            return f"no measure is surely worse than the live release's by more than {self.margin:.3f}"
        worse = ", ".join(f"{r.measure} {r.live:.3f} -> {r.new:.3f}" for r in self.rows if not r.passed)
        return f"surely worse than the live release by more than {self.margin:.3f}: {worse}"

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
    extractions: Sequence[Ref] = (),
    threads: int = 0,
    progress: Progress = silent,
) -> GateReport:
    """Measure `new` and `live` (None: nothing is live) on the held-out photos of `curated`.

    Photos of the gallery that have codes in one of `extractions`, of either release, are not encoded again.
    The first release passes whatever it measures. Later ones need held-out photos: `QualityGateError` where the
    snapshot has none, because the gate never passes what it cannot see. What the new release reaches is kept in the
    store (`keys.measures`), for the console.
    """
    tables = fetch(store, curated, cache_dir, [LISTINGS, PHOTOS])
    sample = trial.draw(tables.path(LISTINGS), config.queries, config.gallery)
    if not sample.queries and live is None:
        return GateReport((), 0, sample.split, config.margin, first=True)
    if not sample.queries:
        raise QualityGateError(f"{curated}: no photo is held out, so the gate has nothing to measure with")
    photos, measured = photos_in(store, tables, cache_dir), []
    for name, ref in (("new", new), ("live", live)):
        if ref is not None:
            encoder = open_encoder(fetch(store, ref, cache_dir), threads=threads)
            measured.append(
                trial.outcomes(
                    encoder,
                    photos,
                    sample,
                    progress,
                    f"measure {name} release",
                    k=config.k,
                    batch=config.batch,
                    known=_known(store, ref, extractions, sample, cache_dir),
                )
            )
    before = measured[1] if live is not None else {}
    rows = tuple(_row(name, values, before.get(name), config) for name, values in measured[0].items())
    reached = {row.measure: row.new for row in rows if math.isfinite(row.new)}
    store.put(keys.measures(new.id), json.dumps(reached, allow_nan=False).encode())
    return GateReport(rows, len(sample.queries), sample.split, config.margin, first=live is None)


def _known(
    store: ObjectStore, release: Ref, extractions: Sequence[Ref], sample: trial.Sample, cache_dir: Path
) -> dict[str, NDArray[np.uint8]]:
    """The codes by `release` of the sample's gallery, as far as they have been made."""
    photos = [each.photo_id for each in sample.gallery]
    known: dict[str, NDArray[np.uint8]] = {}
    for extraction in extractions:
        if read_manifest(store, extraction).inputs["release"] == str(release):
            known |= known_codes(store, extraction, photos, cache_dir)
    return known


def _row(
    name: str, new: NDArray[np.float64], live: NDArray[np.float64] | None, config: GateConfig
) -> GateRow:
    if live is None:
        return GateRow(name, None, float(np.nanmean(new)), passed=True)
    both = ~(np.isnan(new) | np.isnan(live))
    at_best = upper_end(new[both] - live[both], config.deviations)
    return GateRow(
        name, float(live[both].mean()), float(new[both].mean()), at_best >= -config.margin, at_best
    )


def upper_end(differences: NDArray[np.float64], deviations: float) -> float:
    """The upper end of the interval of the mean of n differences from -1 to 1.

    Their variance is taken to be 1 / 4n more than it was seen to be, so that one that is worse proves nothing.
    """
    n = len(differences)
    spread = deviations * np.sqrt((differences.var() + 0.25 / n) / n)
    return float(differences.mean() + spread)
