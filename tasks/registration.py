"""What Prefect's server must know before a cluster can run our flows: work pools, and what to do about lost runs.

``python -m tasks.registration NAMESPACE cpu=FILE@IMAGE gpu=FILE@IMAGE`` waits for the server of PREFECT_API_URL, then
creates the two work pools from their job templates (k8s/jobs) and the automations below, or brings them up to date.
Image and namespace are written into the templates, which have no variables for them: a run gets those of its pool,
whatever it asks for. A cluster without GPUs gives both pools the same template. The deployments themselves are
`prefect deploy --all`'s work. Concurrency limits are set only where a pool is new: they are the operator's to change.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound

from lookalike.errors import SettingsError

LIMITS = {"cpu": 8, "gpu": 1}
"""Runs at once in each pool. `retrain`, `reindex` and `extract` hold one while they wait for others: never below 4."""
SILENCE = timedelta(minutes=7)
"""A run that says nothing for so long is lost; runs of the pools say something every 30 seconds.

Nobody hears them while Prefect's server is away. A run that ended meanwhile tells its end at its next attempt, at most
254 s and a fifth after the first (`environment.PATIENT`), and says nothing else: it must not be called lost before.
"""
NO_POD = timedelta(minutes=10)
"""A run that was taken and has no pod by then never gets one: a restart came between. With a pod that waits for a node
it is *InfrastructurePending*, and may wait longer."""
_SERVER_S = 300.0
_HEARTBEAT = "prefect.flow-run.heartbeat"
_ENDS = ("Completed", "Held", "Failed", "TimedOut", "Cancelled", "Crashed", "AwaitingRetry")
_BEGINS = ("InfrastructurePending", "Running", "Retrying", "AwaitingConcurrencySlot")
_ANY_RUN = ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"})


def automations(silence: timedelta = SILENCE, no_pod: timedelta = NO_POD) -> tuple[AutomationCore, ...]:
    """What the server does about runs that fell silent, that never began, and that crashed."""
    return (
        _crashing(
            "lost runs have crashed",
            "A run whose pod or node vanished stays Running for ever, unless somebody notices its silence.",
            after={_HEARTBEAT},
            expect={_HEARTBEAT, *_states(*_ENDS)},
            within=silence,
            said=f"no heartbeat for {silence.total_seconds():.0f} s: its pod or node is gone",
        ),
        _crashing(
            "runs without a pod have crashed",
            "A run that a worker took without making its Job stays Pending, and its parent waits for ever.",
            after=_states("Pending", "Submitting"),
            expect=_states(*_BEGINS, *_ENDS),
            within=no_pod,
            said=f"it was taken {no_pod.total_seconds():.0f} s ago and has no pod",
        ),
        AutomationCore(
            name="crashed parents start again",
            description="They find the stages that they had asked for; crashed stages are theirs to run again.",
            trigger=EventTrigger(
                posture=Posture.Reactive,
                match=_ANY_RUN,
                match_related=ResourceSpecification(
                    {"prefect.resource.role": "tag", "prefect.resource.id": "prefect.tag.parent"}
                ),
                for_each={"prefect.resource.id"},
                expect=_states("Crashed"),
                threshold=1,
            ),
            actions=[_becomes("AwaitingRetry", StateType.SCHEDULED, "started again after a crash")],
        ),
    )


def _crashing(
    name: str, description: str, *, after: set[str], expect: set[str], within: timedelta, said: str
) -> AutomationCore:
    """A run of which nothing that is expected came `within` so long `after` something has crashed."""
    trigger = EventTrigger(
        posture=Posture.Proactive,
        match=_ANY_RUN,
        for_each={"prefect.resource.id"},
        after=after,
        expect=expect,
        threshold=1,
        within=within,
    )
    return AutomationCore(
        name=name,
        description=description,
        trigger=trigger,
        actions=[_becomes("Crashed", StateType.CRASHED, said)],
    )


def _becomes(name: str, state: StateType, message: str) -> ChangeFlowRunState:
    return ChangeFlowRunState(name=name, state=state, message=message, force=False)


def _states(*names: str) -> set[str]:
    """The events of runs that enter these states."""
    return {f"prefect.flow-run.{name}" for name in names}


def register(
    client: SyncPrefectClient,
    namespace: str,
    pools: Mapping[str, tuple[Path, str]],
    wanted: Iterable[AutomationCore],
    *,
    any_user: bool = False,
) -> None:
    """Create or update the pools by their templates and images, and the automations. Raises `SettingsError`."""
    for name, (file, image) in pools.items():
        _pool(client, name, LIMITS[name], template(file, namespace, image, any_user=any_user))
    known = {automation.name: automation.id for automation in client.read_automations()}
    for automation in wanted:
        if automation.name in known:
            client.update_automation(known[automation.name], automation)
        else:
            client.create_automation(automation)


def template(file: Path, namespace: str, image: str, *, any_user: bool = False) -> dict[str, Any]:
    """A work pool's job template with what no run may choose; with `any_user` the cluster chooses the user of its pods.

    Raises `SettingsError`.
    """
    try:
        found: dict[str, Any] = json.loads(file.read_text())
        job = found["job_configuration"]
        job["namespace"] = job["job_manifest"]["metadata"]["namespace"] = namespace
        pod = job["job_manifest"]["spec"]["template"]["spec"]
        [container] = pod["containers"]
        container["image"] = image
        if any_user:
            pod["securityContext"] = {
                name: value
                for name, value in pod["securityContext"].items()
                if name not in ("runAsUser", "runAsGroup", "fsGroup")
            }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"{file} is no job template of a work pool: {error}") from error
    return found


def _pool(client: SyncPrefectClient, name: str, limit: int, template: dict[str, Any]) -> None:
    try:
        client.read_work_pool(name)
    except ObjectNotFound:
        client.create_work_pool(
            WorkPoolCreate(name=name, type="kubernetes", base_job_template=template, concurrency_limit=limit)
        )
    else:
        client.update_work_pool(name, WorkPoolUpdate(base_job_template=template))


def _wait_for_server(client: SyncPrefectClient) -> None:
    until = time.monotonic() + _SERVER_S
    while (error := client.api_healthcheck()) is not None:
        if time.monotonic() > until:
            raise SettingsError(f"Prefect's server at {client.api_url} does not answer: {error}")
        time.sleep(1)


def main() -> None:
    given = sys.argv[1:]
    any_user = "--any-user" in given  # OpenShift gives each namespace users of its own
    namespace, *words = [word for word in given if word != "--any-user"] or [""]
    named = {name: rest.partition("@") for name, _, rest in (word.partition("=") for word in words)}
    pools = {name: (Path(file), image) for name, (file, _, image) in named.items()}
    if set(pools) != set(LIMITS) or not all(image for _, image in pools.values()):
        raise SystemExit(
            "usage: python -m tasks.registration [--any-user] NAMESPACE cpu=FILE@IMAGE gpu=FILE@IMAGE"
        )
    try:
        with get_client(sync_client=True) as client:
            _wait_for_server(client)
            register(client, namespace, pools, automations(), any_user=any_user)
    except (SettingsError, httpx.HTTPError) as error:
        raise SystemExit(f"tasks.registration: {error}") from error


if __name__ == "__main__":
    main()
