"""Serving the deployments of `prefect.yaml` from this machine: no work pools, no images, the same flows and schedules.

Run as ``python -m local.deployments`` with PREFECT_API_URL set. Runs that an earlier process left behind when it was
killed are closed first, since nobody else on this machine can be working on them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml
from prefect import Flow, serve
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import ConcurrencyLimitConfig, StateType
from prefect.client.schemas.schedules import CronSchedule
from prefect.deployments.runner import RunnerDeployment
from prefect.flows import load_flow_from_entrypoint
from prefect.states import Crashed

ROOT = Path(__file__).parents[1]
_UNFINISHED = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]


def deployments(file: Path = ROOT / "prefect.yaml") -> list[RunnerDeployment]:
    """The deployments of `file`, to be served here."""
    return [_deployment(entry) for entry in yaml.safe_load(file.read_text())["deployments"]]


def close_abandoned(client: SyncPrefectClient, names: list[str]) -> int:
    """Mark runs of these deployments that no process works on as crashed; returns how many."""
    abandoned = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_UNFINISHED))
        ),
        deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=names)),
    )
    for run in abandoned:
        client.set_flow_run_state(run.id, Crashed(message="its process was killed"))
    return len(abandoned)


def _deployment(entry: dict[str, Any]) -> RunnerDeployment:
    loaded: Flow[..., Any] = load_flow_from_entrypoint(entry["entrypoint"])
    deployment = loaded.to_deployment(
        entry["name"],
        description=entry.get("description"),
        tags=entry.get("tags"),
        schedules=[
            DeploymentScheduleCreate(
                schedule=CronSchedule(cron=s["cron"], timezone=s.get("timezone")), slug=s["slug"], active=True
            )
            for s in entry.get("schedules", ())
        ],
        concurrency_limit=ConcurrencyLimitConfig(**limit)
        if (limit := entry.get("concurrency_limit"))
        else None,
    )
    assert isinstance(deployment, RunnerDeployment)  # a coroutine only where called from one
    return deployment


def main() -> None:
    served = deployments()
    with get_client(sync_client=True) as client:
        closed = close_abandoned(client, [deployment.name for deployment in served])
    if closed:
        print(f"closed {closed} runs that were cut off", file=sys.stderr)
    serve(*served, pause_on_shutdown=False, print_starting_message=False, limit=2)


if __name__ == "__main__":
    main()
