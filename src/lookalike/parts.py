"""Parts of steps, which several machines share: a workplace and what is shared enter, and a number of photos leaves.

The step itself (`steps`) then finds what the parts have left in the store, and what it makes is what it makes alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lookalike.catalogue.rules import CurationConfig
from lookalike.progress import Progress, silent
from lookalike.settings import FlowSettings, load
from lookalike.steps import reading
from lookalike.storage.artefacts import Ref

if TYPE_CHECKING:
    from lookalike.catalogue.plans import Plan
    from lookalike.workplace import Workplace


def plan_curation(
    place: Workplace,
    catalogue: str,
    config: CurationConfig | None = None,
    *,
    columns: Mapping[str, str] | None = None,
) -> Plan | None:
    """What `curate` would read, written down for machines that share it; None where one reads it soon enough."""
    from lookalike.catalogue import sharing
    from lookalike.catalogue.excluding import read_excluded
    from lookalike.storage.conditions import require_conditional_writes

    require_conditional_writes(place.store)
    config = config or load(CurationConfig)
    excluded = read_excluded(place.store, place.catalogue.exclude, place.cache_dir, place.s3)
    return sharing.plan_curation(
        place.store, catalogue, config, columns=columns, excluded=excluded, **reading(place)
    )


def curate_part(
    place: Workplace,
    catalogue: str,
    plan: str,
    part: int,
    parts: int,
    config: CurationConfig | None = None,
    *,
    progress: Progress = silent,
) -> int:
    """One part of a plan's photos into the photo log; the number of photos that were read."""
    from lookalike.catalogue import sharing

    config = config or load(CurationConfig)
    return sharing.curate_part(
        place.store, catalogue, plan, part, parts, config, progress=progress, **reading(place)
    )


def extract_part(
    place: Workplace,
    curated: Ref,
    release: Ref,
    part: int,
    parts: int,
    *,
    shard_size: int | None = None,
    progress: Progress = silent,
) -> int:
    """One part of a release's first code shards; the number of photos that were encoded."""
    from lookalike.learning.extraction import extract_part

    return extract_part(
        place.store,
        curated,
        release,
        part,
        parts,
        cache_dir=place.cache_dir,
        shard_size=load(FlowSettings, shard_size=shard_size).shard_size,
        threads=place.threads,
        progress=progress,
    )
