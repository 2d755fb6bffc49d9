"""The tasks: each opens the store, calls one step of `lookalike`, and says what came of it.

References come in and go out as text. A task that is run again finds its step done; one that was killed leaves
nothing visible and goes on where it was. Only an unreachable store is worth another attempt (`tasks.settings`).
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from prefect import task
from prefect.exceptions import TerminationSignal
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from lookalike.errors import LostRace, SettingsError, TrainingError, TrainingStopped
from lookalike.publishing import live_ref, publication, retention
from lookalike.quality import gate
from lookalike.settings import DataGateSettings, S3Settings, Settings
from lookalike.storage.artefacts import Kind, Ref, fetch, read_manifest
from lookalike.storage.objects import ObjectStore
from lookalike.storage.stores import open_store
from tasks import reports
from tasks.progress import ProgressArtifacts
from tasks.settings import TASKS, patient

CURATION = ("columns", "min_category", "seller_cap", "keep_sellers")
"""What a flow decides about curation; a re-index takes it from the live snapshot."""


def place(store: str) -> ObjectStore:
    """The store that a parameter names, or else the environment."""
    return open_store(store or Settings().store, S3Settings())


@task(**patient())
def live_release(store: str) -> str:
    """The model release that is live, or `nothing`: what a publication at the end may replace."""
    live = live_ref.read_live(place(store))
    return "nothing" if live is None else str(live.live.release)


@task(**patient())
def held(store: str, index: str = "") -> str:
    """Why nothing (or not this index) may be published unattended now, or ``""``."""
    opened = place(store)
    snapshot = [Ref.parse(index)] if index else []
    artefacts = snapshot + [publication.release_of(opened, ref) for ref in snapshot]
    return publication.why_not(live_ref.read_live(opened), *artefacts)


def check_weights(store: str, asked: str) -> None:
    """Raises `StorageError` where `asked` is a model release that the store does not hold: before hours of work."""
    if asked.startswith(f"{Kind.RELEASE}/"):
        read_manifest(place(store), Ref.parse(asked))


def starting_weights(store: str, asked: str, curated: str, recipe: str) -> str:
    """What `asked` names; for `live` the live model release, or nothing where nothing is.

    A live release that has learned from this very snapshot by this recipe is what the caller is after: then its own
    start is named, by which it is found finished.
    """
    if asked != "live":
        return asked
    from lookalike.learning.identity import is_training_by
    from lookalike.learning.recipes import recipe_named

    live = live_release(store)
    if live == "nothing":
        return ""
    release = read_manifest(place(store), Ref.parse(live))
    if release.inputs.get("curated") == curated and is_training_by(recipe_named(recipe), release.config):
        return str(release.config.get("weights", ""))
    return live


@task(**patient())
def live_curation(store: str) -> dict[str, Any]:
    """How the live index's catalogue was curated, so that a re-index does the same."""
    opened = place(store)
    live = live_ref.read_live(opened)
    if live is None:
        raise SettingsError(
            f"{opened.uri}: nothing is live yet, so there is nothing to re-index; retrain first"
        )
    curated = Ref.parse(read_manifest(opened, live.live.index).inputs["curated"])
    config = read_manifest(opened, curated).config
    return {name: config[name] for name in CURATION}


@task(**patient())
def curate(
    store: str, catalogue: str, columns: Mapping[str, str], config: Mapping[str, Any], release: str
) -> str:
    """Catalogue -> curated snapshot, to learn from or for a model release, with its report and a contact sheet."""
    from lookalike.catalogue import curation

    settings, opened = Settings(), place(store)
    source = catalogue or settings.catalogue
    if not source:
        raise SettingsError("no catalogue: name one in the parameters, or set LOOKALIKE_CATALOGUE")
    ref = curation.curate(
        opened,
        source,
        curation.CurationConfig(**config),
        columns=columns,
        photo_roots=settings.photo_roots,
        known=_categories(opened, Ref.parse(release), settings) if release else (),
        s3=S3Settings(),
        cache_dir=settings.cache_dir,
        progress=ProgressArtifacts(),
    )
    reports.curation(opened, ref, settings.cache_dir)
    return str(ref)


def _categories(store: ObjectStore, release: Ref, settings: Settings) -> tuple[str, ...]:
    """What a model release tells apart."""
    from lookalike.coding.release import ModelCard

    artefact = fetch(store, release, settings.cache_dir, ["model.json"])
    return ModelCard.read(artefact.path("model.json")).categories


@task(**patient(timeout_h=TASKS.training_timeout_h))
def train(store: str, curated: str, recipe: str, weights: str, threads: int) -> str:
    """Curated snapshot -> model release, with its metrics as a table."""
    from lookalike.learning.recipes import recipe_named
    from lookalike.learning.training import train as train_release

    opened = place(store)
    try:
        ref = train_release(
            opened,
            Ref.parse(curated),
            recipe_named(recipe),
            cache_dir=Settings().cache_dir,
            weights=weights or None,
            threads=threads,
            progress=ProgressArtifacts(),
        )
    except (
        TrainingStopped
    ) as stopped:  # Prefect's word for it: the run is scheduled again where its pod was evicted
        raise TerminationSignal(signal.SIGTERM) from stopped
    reports.release(opened, ref)
    return str(ref)


