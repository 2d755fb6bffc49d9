"""The steps of the whole way as plain functions: a workplace and references enter, a reference leaves.

The command line (`cli/`) and the flows (`tasks/`) both call them, so each step is wired here and nowhere else. A step
that is run again finds its work done; one that was killed leaves nothing visible. What a step needs is imported when it
runs: naming the steps imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from lookalike.catalogue.rules import CurationConfig
from lookalike.errors import PublishingHeld, SettingsError, unknown
from lookalike.progress import Progress, silent
from lookalike.publishing import live_ref, publication, retention
from lookalike.settings import FlowSettings, load
from lookalike.starts import card_of, check_weights, chosen_recipe
from lookalike.storage import leftovers
from lookalike.storage.artefacts import Ref, read_manifest

if TYPE_CHECKING:
    from lookalike.catalogue.exports import Layout
    from lookalike.catalogue.listings import Catalogue
    from lookalike.catalogue.migration import Migrated
    from lookalike.index.searchable import Photos
    from lookalike.publishing.data_gate import DataGateReport
    from lookalike.quality.gate import GateConfig, GateReport
    from lookalike.quality.suspects import Suspect
    from lookalike.settings import DataGateSettings
    from lookalike.workplace import Workplace


def curate(
    place: Workplace,
    catalogue: str,
    config: CurationConfig | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    release: Ref | None = None,
    parent: Ref | Literal["live", "none"] = "live",
    progress: Progress = silent,
) -> Ref:
    """Catalogue -> curated snapshot, to learn from, or to be searched by `release`: then its categories stay.

    Listings keep the split that they have in `parent`: the snapshot of the live index, unless told otherwise. Raises
    `StoreUnsupported` where nothing could be published safely: before the hours that follow.
    """
    from lookalike.catalogue import curation
    from lookalike.catalogue.excluding import read_excluded
    from lookalike.storage.conditions import require_conditional_writes

    require_conditional_writes(place.store)
    return curation.curate(
        place.store,
        catalogue,
        config or load(CurationConfig),
        columns=columns,
        excluded=read_excluded(place.store, place.catalogue.exclude, place.cache_dir, place.s3),
        known=() if release is None else card_of(place, release).categories,
        parent=parent if isinstance(parent, Ref) else _live_snapshot(place) if parent == "live" else None,
        progress=progress,
        **reading(place),
    )


def reading(place: Workplace) -> dict[str, Any]:
    """How the shop's exports are to be read, where their photos may lie, and where to work."""
    return {
        "photo_roots": place.catalogue.photo_roots,
        "layout": _layout(place),
        "s3": place.s3,
        "cache_dir": place.cache_dir,
    }


def _live_snapshot(place: Workplace) -> Ref | None:
    """The curated snapshot of the live index, if there is one."""
    live = live_ref.read_live(place.store)
    if live is None:
        return None
    return Ref.parse(read_manifest(place.store, live.live.tip).inputs["curated"])


def _layout(place: Workplace) -> Layout:
    """How the shop's exports are to be read."""
    from lookalike.catalogue.exports import Layout
    from lookalike.catalogue.web_photos import WebPolicy

    said = place.catalogue
    web = WebPolicy(
        said.web_private, said.web_per_host, said.web_attempts, said.web_timeout_s, ca=said.web_ca
    )
    return Layout(said.preset, said.photos, said.query, web)


def preview(place: Workplace, catalogue: str, *, columns: Mapping[str, str] | None = None) -> Catalogue:
    """The first rows of a catalogue as they are understood, before any photo is read."""
    from lookalike.catalogue.reading import read_catalogue

    said = place.catalogue
    return read_catalogue(
        catalogue,
        columns=columns,
        photo_roots=said.photo_roots,
        layout=_layout(place),
        s3=place.s3,
        most_rows=PREVIEWED,
    )


PREVIEWED = 1_000
"""Rows that a preview reads."""


