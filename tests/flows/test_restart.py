"""Prefect's server is killed in the middle of a run and starts again: the run ends well, and its slot is free again.

It is away for some seconds with SQLite, and only while it starts with PostgreSQL. What docs/operations.md promises
takes minutes, ``LOOKALIKE_TEST_PREFECT_OUTAGE_S=180``, and then stages are runs of their own, as on a cluster.

With SQLite and, where PostgreSQL is installed, with that, behind a password, and restored from a dump in the end as
docs/operations.md says. A run's process renews its lease only every 225 s, so the test renews it as the process does.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lookalike.console.orchestrator import Orchestrator
from tests.postgres import Postgres

from .conftest import RECIPE, ROOT, Prefect, Shop, free_port, is_up, wait_until

OUTAGE_S = float(os.environ.get("LOOKALIKE_TEST_PREFECT_OUTAGE_S", 20))
MINUTES = 100
STAGES = {"name": {"any_": ["curate", "train", "extract", "index", "publish"]}}
_REGISTER = """
from prefect.client.orchestration import get_client
from tasks import registration

with get_client(sync_client=True) as client:
    registration.register(client, "shop", {}, registration.automations())
"""
DATABASE = "PREFECT_SERVER_DATABASE_CONNECTION_URL"


@dataclass
class Restarted:
    """A server that can be killed, and the flows that are served to it."""

    prefect: Prefect
    port: int
    log: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", *command], cwd=ROOT, env=self.prefect.environ, stdout=out, stderr=out
            )
        self.processes.append(process)
        return process

    def start_server(self) -> subprocess.Popen[bytes]:
        server = self.start("prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self.port))
        wait_until("Prefect's server", lambda: is_up(f"{self.prefect.api}/health"), server)
        return server

    def read(self, path: str) -> Any:
        request = urllib.request.Request(self.prefect.api + path, headers=self.prefect.headers)
        with urllib.request.urlopen(request, timeout=60) as reply:
            return json.loads(reply.read())

    def begin(self, deployment: str, parameters: dict[str, Any]) -> str:
        found = self.read(f"/deployments/name/{deployment}/{deployment}")
        body = {"parameters": {"parameters": parameters}}
        return str(self.prefect.ask(f"/deployments/{found['id']}/create_flow_run", body)["id"])

    def state(self, run: str) -> dict[str, Any]:
        state: dict[str, Any] = self.read(f"/flow_runs/{run}")["state"]
        return state

    def taken(self, deployment: str) -> int:
        found = self.read(f"/deployments/name/{deployment}/{deployment}")
        return int(found["global_concurrency_limit"]["active_slots"])


@pytest.fixture(params=["sqlite", "postgres"])
def restarted(request: pytest.FixtureRequest, environ: dict[str, str], tmp_path: Path) -> Iterator[Restarted]:
    from tasks import environment

    own = {**environ, "PREFECT_RUNNER_POLL_FREQUENCY": "1", "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}
    own["LOOKALIKE_TASK_STAGES"] = "deployments" if OUTAGE_S > MINUTES else "here"
    environment.own_home(tmp_path / "home", own)
    environment.lasting_server(own)
    if request.param == "postgres":
        database: Postgres = request.getfixturevalue("postgres")
        own[DATABASE] = database.create("prefect")
        own |= dict.fromkeys(
            ("PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING"), "ada:secret words"
        )
    port = free_port()
    api = f"http://127.0.0.1:{port}/api"
    made = Restarted(Prefect(api, own | {"PREFECT_API_URL": api}), port, tmp_path / "log.txt")
    try:
        yield made
    finally:
        for process in reversed(made.processes):
            process.terminate()
            process.wait(60)


@pytest.mark.timeout(600 + 4 * OUTAGE_S)
def test_a_run_outlives_the_server(restarted: Restarted, shop: Shop, request: pytest.FixtureRequest) -> None:
    server = restarted.start_server()
    flows = restarted.start("local.deployments")
    ready = f"{restarted.prefect.api}/deployments/name/publish/publish"
    wait_until("the deployments", lambda: is_up(ready, restarted.prefect.headers), flows)
    subprocess.run([sys.executable, "-c", _REGISTER], cwd=ROOT, env=restarted.prefect.environ, check=True)
    run = restarted.begin("retrain", RECIPE | shop.where())
    training = {
        "flows": {"name": {"any_": ["train"]}},
        "flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}},
    }
    wait_until("training", lambda: restarted.prefect.ask("/flow_runs/filter", training), flows)
    lease = restarted.state(run)["state_details"]["deployment_concurrency_lease_id"]

    server.kill()
    server.wait()
    if DATABASE not in restarted.prefect.environ or OUTAGE_S > MINUTES:
        time.sleep(OUTAGE_S)
    server = restarted.start_server()

    renewed = f"{restarted.prefect.api}/v2/concurrency_limits/leases/{lease}/renew"
    body = json.dumps({"lease_duration": 300}).encode()
    asked = urllib.request.Request(renewed, body, restarted.prefect.headers)
    with urllib.request.urlopen(asked, timeout=60) as reply:
        assert reply.status == 204
    assert restarted.taken("retrain") == 1

    def ended() -> bool:
        return restarted.state(run)["type"] not in ("SCHEDULED", "PENDING", "RUNNING")

    wait_until("the run's end", ended, flows, 240 + 2 * OUTAGE_S)
    assert restarted.state(run)["type"] == "COMPLETED", restarted.log.read_text()
    assert shop.live().sequence == 2
    stages = [found["state_type"] for found in restarted.prefect.ask("/flow_runs/filter", {"flows": STAGES})]
    assert set(stages) == {"COMPLETED"}, "no run that lives is called lost, and no stage ran twice"
    trainings = restarted.prefect.ask("/flow_runs/filter", {"flows": {"name": {"any_": ["train"]}}})
    assert len(trainings) == 1
    assert restarted.taken("retrain") == 0
    due = {
        "flows": {"name": {"any_": ["reindex"]}},
        "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
    }
    wait_until("scheduled runs", lambda: restarted.prefect.ask("/flow_runs/filter", due), flows)
    if DATABASE in restarted.prefect.environ:
        restore(restarted, request.getfixturevalue("postgres"), server)
        assert restarted.state(run)["type"] == "COMPLETED"
        assert asyncio.run(seen_by_the_console(restarted.prefect)) == ["retrain"]


def restore(restarted: Restarted, postgres: Postgres, server: subprocess.Popen[bytes]) -> None:
    """The drill of docs/operations.md: what the nightly dump holds, in a new database, under a new server."""
    dump = str(restarted.log.with_name("prefect.dump"))
    postgres.run("pg_dump", "--format=custom", "--no-owner", f"--file={dump}", "prefect")
    server.kill()
    server.wait()
    postgres.run("dropdb", "--force", "prefect")
    postgres.create("prefect")
    postgres.run("pg_restore", "--no-owner", "--exit-on-error", "--dbname=prefect", dump)
    restarted.start_server()


async def seen_by_the_console(prefect: Prefect) -> list[str]:
    """The flows of the last runs as the console, with the password, shows them; alerts count the same."""
    orchestrator = Orchestrator(prefect.api, auth=prefect.environ["PREFECT_API_AUTH_STRING"])
    try:
        ended = {flow.flow: flow for flow in await orchestrator.ended()}
        assert ended["retrain"].completed is not None
        assert ended["retrain"].counts["completed"] == 1
        assert sum(ended["retrain"].counts.values()) == 1
        assert ended["reindex"].completed is None
        return [run.flow for run in (await orchestrator.runs()).recent]
    finally:
        await orchestrator.close()
