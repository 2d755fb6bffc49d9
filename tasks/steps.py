"""The tasks: each opens the store, calls one step of `lookalike.steps`, and says what came of it.

References come in and go out as text. A task that is run again finds its step done; one that was killed leaves
nothing visible and goes on where it was. Only an unreachable store is worth another attempt (`tasks.settings`).
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Any

from prefect import task
from prefect.exceptions import TerminationSignal
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from lookalike import parts as shares
from lookalike import reindexing, starts, steps, taken_over
from lookalike.catalogue.rules import CurationConfig
from lookalike.errors import LostRace, SettingsError, TrainingError, TrainingStopped
from lookalike.publishing import live_ref, publication
from lookalike.quality.gate import GateConfig
from lookalike.settings import DataGateSettings, load
from lookalike.storage.artefacts import Ref, read_manifest
from lookalike.workplace import Workplace, open_workplace
from tasks import reports
from tasks.progress import ProgressArtifacts
from tasks.settings import TASKS, patient


@task(**patient())
def live_release(store: str) -> str:
    """The model release that is live, or `nothing`: what a publication at the end may replace."""
    live = live_ref.read_live(open_workplace(store).store)
    return "nothing" if live is None else str(live.live.release)


@task(**patient())
def held(store: str, index: str = "") -> str:
    """Why nothing (or not this index) may be published unattended now, or ``""``."""
    return steps.why_held(open_workplace(store), Ref.parse(index) if index else None)


def check_weights(store: str, asked: str) -> None:
    """Raises `StorageError` where `asked` is a model release that the store does not hold: before hours of work."""
    starts.check_weights(open_workplace(store), asked)


def starting_weights(store: str, asked: str, curated: str, recipe: str) -> str:
    """What `asked` names; for `live` the live model release, or its own start, or nothing where nothing is live."""
    if asked != "live":
        return asked
    live = live_release(store)
    if live == "nothing":
        return ""
    return starts.weights_of_live(open_workplace(store), Ref.parse(live), Ref.parse(curated), recipe)


@task(**patient())
def live_curation(store: str) -> dict[str, Any]:
    """How the live index's catalogue was curated, so that a re-index does the same."""
    return taken_over.live_curation(open_workplace(store))


@task(**patient())
def curate(
    store: str,
    catalogue: str,
    columns: Mapping[str, str],
    config: Mapping[str, Any],
    release: str,
    layout: Mapping[str, str],
) -> str:
    """Catalogue -> curated snapshot, to learn from or for a model release, with its report and a contact sheet."""
    place, source = _shop(store, catalogue, layout)
    ref = steps.curate(
        place,
        source,
        load(CurationConfig, **config),
        columns=columns,
        release=Ref.parse(release) if release else None,
        progress=ProgressArtifacts(),
    )
    reports.curation(place.store, ref, place.cache_dir)
    return str(ref)


@task(**patient())
def plan_curation(
    store: str,
    catalogue: str,
    columns: Mapping[str, str],
    config: Mapping[str, Any],
    layout: Mapping[str, str],
) -> tuple[str, int]:
    """The plan of a curation's new photos and how many runs it has; ``""`` and 0 where one machine does them."""
    place, source = _shop(store, catalogue, layout)
    plan = shares.plan_curation(place, source, load(CurationConfig, **config), columns=columns)
    if plan is None:
        get_run_logger().info("few photos are new: nothing to share")
        return "", 0
    get_run_logger().info("%d photos are new, in %d runs", len(plan.images), plan.runs)
    return plan.name, plan.runs


@task(**patient())
def curate_part(
    store: str,
    catalogue: str,
    config: Mapping[str, Any],
    layout: Mapping[str, str],
    plan: str,
    part: int,
    parts: int,
) -> None:
    """One part of the new photos of a curation."""
    place, source = _shop(store, catalogue, layout)
    read = shares.curate_part(
        place,
        source,
        plan,
        part,
        parts,
        load(CurationConfig, **config),
        progress=ProgressArtifacts(),
    )
    get_run_logger().info("part %d of %d: read %d photos", part + 1, parts, read)


def _shop(store: str, catalogue: str, layout: Mapping[str, str]) -> tuple[Workplace, str]:
    """Where the catalogue is read, and its address. Raises `SettingsError` where nothing names one."""
    place = taken_over.laid_out_as(open_workplace(store), layout)
    source = catalogue or place.catalogue.uri
    if not source:
        raise SettingsError(
            "no catalogue: name one in the parameters, in LOOKALIKE_CATALOGUE, or as uri of [catalogue]"
        )
    return place, source


@task(**patient(timeout_h=TASKS.training_timeout_h))
def train(store: str, curated: str, recipe: str, weights: str, threads: int) -> str:
    """Curated snapshot -> model release, with its metrics as a table."""
    place = open_workplace(store, threads=threads)
    try:
        ref = steps.train(
            place,
            Ref.parse(curated),
            recipe,
            weights=weights,
            told=get_run_logger().info,
            progress=ProgressArtifacts(),
        )
    except (
        TrainingStopped
    ) as stopped:  # Prefect's word for it: the run is scheduled again where its pod was evicted
        raise TerminationSignal(signal.SIGTERM) from stopped
    reports.release(place.store, ref)
    return str(ref)


