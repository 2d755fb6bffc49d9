"""A Kubernetes API server for one Deployment, over real HTTP, so that the real client speaks to it.

Of the API it has what a roll-out needs, as `kube-apiserver` answers it: GET and JSON Patch (RFC 6902) of a Deployment,
`Status` objects for errors, `generation` that counts changes of the spec, 422 for a patch that does not fit. A
controller works on it: after a change of the pod template each GET finds the roll-out one step further. A test can let
the next requests meet a `Fault`: another status, a delay, or a connection that ends without a reply.
"""

from __future__ import annotations

import copy
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

INDEX, CONFIRMED = "lookalike/index", "lookalike/confirmed"
NAMESPACE, NAME, TOKEN = "shop", "lookalike-search", "of-the-rollout-account"
PATH = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{NAME}"
_REASONS = {400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 409: "Conflict"} | {
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
}

Json = dict[str, Any]


@dataclass(frozen=True)
class Fault:
    """What a request meets instead of its answer."""

    status: int = 0
    """The status answered; 0: the usual answer."""
    body: str | None = None
    """Sent with `status` instead of a Status object."""
    delay_s: float = 0.0
    drop: bool = False
    """End the connection without a reply."""
    applied: bool = False
    """Do what was asked before."""


@dataclass
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


class Refused(Exception):
    """The patch does not fit the object."""


@dataclass
class ApiServer:
    """The Deployment and its controller. Change `deployment` before a test asks, or through `meanwhile`."""

    deployment: Json
    asked: list[Asked] = field(default_factory=list)
    faults: dict[str, deque[Fault]] = field(default_factory=lambda: {"GET": deque(), "PATCH": deque()})
    """Of the next requests by method; when there is none left all is well again."""
    meanwhile: Callable[[Json], None] | None = None
    """Somebody else, who changes the Deployment once, just before the next patch arrives."""
    broken: set[str] = field(default_factory=set)
    """Snapshots whose pods never become ready."""
    seconds_per_pod: float = 0.0
    """How long each pod takes to be ready; 0: all are at the next look."""
    _rolled: float = 0.0
    _ahead: deque[Json] = field(default_factory=deque)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def template(self) -> dict[str, str]:
        """The pod template's annotations."""
        found: dict[str, str] = self.deployment["spec"]["template"]["metadata"].get("annotations") or {}
        return found

    @property
    def patches(self) -> list[Any]:
        """The bodies of all patches that arrived."""
        return [asked.body for asked in self.asked if asked.method == "PATCH"]

    def get(self) -> Json:
        with self._lock:
            if self._ahead:
                self.deployment["status"] |= self._ahead.popleft()
            elif self.seconds_per_pod:
                self.deployment["status"] |= self._one_by_one()
            return copy.deepcopy(self.deployment)

    def patch(self, operations: list[Json]) -> Json:
        """Raises `Refused`; nothing is changed then."""
        with self._lock:
            if self.meanwhile is not None:
                self.meanwhile(self.deployment)
                self.meanwhile = None
            changed = copy.deepcopy(self.deployment)
            for operation in operations:
                apply(changed, operation)
            before = self.deployment
            self.deployment = changed
            if changed["spec"] != before["spec"]:
                changed["metadata"]["generation"] += 1
            if changed["spec"]["template"] != before["spec"]["template"]:
                self._roll()
            return copy.deepcopy(changed)

    def _roll(self) -> None:
        """The controller begins anew: one pod more than wanted, the new one first, then the old ones go."""
        wanted, generation = self.deployment["spec"]["replicas"], self.deployment["metadata"]["generation"]
        steps = [
            {"observedGeneration": generation - 1},
            {"observedGeneration": generation, "updatedReplicas": min(1, wanted), "replicas": wanted + 1}
            | {"availableReplicas": wanted},
        ]
        if self.seconds_per_pod:
            self._rolled, self._ahead = time.monotonic(), deque(steps)
            return
        done = {"updatedReplicas": wanted, "replicas": wanted, "availableReplicas": wanted}
        self._ahead = deque(
            steps
            if self.template.get(INDEX) in self.broken
            else [*steps, {"observedGeneration": generation} | done]
        )

    def _one_by_one(self) -> Json:
        wanted = int(self.deployment["spec"]["replicas"])
        ready = min(wanted, int((time.monotonic() - self._rolled) / self.seconds_per_pod))
        coming = int(ready < wanted)
        return {"updatedReplicas": ready + coming, "replicas": wanted + coming, "availableReplicas": wanted}


