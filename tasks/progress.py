"""A step's progress as Prefect artifacts: one bar per stage, shown by Prefect's page and by the console.

Reports are throttled, and a report that does not get through is no reason to stop the work: it is logged and the
next one is tried. What else wants to know (the bars of a terminal) listens with `also`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.context import TaskRunContext
from prefect.exceptions import PrefectException
from prefect.logging import get_run_logger

from lookalike.progress import Progress, silent

_EVERY_S = 1.0
_listener: ContextVar[Progress] = ContextVar("listener", default=silent)


@contextmanager
def also(progress: Progress) -> Iterator[None]:
    """Within the block every task's progress is told to `progress` as well."""
    token = _listener.set(progress)
    try:
        yield
    finally:
        _listener.reset(token)


class ProgressArtifacts:
    """A `lookalike.progress.Progress` that writes to the task run in which it is made. Any thread may call it."""

    def __init__(self) -> None:
        context = TaskRunContext.get()
        if context is None:
            raise RuntimeError("progress artifacts belong to a task run")
        self._task_run_id, self._flow_run_id = context.task_run.id, context.task_run.flow_run_id
        self._logger = get_run_logger()
        self._client = get_client(sync_client=True)
        self._listener = _listener.get()
        self._artifacts: dict[str, UUID] = {}
        self._told: dict[str, float] = {}

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        self._listener(stage, done, total, note)
        now = time.monotonic()
        finished = total > 0 and done >= total
        if now - self._told.get(stage, -_EVERY_S) < _EVERY_S and not finished:
            return
        self._told[stage] = now
        percent = min(100.0, 100.0 * done / total) if total else 0.0
        description = f"{stage}: {done:,}/{total:,} {note}".rstrip() if total else f"{stage} {note}".rstrip()
        try:
            self._tell(stage, percent, description)
        except (httpx.HTTPError, PrefectException) as error:
            self._logger.warning("progress of %s could not be reported: %s", stage, error)

    def _tell(self, stage: str, percent: float, description: str) -> None:
        if stage in self._artifacts:
            update = ArtifactUpdate(data=percent, description=description)
            self._client.update_artifact(self._artifacts[stage], update)
            return
        artifact = ArtifactCreate(
            type="progress",
            description=description,
            data=percent,
            task_run_id=self._task_run_id,
            flow_run_id=self._flow_run_id,
        )
        self._artifacts[stage] = self._client.create_artifact(artifact).id
