"""Rolling the search Deployment to an index snapshot, and seeing that it came up. Alone speaks to the Kubernetes API.

The Deployment's pod template names the snapshot in an annotation, which each pod gets as its environment and serves
exactly. So a roll-out is one patch: naming the same snapshot again changes nothing, and `kubectl rollout undo`
returns to the one before. The account needs `get` and `patch` on that one Deployment and nothing else: why a pod is
not ready is asked of the pods themselves, whose addresses a headless Service publishes from their first moment.

A second annotation, on the Deployment and not on its template, notes the snapshot that was seen to answer. Whatever
goes wrong with the pods of that one later is the cluster's matter, and no reason to take the snapshot back.

Enters: a reference and a photo that it must find. Leaves: nothing, or a `RolloutError` in plain words.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException
from urllib3.exceptions import HTTPError

from lookalike.errors import RolloutError, RolloutRefused, SettingsError
from lookalike.progress import Progress, silent
from lookalike.publishing import search_pods
from lookalike.settings import RolloutSettings, kubeconfig_named
from lookalike.storage.artefacts import Ref

INDEX = "lookalike/index"
"""Annotation of the pod template: the index snapshot that its pods serve."""
CONFIRMED = "lookalike/confirmed"
"""Annotation of the Deployment: the index snapshot that was last seen to answer through the Service."""
_TEMPLATE = "/spec/template/metadata/annotations"
_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_REQUEST_S = 10.0
_LOOK_EVERY_S = 1.0
_ANSWERS = 3
"""Replies in a row, each on a connection of its own, that must name the new snapshot."""
_SETTLE_S = 60.0
"""How long replies may still come from pods that are ending: proxies learn of an ended pod after it began to end."""


@dataclass(frozen=True, slots=True)
class State:
    """What the Deployment says of itself."""

    index: str
    confirmed: str
    wanted: int
    updated: int
    existing: int
    available: int
    observed: bool
    stuck: str
    """Why Kubernetes has given up, or ``""``."""

    @property
    def complete(self) -> bool:
        return self.observed and self.wanted == self.updated == self.existing == self.available

    @property
    def progress(self) -> tuple[int, int]:
        """How far it is; rises while all goes well. First new pods and old ones gone, then pods that are ready."""
        gone = self.wanted - max(0, self.existing - self.updated)
        return (self.updated + gone, min(self.available, self.wanted)) if self.observed else (-1, 0)

    def __str__(self) -> str:
        return f"{self.updated} of {self.wanted} pods are new, {self.available} of {self.existing} are ready"


class SearchDeployment:
    """The Deployment that `settings` names. Every wait has an end; every error is a `RolloutError`."""

    def __init__(self, settings: RolloutSettings) -> None:
        """Raises `SettingsError` where there is no way to a cluster."""
        self.settings = settings
        self._apps, default = _connect()
        namespace, _, self.name = settings.deployment.rpartition("/")
        self.namespace = namespace or default
        self.service_url = settings.service_url or f"http://{self.name}.{self.namespace}"
        self.pods_url = (
            settings.pods_url or f"http://{self.name}-pods.{self.namespace}:{search_pods.PROBE_PORT}"
        )

    def __str__(self) -> str:
        return f"Deployment {self.namespace}/{self.name}"

    def state(self) -> State:
        """Read it once."""
        with self._translated("read"):
            found = self._apps.read_namespaced_deployment(
                self.name, self.namespace, _request_timeout=_REQUEST_S
            )
        spec, status = found.spec, found.status
        conditions = {c.type: c for c in status.conditions or ()}
        progressing, failure = conditions.get("Progressing"), conditions.get("ReplicaFailure")
        stuck = ""
        if spec.paused:
            stuck = "it is paused: kubectl rollout resume"
        elif failure is not None and failure.status == "True":
            stuck = str(failure.message)
        elif progressing is not None and progressing.status == "False":
            stuck = str(progressing.message)
        return State(
            index=(spec.template.metadata.annotations or {}).get(INDEX, ""),
            confirmed=(found.metadata.annotations or {}).get(CONFIRMED, ""),
            wanted=spec.replicas,
            updated=status.updated_replicas or 0,
            existing=status.replicas or 0,
            available=status.available_replicas or 0,
            observed=(status.observed_generation or 0) >= found.metadata.generation,
            stuck=stuck,
        )

    def roll_out(self, index: Ref, photo: bytes, *, progress: Progress = silent) -> None:
        """Name `index` in the pod template, wait until its pods alone serve, and search through the Service.

        Raises `RolloutRefused` where the pods do not come up with it or the Service does not answer from it,
        `RolloutError` where that says nothing about `index`: the cluster is out of reach, somebody else rolls out,
        or this snapshot served before.
        """
        before = self.state()
        self.name_snapshot(index)
        try:
            self._wait(index, progress)
            if before.wanted:
                self._search(index, photo)
        except RolloutRefused as error:
            if before.index == before.confirmed == str(index):
                message = f"{error}; but {index.id} has served before, so the fault is the cluster's: nothing changed"
                raise RolloutError(message) from error
            raise
        if before.confirmed != str(index):
            self._patch(
                {"op": "add", "path": f"/metadata/annotations/{_escaped(CONFIRMED)}", "value": str(index)}
            )

    def take_back(self, index: Ref, previous: Ref) -> None:
        """Name `previous` again, unless the template names something else than `index` by now; wait for its pods."""
        at = f"{_TEMPLATE}/{_escaped(INDEX)}"
        if self.state().index == str(index):
            self._patch(
                {"op": "test", "path": at, "value": str(index)},
                {"op": "replace", "path": at, "value": str(previous)},
            )
        self._wait(previous, silent)

    def name_snapshot(self, index: Ref) -> None:
        """Write the annotation. Where it is there already, nothing is sent."""
        if self.state().index == str(index):
            return
        operation = {"op": "add", "path": f"{_TEMPLATE}/{_escaped(INDEX)}", "value": str(index)}
        try:
            self._patch(operation)
        except _NotApplied:  # the template has no annotations yet
            self._patch({"op": "add", "path": _TEMPLATE, "value": {}}, operation)

    def _wait(self, index: Ref, progress: Progress) -> None:
        deadline, furthest = time.monotonic() + self.settings.deadline_s, (-1, 0)
        while True:
            state = self._state_until(deadline)
            if state.index != str(index):
                raise RolloutError(
                    f"{self}: somebody else rolls out {state.index or 'no snapshot'} meanwhile"
                )
            progress("roll out", min(state.updated, state.available), max(1, state.wanted), str(state))
            if state.complete:
                return
            if state.progress > furthest:
                deadline, furthest = time.monotonic() + self.settings.deadline_s, state.progress
            reports = [  # pods of another snapshot may be ending, and have had their say
                report for report in search_pods.not_ready(self.pods_url) if report.index in ("", str(index))
            ]
            if damaged := [report for report in reports if report.damaged]:
                raise RolloutRefused(f"{self}: {damaged[0]}")
            if state.observed and state.stuck:
                raise RolloutRefused(self._why(state.stuck, state, reports))
            if time.monotonic() > deadline:
                waited = f"nothing has moved for {self.settings.deadline_s:g} s"
                raise RolloutRefused(self._why(waited, state, reports))
            time.sleep(_LOOK_EVERY_S)

    def _state_until(self, deadline: float) -> State:
        """Read it, trying again while the API is away: a roll-out goes on without us."""
        while True:
            try:
                return self.state()
            except _Away:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_LOOK_EVERY_S)

    def _why(self, what: str, state: State, reports: Sequence[search_pods.Report]) -> str:
        said = "; ".join(map(str, reports))
        if not said:
            said = (
                "no new pod answers, so they have not started (image, node, resources): "
                f"kubectl --namespace {self.namespace} describe pods"
            )
        return f"{self}: {what} ({state}): {said}"

    def _search(self, index: Ref, photo: bytes) -> None:
        """Search for `photo` until replies come from `index` alone."""
        deadline = time.monotonic() + _SETTLE_S
        answers, last = 0, "no reply"
        while answers < _ANSWERS:
            try:
                reply = search_pods.search(self.service_url, photo)
            except (OSError, ValueError) as error:
                answers, last = 0, str(error)
            else:
                answers = answers + 1 if reply.index == str(index) and reply.hits else 0
                last = f"it answers from {reply.index} with {reply.hits} hits"
            if answers == 0:
                if time.monotonic() > deadline:
                    message = f"{self.service_url} does not answer a search from {index}: {last}"
                    raise RolloutRefused(message)
                time.sleep(_LOOK_EVERY_S)

    def _patch(self, *operations: dict[str, Any]) -> None:
        with self._translated("patch"):
            self._apps.patch_namespaced_deployment(
                self.name, self.namespace, list(operations), _request_timeout=_REQUEST_S
            )

    @contextmanager
    def _translated(self, verb: str) -> Iterator[None]:
        try:
            yield
        except ApiException as error:
            said = _message(error)
            if error.status == 404:
                raise RolloutError(f"{self} does not exist; apply the manifests first") from error
            if error.status in (401, 403):
                raise RolloutError(f"{self}: this account may not {verb} it: {said}") from error
            if error.status == 422:
                raise _NotApplied(f"{self}: the patch does not fit what is there: {said}") from error
            if error.status == 429 or (error.status or 0) >= 500:
                raise _Away(f"{self}: the Kubernetes API answers {error.status}: {said}") from error
            raise RolloutError(f"{self}: cannot {verb} it: {error.status}: {said}") from error
        except (HTTPError, OSError) as error:
            raise _Away(f"{self}: the Kubernetes API cannot be reached: {error}") from error


class _NotApplied(RolloutError):
    """A patch met another object than it was made for."""


class _Away(RolloutError):
    """The API does not answer; a later try may meet it."""


def _connect() -> tuple[client.AppsV1Api, str]:
    """The API and the namespace of this process: of its pod, or else of the kubeconfig's context."""
    settings = client.Configuration()
    settings.retries = False
    try:
        if _NAMESPACE.exists() and not kubeconfig_named():
            config.load_incluster_config(client_configuration=settings)
            namespace = _NAMESPACE.read_text().strip()
        else:
            config.load_kube_config(client_configuration=settings)
            _, context = config.list_kube_config_contexts()
            namespace = context["context"].get("namespace", "default")
    except (ConfigException, OSError) as error:
        message = f"LOOKALIKE_ROLLOUT_DEPLOYMENT is set, but there is no way to a cluster: {error}"
        raise SettingsError(message) from error
    return client.AppsV1Api(client.ApiClient(settings)), namespace


def _escaped(name: str) -> str:
    """A key as JSON Pointer writes it (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")


def _message(error: ApiException) -> str:
    """What the API server said, in one line."""
    try:
        said = json.loads(error.body or "")["message"]
    except (ValueError, KeyError, TypeError):
        said = error.reason
    return str(said)[:300]