def train(
    place: Workplace,
    curated: Ref,
    recipe: str,
    *,
    weights: str = "",
    compiled: bool = False,
    decoding: Literal["auto", "once", "always"] = "auto",
    told: Callable[[str], None] = lambda said: None,
    progress: Progress = silent,
) -> Ref:
    """Curated snapshot -> model release; `told` hears what `auto` has chosen. Raises `TrainingStopped` on SIGTERM."""
    from lookalike.learning.recipes import recipe_named
    from lookalike.learning.training import train

    return train(
        place.store,
        curated,
        recipe_named(chosen_recipe(place, curated, recipe, weights=weights, told=told)),
        cache_dir=place.cache_dir,
        weights=weights or None,
        threads=place.threads,
        compiled=compiled,
        decoding=decoding,
        progress=progress,
    )


def trained(place: Workplace, curated: Ref, recipe: str, *, weights: str = "") -> Ref | None:
    """The model release that `train` would find finished."""
    from lookalike.learning.recipes import recipe_named
    from lookalike.learning.training import trained

    chosen = chosen_recipe(place, curated, recipe, weights=weights)
    return trained(place.store, curated, recipe_named(chosen), weights or None)


def extract(
    place: Workplace,
    curated: Ref,
    release: Ref,
    *,
    shard_size: int | None = None,
    progress: Progress = silent,
) -> Ref:
    """Curated snapshot and model release -> extraction; photos that have a code already are not encoded again."""
    from lookalike.learning.extraction import extract

    return extract(
        place.store,
        curated,
        release,
        cache_dir=place.cache_dir,
        shard_size=load(FlowSettings, shard_size=shard_size).shard_size,
        threads=place.threads,
        progress=progress,
    )


def suspects(
    place: Workplace,
    extraction: Ref,
    *,
    kinds: Collection[str] | None = None,
    progress: Progress = silent,
) -> list[Suspect]:
    """Extraction -> listings to look at: labels that photos contradict, odd, blurred and dark photos, copies."""
    from lookalike.quality.suspects import KINDS, find_suspects

    for name in kinds or ():
        if name not in KINDS:
            raise SettingsError(unknown("kind of suspects", name, KINDS))
    return find_suspects(
        place.store,
        extraction,
        kinds=kinds or KINDS,
        cache_dir=place.cache_dir,
        threads=place.threads,
        progress=progress,
    )


def index(
    place: Workplace,
    extraction: Ref,
    *,
    shards: int = 0,
    splits: Collection[str] | None = None,
    photos: Photos | None = None,
    progress: Progress = silent,
) -> Ref:
    """Extraction -> index snapshot, of `splits` alone where given.

    `shards` is the number of segments of each category; 0 takes the settings', or the live index's, or 1. `photos`
    of each listing become searchable: all, main, or so many; None takes as many as the live index has, or all.
    """
    from lookalike.coding.shoppers import Shoppers
    from lookalike.index.builder import build

    curated = Ref.parse(read_manifest(place.store, extraction).inputs["curated"])
    _check_splits(place, curated, splits)
    return build(
        place.store,
        curated,
        extraction,
        shards=shards or load(FlowSettings).shards or publication.live_shards(place.store),
        splits=None if splits is None else frozenset(splits),
        photos=photos or publication.live_photos(place.store),
        take=Shoppers.of(place.store, extraction, place.cache_dir, place.threads).take,
        cache_dir=place.cache_dir,
        progress=progress,
    )


def _check_splits(place: Workplace, curated: Ref, splits: Collection[str] | None) -> None:
    """A misspelt split beside a right one would leave its listings out of the index without a word."""
    if not splits:
        return
    from lookalike.catalogue.snapshot import splits_of
    from lookalike.catalogue.splits import LEAK, TEST, TRAIN, VAL

    known = {TRAIN, VAL, TEST, LEAK, *splits_of(place.store, curated, place.cache_dir)}
    for name in sorted(set(splits) - known):
        raise SettingsError(unknown("split", name, known))


