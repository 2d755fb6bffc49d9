"""Running a stage of a parent flow: here, as a subflow, or as a run of its own deployment on its own work pool.

Either way the caller gets a reference. A stage that ran elsewhere leaves it as an artifact of its run, in Prefect's
database: so no result storage has to be shared, and nothing but references can travel.
"""

from __future__ import annotations

from typing import Any

from prefect import Flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
)
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from pydantic import BaseModel

from lookalike.errors import LookalikeError
from tasks.settings import TASKS

REFERENCE = "reference"


class StageFailed(LookalikeError):
    """A stage that ran as its own deployment did not complete; the message is its last state's."""


def run_stage(stage: Flow[Any, str], parameters: BaseModel) -> str:
    """The reference that `stage` comes to."""
    if TASKS.stages == "here":
        return stage(parameters)
    run = run_deployment(
        f"{stage.name}/{stage.name}",
        parameters={"parameters": parameters.model_dump(mode="json")},
        timeout=None,
    )
    if not isinstance(run, FlowRun) or run.state is None or not run.state.is_completed():
        state = getattr(run, "state", None)
        raise StageFailed(
            f"{stage.name}: {state.name if state else 'lost'}: {state.message if state else ''}"
        )
    return _reference(run)


def leave_reference(reference: str) -> str:
    """Note the result of this flow run where a parent finds it, and return it."""
    create_markdown_artifact(key=REFERENCE, markdown=f"`{reference}`", description=reference)
    return reference


def _reference(run: FlowRun) -> str:
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(
            artifact_filter=ArtifactFilter(
                flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]), key=ArtifactFilterKey(any_=[REFERENCE])
            )
        )
    if not found or not found[0].description:
        raise StageFailed(f"run {run.name} completed but left no reference")
    return found[0].description
