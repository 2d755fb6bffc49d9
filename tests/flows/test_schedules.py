"""The deployments of prefect.yaml: their schedules make runs, their forms know their bounds."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from lookalike.catalogue.curation import CurationConfig, curate
from lookalike.coding.extraction import extract
from lookalike.learning.recipes import RECIPES
from lookalike.publishing import publication
from lookalike.storage import keys
from lookalike.storage.artefacts import read_manifest
from lookalike.storage.directory import DirectoryStore
from tests.shop import Listing

from .conftest import ROOT, Prefect, Shop, is_up, result_of, wait_until


@pytest.fixture(scope="module")
def served(prefect: Prefect, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prefect]:
    log = tmp_path_factory.mktemp("served") / "log.txt"
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "local.deployments"],
            cwd=ROOT,
            env={**prefect.environ, "PREFECT_RUNNER_POLL_FREQUENCY": "1"},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    wait_until("the deployments", lambda: is_up(f"{prefect.api}/deployments/name/publish/publish"), process)
    yield prefect
    process.terminate()
    process.wait(30)


def test_the_server_creates_scheduled_runs_of_the_reindex(served: Prefect, tmp_path: Path) -> None:
    wanted = {
        "flows": {"name": {"any_": ["reindex"]}},
        "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
    }

    def times() -> list[datetime]:
        return [
            datetime.fromisoformat(run["expected_start_time"])
            for run in served.ask("/flow_runs/filter", wanted)
        ]

    waiting = subprocess.Popen(["sleep", "60"])
    try:
        wait_until("scheduled runs", lambda: {7, 17} <= {time.minute for time in times()}, waiting, 50)
    finally:
        waiting.kill()
        waiting.wait()
    hourly = sorted(time for time in times() if time.minute == 7)
    assert len(hourly) >= 3
    assert all((b - a).total_seconds() == 3600 for a, b in itertools.pairwise(hourly))
    assert {time.hour for time in times() if time.minute == 17} == {3}


def test_only_one_reindex_runs_at_a_time_and_a_retrain_waits_its_turn(served: Prefect) -> None:
    found = {d["name"]: d for d in served.ask("/deployments/filter", {})}
    assert set(found) == {
        "retrain",
        "reindex",
        "curate",
        "curate-part",
        "train",
        "train-on-nodes",
        "extract",
        "extract-part",
        "index",
        "publish",
    }
    strategy = {name: (d["concurrency_options"] or {}).get("collision_strategy") for name, d in found.items()}
    assert (strategy["reindex"], strategy["retrain"]) == ("CANCEL_NEW", "ENQUEUE")
    assert found["retrain"]["global_concurrency_limit"]["limit"] == 1


def test_the_form_of_a_flow_knows_choices_bounds_and_descriptions(served: Prefect) -> None:
    schema = next(d for d in served.ask("/deployments/filter", {}) if d["name"] == "retrain")[
        "parameter_openapi_schema"
    ]
    assert schema["definitions"]["RecipeName"]["enum"] == ["auto", *RECIPES]
    fields = schema["definitions"]["Retrain"]["properties"]
    assert (fields["margin"]["minimum"], fields["margin"]["maximum"]) == (0, 1)
    assert all(field.get("description") for field in fields.values())


PARENT = """
import sys
from flows.parameters import Index
from flows.index import index
from prefect import flow
from tasks.stages import run_stage

@flow
def parent():
    return run_stage(index, Index(store=sys.argv[1], extraction=sys.argv[2], threads=1))

print("RESULT", parent())
"""


def test_a_stage_runs_as_a_deployment_of_its_own_and_hands_on_its_reference(
    served: Prefect, first: Shop
) -> None:
    extraction = read_manifest(first.store, first.live().index).inputs["extraction"]
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT, first.store.uri, extraction],
        cwd=ROOT,
        env={**served.environ, "LOOKALIKE_TASK_STAGES": "deployments"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert result_of(process) == str(first.live().index)
    runs = served.ask("/flow_runs/filter", {"flows": {"name": {"any_": ["index"]}}})
    elsewhere = [run for run in runs if run["deployment_id"] is not None]
    assert [run["state_type"] for run in elsewhere] == ["COMPLETED"]
    assert elsewhere[0]["parent_task_run_id"] is not None  # seen below its parent, here and in the console


HELD_PARENT = """
import sys
from flows.parameters import Publish
from flows.publish import publish
from lookalike.errors import PublishingHeld
from prefect import flow
from tasks.stages import run_stage

@flow
def parent():
    try:
        return run_stage(publish, Publish(store=sys.argv[1], index=sys.argv[2], threads=1))
    except PublishingHeld as error:
        return f"held: {error}"

print("RESULT", parent())
"""


def test_a_stage_that_was_held_elsewhere_is_held_for_its_parent(
    served: Prefect, shop: Shop, listings: tuple[Listing, ...]
) -> None:
    first = shop.live().index
    shop.offer(listings)
    newer = shop.index(shop.curate(), shop.live().release)
    publication.publish_index(shop.store, newer, by="test", cache_dir=shop.cache)
    publication.roll_back(shop.store, by="ada", cache_dir=shop.cache)
    process = subprocess.Popen(
        [sys.executable, "-c", HELD_PARENT, shop.store.uri, str(newer)],
        cwd=ROOT,
        env={**served.environ, "LOOKALIKE_TASK_STAGES": "deployments"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert result_of(process).startswith(
        "held: nothing published: publishing is held since roll-back #3 (ada, "
    )
    assert shop.live().index == first


SHARED = """
import sys
from flows.extract import extract
from flows.parameters import Extract