def build_all(
    place: Workplace,
    catalogue: str,
    config: CurationConfig,
    recipe: str,
    *,
    weights: str = "",
    columns: Mapping[str, str] | None = None,
    shards: int = 0,
    splits: Collection[str] | None = None,
    photos: Photos | None = None,
    told: Callable[[str], None] = lambda said: None,
    progress: Progress = silent,
) -> dict[str, Ref]:
    """The whole way but for publishing, in order; the references of what was made or found."""
    require_not_held(place)
    check_weights(place, weights, recipe)
    curated = curate(place, catalogue, config, columns=columns, progress=progress)
    _check_splits(place, curated, splits)
    release = train(place, curated, recipe, weights=weights, told=told, progress=progress)
    extraction = extract(place, curated, release, progress=progress)
    built = index(place, extraction, shards=shards, splits=splits, photos=photos, progress=progress)
    return {"curated": curated, "release": release, "extraction": extraction, "index": built}


def why_held(place: Workplace, index: Ref | None = None) -> str:
    """Why nothing (or not this index) may be published unattended now, or ``""``."""
    artefacts = [] if index is None else [index, publication.release_of(place.store, index)]
    return publication.why_not(live_ref.read_live(place.store), *artefacts)


def require_not_held(place: Workplace) -> None:
    """Before long work that ends with a publication. Raises `PublishingHeld`."""
    if why := why_held(place):
        raise PublishingHeld(why)


def check_release(
    place: Workplace,
    index: Ref,
    config: GateConfig | None = None,
    *,
    told: Callable[[GateReport, Ref, Ref | None], None] = lambda report, new, live: None,
    progress: Progress = silent,
) -> bool:
    """Compare the model release of `index` with the live one; False where it is live already.

    `told` hears what was measured, of which release, and beside which. Raises `QualityGateError` where it is worse.
    """
    from lookalike.quality import gate

    found = live_ref.read_live(place.store)
    new, live = publication.release_of(place.store, index), None if found is None else found.live.release
    if live == new:
        return False
    curated = Ref.parse(read_manifest(place.store, index).inputs["curated"])
    indexes = [index] if found is None else [index, found.live.tip]
    report = gate.compare(
        place.store,
        curated,
        new,
        live,
        config or load(gate.GateConfig),
        cache_dir=place.cache_dir,
        extractions=[Ref.parse(read_manifest(place.store, each).inputs["extraction"]) for each in indexes],
        threads=place.threads,
        progress=progress,
    )
    told(report, new, live)
    report.require()
    return True


def publish(
    place: Workplace,
    index: Ref,
    *,
    by: str = "",
    replaces: publication.Replaces = "anything",
    attended: bool = False,
    rejected_too: bool = False,
    bounds: DataGateSettings | None = None,
    accept: bool = False,
    told: Callable[[DataGateReport], None] = lambda _: None,
    progress: Progress = silent,
) -> live_ref.LiveRef:
    """Index snapshot -> live, as `publication.publish_index` says; by whoever runs this process, unless told."""
    return publication.publish_index(
        place.store,
        index,
        by=by or publication.somebody(),
        cache_dir=place.cache_dir,
        replaces=replaces,
        attended=attended,
        rejected_too=rejected_too,
        bounds=bounds,
        accept=accept,
        told=told,
        progress=progress,
    )


def retain(
    place: Workplace,
    *,
    records: int | None = None,
    grace_hours: float | None = None,
    dry_run: bool = False,
    progress: Progress = silent,
) -> retention.RetentionPlan:
    """Remove what nothing that is kept refers to, what killed processes left, and what this machine's cache holds
    without using it, and say what went.

    Raises `LostRace` where something moved.

    `records` and `grace_hours` stand above the settings where they are given.
    """
    config = load(retention.RetentionConfig, records=records, grace_hours=grace_hours)
    planned = retention.plan(place.store, config)
    if not dry_run:
        retention.apply(place.store, planned, progress=progress)
        now = datetime.now(UTC)
        leftovers.remove(place.store, place.cache_dir, now - timedelta(hours=config.grace_hours))
        leftovers.remove_unused(place.cache_dir, now - timedelta(days=place.settings.cache_days))
    return planned


def migrate(place: Workplace, *, progress: Progress = silent) -> Migrated:
    """Take the photos of snapshots of version 0.1 into the photo log. Run again, it finds its work done."""
    from lookalike.catalogue import migration

    return migration.migrate(place.store, cache_dir=place.cache_dir, progress=progress)
