"""What a cluster's Prefect server is told: pools that fit the worker, and that lost runs have crashed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from tasks import environment, registration

from .conftest import ROOT, Prefect, wait_until

WINDOW = timedelta(seconds=40)
"""How long runs may be silent here. The server looks only once in a window, and the real one is minutes long."""
_REGISTER = f"""
from datetime import timedelta
from pathlib import Path
from prefect.client.orchestration import get_client
from tasks import registration

window = timedelta(seconds={WINDOW.total_seconds()})
pools = {{name: (Path(f"k8s/jobs/{{name}}.json"), "shop/ours:1") for name in ("cpu", "gpu")}}
with get_client(sync_client=True) as client:
    registration.register(client, "shop", pools, registration.automations(window, window))
"""


def register(prefect: Prefect, *command: str) -> None:
    command = command or ("-c", _REGISTER)
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=prefect.environ, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def registered(prefect: Prefect) -> Iterator[Prefect]:
    register(prefect)
    yield prefect
    for automation in prefect.ask_all(
        "/automations/filter"
    ):  # short windows, which runs of other files may miss
        prefect.ask(f"/automations/{automation['id']}", None, "DELETE")
    for deployment in prefect.ask("/deployments/filter", {"flows": {"name": {"any_": ["lost"]}}}):
        prefect.ask(f"/deployments/{deployment['id']}", None, "DELETE")


def run_of_a_flow(prefect: Prefect, *tags: str, state: str = "RUNNING") -> str:
    """A flow run that somebody has begun."""
    flow = prefect.ask("/flows/", {"name": "lost"})["id"]
    deployment = prefect.ask(
        "/deployments/", {"name": f"lost-{uuid4().hex}", "flow_id": flow, "tags": list(tags)}
    )
    body = {"tags": list(tags), "state": {"type": state, "name": state.title()}}
    return str(prefect.ask(f"/deployments/{deployment['id']}/create_flow_run", body)["id"])


def state_of(prefect: Prefect, run: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{prefect.api}/flow_runs/{run}", timeout=60) as reply:
        state = json.loads(reply.read())["state"]
    assert isinstance(state, dict)
    return state


def tell(prefect: Prefect, run: str, name: str, when: datetime, *tags: str) -> None:
    """An event of a flow run, as its process would emit it."""
    resource = {"prefect.resource.id": f"prefect.flow-run.{run}"}
    related = [{"prefect.resource.id": f"prefect.tag.{tag}", "prefect.resource.role": "tag"} for tag in tags]
    event = {
        "id": str(uuid4()),
        "occurred": when.isoformat(),
        "event": f"prefect.flow-run.{name}",
        "resource": resource,
        "related": related,
    }
    prefect.ask("/events", [event])


def test_no_run_is_called_lost_while_it_waits_for_the_server() -> None:
    retries = range(1, int(environment.PATIENT["PREFECT_CLIENT_MAX_RETRIES"]) + 1)
    last_attempt = timedelta(seconds=1.2 * sum(2**number for number in retries))
    heartbeat, slack = timedelta(seconds=30), timedelta(minutes=1)
    assert last_attempt + heartbeat + slack < registration.SILENCE


def waiting() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "600"])


def silent_run(prefect: Prefect) -> str:
    """A run that was heard of last when its next word is overdue."""
    run = run_of_a_flow(prefect)
    tell(prefect, run, "heartbeat", datetime.now(UTC) - WINDOW - timedelta(seconds=20))
    return run


def run_without_pod(prefect: Prefect) -> str:
    """A run that a worker took and never made a Job of."""
    run = run_of_a_flow(prefect, state="PENDING")
    tell(prefect, run, "Pending", datetime.now(UTC) - WINDOW - timedelta(seconds=20))
    return run


def test_registered_twice_it_is_the_same_and_the_operators_limit_stays(registered: Prefect) -> None:
    registered.ask("/work_pools/cpu", {"concurrency_limit": 5}, "PATCH")
    pools_of_ours = ("cpu=k8s/jobs/cpu.json@shop/ours:1", "gpu=k8s/jobs/gpu.json@shop/ours:1")
    register(registered, "-m", "tasks.registration", "shop", *pools_of_ours)
    register(registered)
    pools = {pool["name"]: pool for pool in registered.ask("/work_pools/filter", {})}
    assert {pools[name]["type"] for name in ("cpu", "gpu")} == {"kubernetes"}
    assert (pools["cpu"]["concurrency_limit"], pools["gpu"]["concurrency_limit"]) == (5, 1)
    template = registration.template(ROOT / "k8s/jobs/gpu.json", "shop", "shop/ours:1")
    assert pools["gpu"]["base_job_template"] == template
    names = [automation["name"] for automation in registered.ask("/automations/filter", {})]
    assert sorted(names) == [
        "crashed parents start again",
        "lost runs have crashed",
        "runs without a pod have crashed",
    ]


def test_a_deployment_and_a_run_may_ask_for_an_account_of_ours_alone(registered: Prefect) -> None:
    """Image and command are no variables at all (tests/k8s/test_jobs.py)."""
    flow = registered.ask("/flows/", {"name": "lost"})["id"]

    def ask(account: str) -> str:
        variables = {"service_account_name": account}
        body = {"name": account, "flow_id": flow, "work_pool_name": "cpu", "job_variables": variables}
        return str(registered.ask("/deployments/", body)["id"])

    ours = ask("lookalike-rollout")
    with pytest.raises(urllib.error.HTTPError, match="422"):
        ask("cluster-admin")
    with pytest.raises(urllib.error.HTTPError, match="422"):
        registered.ask(
            f"/deployments/{ours}/create_flow_run",
            {"job_variables": {"service_account_name": "cluster-admin"}},
        )


def test_a_run_that_fell_silent_or_never_began_has_crashed_and_one_that_speaks_goes_on(
    registered: Prefect,
) -> None:
    speaking, waiting_for_node = run_of_a_flow(registered), run_of_a_flow(registered, state="PENDING")
    silent: list[str] = []
    without_pod: list[str] = []
    now = datetime.now(UTC)
    tell(registered, speaking, "heartbeat", now)
    told = time.monotonic() - 1_000

    def crashed() -> list[str]:
        """One of the silent runs, one of those without a pod.

        A server that is still loading its automations misses what it is told, so there is another one now and then;
        meanwhile the speaking one speaks, and the other has a pod that waits for a node.
        """
        nonlocal told
        if time.monotonic() - told > 10:
            told = time.monotonic()
            tell(registered, speaking, "heartbeat", datetime.now(UTC))
            tell(registered, waiting_for_node, "InfrastructurePending", datetime.now(UTC))
            silent.append(silent_run(registered))
            without_pod.append(run_without_pod(registered))
        time.sleep(0.5)  # a server on a busy machine has its hands full
        wanted = {"id": {"any_": [*silent, *without_pod]}, "state": {"type": {"any_": ["CRASHED"]}}}
        over = {run["id"] for run in registered.ask("/flow_runs/filter", {"flow_runs": wanted})}
        found = [[run for run in runs if run in over][:1] for runs in (silent, without_pod)]
        return found[0] + found[1] if all(found) else []

    patience = waiting()
    try:
        wait_until("a silent run crashed", crashed, patience)
    finally:
        patience.kill()
        patience.wait()
    lost, taken = crashed()
    assert "no heartbeat" in state_of(registered, lost)["message"]
    assert "has no pod" in state_of(registered, taken)["message"]
    assert state_of(registered, speaking)["type"] == "RUNNING"
    assert state_of(registered, waiting_for_node)["type"] == "PENDING"


def test_a_crashed_parent_starts_again_and_a_crashed_stage_is_left_to_its_parent(registered: Prefect) -> None:
    parent, stage = run_of_a_flow(registered, "parent"), run_of_a_flow(registered, "stage")
    for run in (stage, parent):
        registered.ask(f"/flow_runs/{run}/set_state", {"state": {"type": "CRASHED", "name": "Crashed"}})
    patience = waiting()
    try:
        wait_until(
            "the parent is scheduled",
            lambda: state_of(registered, parent)["type"] == "SCHEDULED",
            patience,
        )
    finally:
        patience.kill()
        patience.wait()
    assert state_of(registered, parent)["name"] == "AwaitingRetry"
    assert state_of(registered, stage)["type"] == "CRASHED"
