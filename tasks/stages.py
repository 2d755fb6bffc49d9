"""Running a stage of a parent flow: here, as a subflow, or as a run of its own deployment on its own work pool.

Either way the caller gets a reference. A stage that ran elsewhere leaves it as an artifact of its run, in Prefect's
database: so no result storage has to be shared, and nothing but references can travel.

Runs elsewhere survive pods that die. A stage whose run crashed is run again, and goes on where the store says that it
was. A parent that is started again after its own crash finds the runs that it had asked for, finished or not, by their
keys (parent, number of the stage, attempt), and asks for no second one.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import httpx
from prefect import Flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
)
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import FlowRunContext
from prefect.deployments import run_deployment
from prefect.exceptions import MissingResult
from prefect.logging import get_run_logger
from prefect.states import Completed
from pydantic import BaseModel

from lookalike.errors import LookalikeError, PublishingHeld
from tasks.settings import TASKS

REFERENCE = "reference"
HELD = "Held"
_POLL_S = 2.0
_asked_for: Counter[tuple[UUID, int]] = Counter()
"""How many stages each start of a parent has asked for so far."""


class StageFailed(LookalikeError):
    """A stage that ran as its own deployment did not complete; the message is its last state's."""


def run_stage(stage: Flow[Any, Any], parameters: BaseModel) -> str:
    """The reference that `stage` comes to. Raises `PublishingHeld` where it ended with `held`."""
    if TASKS.stages == "here":
        state: Any = stage(parameters, return_state=True)
        _require_not_held(state)
        try:
            found: str = state.result()
        except MissingResult:  # a slow server was told of the end twice, and answered with what it has stored
            return _reference(state.state_details.flow_run_id, stage.name)
        return found
    [run] = _run_elsewhere(stage.name, [parameters])
    _require_not_held(run.state)
    return _reference(run.id, run.name)


def run_parts(part: Flow[Any, Any], parameters: Sequence[BaseModel]) -> None:
    """Run `part` for each of `parameters`: one after the other here, all at once where stages run elsewhere."""
    if TASKS.stages == "deployments":
        _run_elsewhere(part.name, parameters)
        return
    for some in parameters:
        part(some)


def leave_reference(reference: str) -> str:
    """Note the result of this flow run where a parent finds it, and return it."""
    create_markdown_artifact(key=REFERENCE, markdown=f"`{reference}`", description=reference)
    return reference


def held(why: str) -> State[str]:
    """The end of a run that was kept from publishing: *Completed* for whoever counts failures, by the name *Held*.

    Nothing has failed, so nobody is to be woken, let alone every hour; and *Cancelled* would say that somebody stopped
    this run. The name and the message stand in Prefect and in the console.
    """
    get_run_logger().warning(why)
    return Completed(name=HELD, message=why, data="")


def _require_not_held(state: State[Any] | None) -> None:
    if state is not None and state.name == HELD:
        raise PublishingHeld(state.message or "")


class _Elsewhere:
    """One stage's run elsewhere, over its attempts."""

    def __init__(self, stage: str, key: str, parameters: BaseModel, began: datetime) -> None:
        self._stage, self._key, self._began = stage, key, began
        self._parameters = {"parameters": parameters.model_dump(mode="json")}
        self._attempt = self._crashes = 0
        self.run = self._start()

    def _start(self) -> FlowRun:
        """The run of the next attempt: a new one, unless an earlier start of the parent has asked for it already."""
        self._attempt += 1
        run = run_deployment(
            f"{self._stage}/{self._stage}",
            parameters=self._parameters,
            timeout=0,
            idempotency_key=f"{self._key}/{self._attempt}",
        )
        assert isinstance(run, FlowRun)  # a coroutine only where called from one
        return run

    def completed(self, client: SyncPrefectClient) -> bool:
        """Whether it has; starts it again where it crashed. Raises `StageFailed`."""
        try:
            self.run = run = client.read_flow_run(self.run.id)
        except httpx.TransportError as error:
            get_run_logger().warning("%s: Prefect's server cannot be reached: %s", self._stage, error)
            return False
        state = run.state
        if state is None or not state.is_final():
            return False
        if state.is_completed():
            return True
        if (
            run.end_time is not None and run.end_time < self._began
        ):  # the parent's earlier start ended with it
            self.run = self._start()
            return False
        self._crashes += state.is_crashed()
        if not state.is_crashed() or self._crashes >= TASKS.stage_attempts:
            raise StageFailed(f"{self._stage}: {state.name}: {state.message or ''}")
        get_run_logger().warning("%s crashed (%s); it is run again", self._stage, state.message)
        self.run = self._start()
        return False


def _run_elsewhere(stage: str, asked: Sequence[BaseModel]) -> list[FlowRun]:
    """The completed runs of `stage`, one for each of `asked`, all started at once."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        raise RuntimeError("stages belong to a flow run")
    parent = context.flow_run
    if parent.run_count > TASKS.starts:
        raise StageFailed(f"this run was started {parent.run_count} times and never came to its end")
    _asked_for[parent.id, parent.run_count] += 1
    key = f"{parent.id}/{_asked_for[parent.id, parent.run_count]}"
    runs = [
        _Elsewhere(stage, f"{key}.{part}", parameters, context.start_time)
        for part, parameters in enumerate(asked)
    ]
    with get_client(sync_client=True) as client:
        waiting = list(runs)
        while waiting := [run for run in waiting if not run.completed(client)]:
            time.sleep(_POLL_S)
    return [run.run for run in runs]


def _reference(run: UUID, name: str) -> str:
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(
            artifact_filter=ArtifactFilter(
                flow_run_id=ArtifactFilterFlowRunId(any_=[run]), key=ArtifactFilterKey(any_=[REFERENCE])
            )
        )
    if not found or not found[0].description:
        raise StageFailed(f"run {name} completed but left no reference")
    return found[0].description