def apply(document: Json, operation: Json) -> None:
    """One operation of a JSON Patch on string keys. Raises `Refused` where RFC 6902 says that it fails."""
    keys = [key.replace("~1", "/").replace("~0", "~") for key in operation["path"].split("/")[1:]]
    parent: Any = document
    for key in keys[:-1]:
        if not isinstance(parent, dict) or not isinstance(parent.get(key), dict):
            raise Refused(
                f"{operation['op']} operation does not apply: doc is missing path: {operation['path']}"
            )
        parent = parent[key]
    verb, last = operation["op"], keys[-1]
    if verb != "add" and last not in parent:
        raise Refused(f"{verb} operation does not apply: doc is missing key: {operation['path']}")
    if verb == "test":
        if parent[last] != operation["value"]:
            raise Refused(f"testing value {operation['path']} failed")
    elif verb in ("add", "replace"):
        parent[last] = operation["value"]
    else:
        raise Refused(f"unexpected kind: {verb}")


def deployment(index: str = "", confirmed: str = "", replicas: int = 2) -> Json:
    """The search Deployment, rolled out, as the API shows it."""
    annotations = {"deployment.kubernetes.io/revision": "1"}  # the controller's; so there are always some
    template: Json = {"metadata": {"labels": {"app": NAME}}}
    if index:
        template["metadata"]["annotations"] = {INDEX: index}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": NAME,
            "namespace": NAMESPACE,
            "generation": 1,
            "annotations": annotations | ({CONFIRMED: confirmed} if confirmed else {}),
        },
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": NAME}},
            "template": template | {"spec": {"containers": [{"name": "search", "image": "search"}]}},
        },
        "status": {"observedGeneration": 1, "conditions": []}
        | dict.fromkeys(("replicas", "updatedReplicas", "availableReplicas"), replicas),
    }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    api: ApiServer

    def do_GET(self) -> None:
        self._answer(None, lambda _: self.api.get())

    def do_PATCH(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(body, self.api.patch)

    def _answer(self, body: Any, act: Callable[[Any], Json]) -> None:
        self.api.asked.append(Asked(self.command, self.path, dict(self.headers), body))
        waiting = self.api.faults[self.command]
        fault = waiting.popleft() if waiting else Fault()
        if fault.applied:
            act(body)
        time.sleep(fault.delay_s)
        if fault.drop:
            self.close_connection = True
        elif fault.status:
            self._send(fault.status, fault.body or _status(fault.status, "as the test wants it"))
        elif self.headers["Authorization"] != f"Bearer {TOKEN}":
            self._send(401, _status(401, "Unauthorized"))
        elif self.path != PATH:
            self._send(404, _status(404, f"{self.path} not found"))
        elif body is not None and self.headers["Content-Type"] != "application/json-patch+json":
            self._send(415, _status(415, "the body is no JSON Patch"))
        else:
            try:
                self._send(200, json.dumps(act(body)))
            except Refused as error:
                self._send(422, _status(422, str(error)))

    def _send(self, status: int, body: str) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())
        except ConnectionError:  # the client waited no longer
            self.close_connection = True

    def log_message(self, format: str, *values: object) -> None:
        """Nothing is logged."""


def _status(code: int, message: str) -> str:
    body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    return json.dumps(body | {"message": message, "reason": _REASONS.get(code, ""), "code": code})


@contextmanager
def serving(found: Json, folder: Path) -> Iterator[tuple[ApiServer, Path]]:
    """The API server until the block ends, and a kubeconfig that leads to it."""
    api = ApiServer(found)
    handler = type("Handler", (_Handler,), {"api": api})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="api server")
    thread.start()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "users": [{"name": "rollout", "user": {"token": TOKEN}}],
        "contexts": [
            {"name": "test", "context": {"cluster": "test", "user": "rollout", "namespace": NAMESPACE}}
        ],
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(config))
    try:
        yield api, path
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