@task(**patient(timeout_h=TASKS.training_timeout_h))
def train_on_nodes(store: str, curated: str, recipe: str, weights: str, nodes: int, processes: str) -> str:
    """Curated snapshot -> model release, trained by a Job of several pods; with its metrics as a table."""
    from tasks import nodes as machines

    place, snapshot = open_workplace(store), Ref.parse(curated)
    # Here and not in the pods: the choice must be the one by which the release is looked for.
    recipe = starts.chosen_recipe(
        place, snapshot, recipe, weights=weights, gpu=processes == "gpu", told=get_run_logger().info
    )
    if steps.trained(place, snapshot, recipe, weights=weights) is None:
        arguments = ["--store", place.store.uri, "--curated", curated, "--recipe", recipe]
        arguments += ["--weights", weights] if weights else []
        name = machines.job_name(curated, recipe, weights)
        machines.run(*machines.manifests(machines.pool_job(), name, nodes, processes, arguments))
    ref = steps.trained(place, snapshot, recipe, weights=weights)
    if ref is None:
        raise TrainingError(
            f"{place.store.uri}: the training ended well but left no release: do its pods see this store?"
        )
    reports.release(place.store, ref)
    return str(ref)


@task(**patient())
def extract(store: str, curated: str, release: str, shard_size: int, threads: int) -> str:
    """Curated snapshot and model release -> extraction; photos that have a code already are not encoded again."""
    place = open_workplace(store, threads=threads)
    ref = steps.extract(
        place,
        Ref.parse(curated),
        Ref.parse(release),
        shard_size=shard_size,
        progress=ProgressArtifacts(),
    )
    get_run_logger().info("%s: %d photos have codes", ref, read_manifest(place.store, ref).meta["photos"])
    return str(ref)


@task(**patient())
def extract_part(
    store: str, curated: str, release: str, part: int, parts: int, shard_size: int, threads: int
) -> None:
    """One part of a release's first code shards."""
    encoded = shares.extract_part(
        open_workplace(store, threads=threads),
        Ref.parse(curated),
        Ref.parse(release),
        part,
        parts,
        shard_size=shard_size,
        progress=ProgressArtifacts(),
    )
    get_run_logger().info("part %d of %d: encoded %d photos", part + 1, parts, encoded)


@task(**patient())
def build_index(store: str, extraction: str, shards: int, difference: bool) -> str:
    """Extraction -> index snapshot, or a delta over what is live, with the listings per category as a table."""
    place, codes = open_workplace(store), Ref.parse(extraction)
    if difference:
        made = reindexing.refresh(place, codes, shards=shards, progress=ProgressArtifacts())
        get_run_logger().info("%s: %s", made.ref, made.why)
        reports.index(place.store, made.ref, made.why)
        return str(made.ref)
    ref = steps.index(place, codes, shards=shards, progress=ProgressArtifacts())
    reports.index(place.store, ref)
    return str(ref)


@task(**patient())
def pass_gate(store: str, index: str, margin: float, queries: int, threads: int) -> None:
    """Compare the model release of `index` with the live one; raises `QualityGateError` where it is worse."""
    place, snapshot = open_workplace(store, threads=threads), Ref.parse(index)
    config = load(GateConfig, margin=margin, queries=queries)
    if not steps.check_release(place, snapshot, config, told=reports.gate, progress=ProgressArtifacts()):
        release = publication.release_of(place.store, snapshot)
        get_run_logger().info("model release %s is live already: nothing to compare", release.id)


@task(**patient())
def publish(store: str, index: str, replaces: str, accept: bool, asked_by: str = "", **bounds: float) -> str:
    """Verify every file of the pair and move the live ref, with the data gate's numbers as a table.

    Raises `DataGateError` beyond its bounds unless told to accept; `LostRace` where something else is live by now.
    """
    place = open_workplace(store)
    before = replaces if replaces in ("anything", "nothing") else Ref.parse(replaces)
    live = steps.publish(
        place,
        Ref.parse(index),
        by=f"{asked_by or publication.somebody()} (flow run {flow_run.name})",
        replaces=before,  # type: ignore[arg-type]  # one of the two words
        bounds=DataGateSettings(**bounds),  # type: ignore[arg-type]  # checked by the model
        accept=accept,
        told=reports.data_gate,
        progress=ProgressArtifacts(),
    )
    reports.live(place.store, live)
    return str(live.live.tip)


@task(**patient())
def retain(store: str, records: int, grace_hours: float) -> None:
    """Remove what nothing that is kept refers to, and say what went."""
    try:
        planned = steps.retain(
            open_workplace(store), records=records, grace_hours=grace_hours, progress=ProgressArtifacts()
        )
    except LostRace as error:
        get_run_logger().warning("%s; the next run will", error)
        return
    reports.retention(planned)
    get_run_logger().info("kept %d artefacts, removed %d objects", len(planned.kept), len(planned.keys))
