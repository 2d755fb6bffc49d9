"""Runs in the console: who asked, what was logged, stopped where somebody says so; at a real Prefect server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from lookalike.storage import audit
from lookalike.storage.directory import DirectoryStore
from tests.console.running import TOKEN, running

from .conftest import Prefect

ACT = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def deployment(prefect: Prefect) -> Iterator[str]:
    """A deployment of the retrain, gone with the test: the server is shared with tests that count them."""
    flow = prefect.ask("/flows/", {"name": "retrain"})["id"]
    made = prefect.ask("/deployments/", {"name": f"console-{uuid4().hex}", "flow_id": flow})["id"]
    yield str(made)
    prefect.ask(f"/deployments/{made}", None, "DELETE")


def a_run(prefect: Prefect, deployment: str, state: str, **parameters: str) -> str:
    asked = {"state": {"type": state, "name": state.title()}, "parameters": {"parameters": parameters}}
    return str(prefect.ask(f"/deployments/{deployment}/create_flow_run", asked)["id"])


def test_a_run_is_cancelled_and_its_log_read(prefect: Prefect, deployment: str, tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    begun = a_run(prefect, deployment, "RUNNING", asked_by="Ada")
    due = a_run(prefect, deployment, "SCHEDULED")
    lines = [
        {"name": "x", "level": level, "message": text, "timestamp": at, "flow_run_id": begun}
        for level, text, at in (
            (20, "read photos", "2026-01-02T03:04:05Z"),
            (40, "no room", "2026-01-02T03:04:06Z"),
        )
    ]
    prefect.ask("/logs/", lines)
    with running(store, tmp_path / "cache", prefect=prefect.api) as client:
        found = {run["id"]: run for run in client.get("/api/state").json()["runs"]["active"]}
        assert found[begun]["by"] == "Ada"

        def cancel(run: str) -> tuple[int, str]:
            reply = client.post("/api/actions/cancel", json={"confirm": "cancel", "run": run}, headers=ACT)
            body = reply.json()
            return reply.status_code, body.get("message") or body["detail"]

        assert client.get(f"/api/runs/{begun}/logs").status_code == 401
        for _ in range(100):
            logged = client.get(f"/api/runs/{begun}/logs", headers=ACT).json()["lines"]
            if len(logged) == 2:
                break
        assert [(line["level"], line["text"]) for line in logged] == [
            ("info", "read photos"),
            ("error", "no room"),
        ]
        assert cancel(begun)[0] == cancel(due)[0] == 200
        assert cancel(due) == (400, cancel(due)[1])
        assert "over already" in cancel(due)[1]
        assert "there is no run" in cancel(str(uuid4()))[1]
        assert cancel("../admin") == (400, "run must be a run's id")
    states = [
        prefect.ask("/flow_runs/filter", {"flow_runs": {"id": {"any_": [run]}}})[0] for run in (begun, due)
    ]
    assert [state["state_type"] for state in states] == ["CANCELLING", "CANCELLED"]
    done = [record for record in audit.recent(store, 20) if record.outcome.startswith("done")]
    assert {record.action for record in done} == {"cancel"}