@task(**patient(timeout_h=TASKS.training_timeout_h))
def train_on_nodes(store: str, curated: str, recipe: str, weights: str, nodes: int, processes: str) -> str:
    """Curated snapshot -> model release, trained by a Job of several pods; with its metrics as a table."""
    from lookalike.learning.recipes import recipe_named
    from lookalike.learning.training import trained
    from tasks import nodes as machines

    opened, snapshot = place(store), Ref.parse(curated)
    if trained(opened, snapshot, recipe_named(recipe), weights or None) is None:
        arguments = ["--store", opened.uri, "--curated", curated, "--recipe", recipe]
        arguments += ["--weights", weights] if weights else []
        name = machines.job_name(curated, recipe, weights)
        machines.run(*machines.manifests(machines.pool_job(), name, nodes, processes, arguments))
    ref = trained(opened, snapshot, recipe_named(recipe), weights or None)
    if ref is None:
        raise TrainingError(
            f"{opened.uri}: the training ended well but left no release: do its pods see this store?"
        )
    reports.release(opened, ref)
    return str(ref)


@task(**patient())
def extract(store: str, curated: str, release: str, shard_size: int, threads: int) -> str:
    """Curated snapshot and model release -> extraction; photos that have a code already are not encoded again."""
    from lookalike.learning.extraction import extract as extract_codes

    opened = place(store)
    ref = extract_codes(
        opened,
        Ref.parse(curated),
        Ref.parse(release),
        cache_dir=Settings().cache_dir,
        shard_size=shard_size,
        threads=threads,
        progress=ProgressArtifacts(),
    )
    get_run_logger().info("%s: %d photos have codes", ref, read_manifest(opened, ref).meta["photos"])
    return str(ref)


@task(**patient())
def extract_part(
    store: str, curated: str, release: str, part: int, parts: int, shard_size: int, threads: int
) -> None:
    """One part of a release's first code shards."""
    from lookalike.learning.extraction import extract_part as extract_codes

    encoded = extract_codes(
        place(store),
        Ref.parse(curated),
        Ref.parse(release),
        part,
        parts,
        cache_dir=Settings().cache_dir,
        shard_size=shard_size,
        threads=threads,
        progress=ProgressArtifacts(),
    )
    get_run_logger().info("part %d of %d: encoded %d photos", part + 1, parts, encoded)


@task(**patient())
def build_index(store: str, extraction: str, shards: int) -> str:
    """Extraction -> index snapshot, with its rows per category as a table."""
    from lookalike.index.builder import build

    opened = place(store)
    source = Ref.parse(extraction)
    ref = build(
        opened,
        Ref.parse(read_manifest(opened, source).inputs["curated"]),
        source,
        shards=shards or publication.live_shards(opened),
        cache_dir=Settings().cache_dir,
        progress=ProgressArtifacts(),
    )
    reports.index(opened, ref)
    return str(ref)


@task(**patient())
def pass_gate(store: str, index: str, margin: float, queries: int, threads: int) -> None:
    """Compare the model release of `index` with the live one; raises `QualityGateError` where it is worse."""
    opened, snapshot = place(store), Ref.parse(index)
    new, live = publication.release_of(opened, snapshot), live_ref.read_live(opened)
    if live is not None and live.live.release == new:
        get_run_logger().info("model release %s is live already: nothing to compare", new.id)
        return
    report = gate.compare(
        opened,
        Ref.parse(read_manifest(opened, snapshot).inputs["curated"]),
        new,
        None if live is None else live.live.release,
        gate.GateConfig(margin=margin, queries=queries),
        cache_dir=Settings().cache_dir,
        threads=threads,
        progress=ProgressArtifacts(),
    )
    reports.gate(report, new, None if live is None else live.live.release)
    report.require()


@task(**patient())
def publish(store: str, index: str, replaces: str, accept: bool, **bounds: float) -> str:
    """Verify every file of the pair and move the live ref, with the data gate's numbers as a table.

    Raises `DataGateError` beyond its bounds unless told to accept; `LostRace` where something else is live by now.
    """
    opened = place(store)
    before = replaces if replaces in ("anything", "nothing") else Ref.parse(replaces)
    live = publication.publish_index(
        opened,
        Ref.parse(index),
        by=f"{publication.somebody()} (flow run {flow_run.name})",
        cache_dir=Settings().cache_dir,
        replaces=before,  # type: ignore[arg-type]  # one of the two words
        bounds=DataGateSettings(**bounds),  # type: ignore[arg-type]  # checked by the model
        accept=accept,
        told=reports.data_gate,
        progress=ProgressArtifacts(),
    )
    reports.live(opened, live)
    return str(live.live.index)


@task(**patient())
def retain(store: str, records: int, grace_hours: float) -> None:
    """Remove what nothing that is kept refers to, and say what went."""
    opened = place(store)
    config = retention.RetentionConfig(records=records, grace=timedelta(hours=grace_hours))
    planned = retention.plan(opened, config)
    try:
        retention.apply(opened, planned, progress=ProgressArtifacts())
    except LostRace as error:
        get_run_logger().warning("%s; the next run will", error)
        return
    reports.retention(planned)
    get_run_logger().info("kept %d artefacts, removed %d objects", len(planned.kept), len(planned.keys))
