"""A re-index: the current catalogue under the live model release, by difference.

A workplace and references enter; what is to be published leaves, and why. The command line and the flow's tasks both
call this. What the steps before and after it do stands in `steps`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from lookalike import steps, taken_over
from lookalike.catalogue.rules import CurationConfig
from lookalike.progress import Progress, silent
from lookalike.publishing import live_ref, publication
from lookalike.settings import FlowSettings, load
from lookalike.storage.artefacts import Ref

if TYPE_CHECKING:
    from lookalike.ingest.refresh import Refreshed
    from lookalike.workplace import Workplace


def refresh(
    place: Workplace,
    extraction: Ref,
    *,
    shards: int = 0,
    base: bool = False,
    progress: Progress = silent,
) -> Refreshed:
    """Extraction -> what to publish: a delta over what is live, a new base, or what is live already.

    `base` asks for a new base. `shards` is as `index` has it.
    """
    from lookalike.coding.shoppers import Shoppers
    from lookalike.ingest.refresh import refresh

    live = live_ref.read_live(place.store)
    return refresh(
        place.store,
        None if live is None else live.live.tip,
        extraction,
        shards=shards or load(FlowSettings).shards or publication.live_shards(place.store),
        photos=publication.live_photos(place.store),
        base=base,
        take=Shoppers.of(place.store, extraction, place.cache_dir, place.threads).take,
        cache_dir=place.cache_dir,
        progress=progress,
    )


def reindex(
    place: Workplace,
    catalogue: str,
    *,
    shards: int = 0,
    base: bool = False,
    told: Callable[[str], None] = lambda _: None,
    progress: Progress = silent,
) -> Refreshed:
    """The current catalogue under the live model release: curate as the live one was, extract what is new, `refresh`.

    `told` hears what was made and why. Raises `PublishingHeld` before anything is read while a roll-back holds
    publishing, `SettingsError` where nothing is live.
    """
    steps.require_not_held(place)
    curation, live = taken_over.live_curation(place), publication.published(place.store)
    columns = curation.pop("columns")
    layout = {name: curation.pop(name) for name in taken_over.LAYOUT}
    curated = steps.curate(
        taken_over.laid_out_as(place, layout),
        catalogue,
        CurationConfig(**curation),
        columns=columns,
        release=live.live.release,
        progress=progress,
    )
    extraction = steps.extract(place, curated, live.live.release, progress=progress)
    made = refresh(place, extraction, shards=shards, base=base, progress=progress)
    told(made.why)
    return made