asked = Extract(store=sys.argv[1], curated=sys.argv[2], release=sys.argv[3], parts=2, shard_size=40, threads=1)
print("RESULT", extract(asked))
"""


def test_a_shared_extraction_ends_as_an_undivided_one_though_a_part_of_it_was_killed(
    served: Prefect, first: Shop, tmp_path: Path
) -> None:
    curated, release = first.live_curated(), first.live().release
    stores = [DirectoryStore(tmp_path / name) for name in ("undivided", "shared")]
    for store in stores:
        shutil.copytree(first.store.root, store.root)
        for prefix in ("codes", "extractions"):
            shutil.rmtree(store.root / prefix)
    expected = extract(stores[0], curated, release, cache_dir=first.cache, shard_size=40, threads=1)
    process = subprocess.Popen(
        [sys.executable, "-c", SHARED, stores[1].uri, str(curated), str(release)],
        cwd=ROOT,
        env={**served.environ, "LOOKALIKE_TASK_STAGES": "deployments"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    kill_a_run_of(served, "extract-part", process)
    assert result_of(process) == str(expected)
    assert [info.key for info in stores[1].list("codes/")] == [info.key for info in stores[0].list("codes/")]
    assert states_of(served, "extract-part") == ["COMPLETED", "COMPLETED", "CRASHED"]


SHARED_CURATION = """
import sys
from flows.curate import curate
from flows.parameters import Curate

asked = Curate(store=sys.argv[1], catalogue=sys.argv[2], min_category=1, parts=4)
print("RESULT", curate(asked))
"""


def test_a_shared_curation_ends_as_an_undivided_one_though_a_part_of_it_was_killed(
    served: Prefect, first: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOKALIKE_CATALOGUE_RUN_PHOTOS", "20")
    undivided, shared = (DirectoryStore(tmp_path / name) for name in ("undivided", "shared"))
    expected = curate(undivided, str(first.catalogue), CurationConfig(min_category=1), cache_dir=tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-c", SHARED_CURATION, shared.uri, str(first.catalogue)],
        cwd=ROOT,
        env={
            **served.environ,
            "LOOKALIKE_TASK_STAGES": "deployments",
            "LOOKALIKE_CATALOGUE_RUN_PHOTOS": "20",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    kill_a_run_of(served, "curate-part", process)
    assert result_of(process) == str(expected)
    packs = [[info.key for info in store.list(keys.PACKS)] for store in (undivided, shared)]
    assert packs[0] == packs[1]
    assert len(packs[0]) > 3
    assert list(shared.list(keys.CHECKPOINTS)) == []
    assert states_of(served, "curate-part") == ["COMPLETED"] * 4 + ["CRASHED"]


def kill_a_run_of(served: Prefect, flow: str, process: subprocess.Popen[str]) -> None:
    """Kill the processes of one run of a flow as soon as it has any; `process` waits for such runs."""
    asked = flow_runs(flow) | {"flow_runs": {"state": {"type": {"any_": ["PENDING", "RUNNING"]}}}}
    wait_until("a part runs", lambda: served.ask("/flow_runs/filter", asked), process)
    run = served.ask("/flow_runs/filter", asked)[0]["id"]
    wait_until("its process", lambda: processes_of(run), process)
    for victim in processes_of(run):
        victim.kill()


def states_of(served: Prefect, flow: str) -> list[str]:
    return sorted(run["state_type"] for run in served.ask("/flow_runs/filter", flow_runs(flow)))


def flow_runs(flow: str) -> dict[str, Any]:
    """What asks Prefect for the runs of a flow."""
    return {"flows": {"name": {"any_": [flow]}}}


def processes_of(run: str) -> list[psutil.Process]:
    """The processes that work on a flow run."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("PREFECT__FLOW_RUN_ID") == run:
                found.append(process)
    return found


def test_a_result_that_a_slow_server_forgot_is_read_from_the_artifact(prefect: Prefect) -> None:
    """The state that Prefect has stored of a run carries no result; a parent once failed by being given that one."""
    program = """
from prefect import flow
from prefect.client.orchestration import get_client
from pydantic import BaseModel
from tasks import stages

class Nothing(BaseModel):
    pass

@flow(name="forgotten")
def stage(parameters: Nothing) -> str:
    return stages.leave_reference("index/of-the-stage")

def as_stored(parameters, return_state):
    run = stage(parameters, return_state=True).state_details.flow_run_id
    with get_client(sync_client=True) as client:
        return client.read_flow_run(run).state

as_stored.name = stage.name

@flow(name="parent-of-forgotten")
def parent() -> str:
    return stages.run_stage(as_stored, Nothing())

print("FOUND", parent())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], env=prefect.environ, capture_output=True, text=True, timeout=120
    )
    assert "FOUND index/of-the-stage" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        ({"recipe": "huge"}, "Input should be"),
        ({"margin": 2}, "less than or equal to 1"),
        ({"colour": 1}, "Extra"),
    ],
)
def test_wrong_parameters_are_refused_before_anything_runs(
    parameters: dict[str, object], complaint: str
) -> None:
    from pydantic import ValidationError

    from flows.parameters import Retrain

    with pytest.raises(ValidationError, match=complaint):
        Retrain.model_validate(parameters)
