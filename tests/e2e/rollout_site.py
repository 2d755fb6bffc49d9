"""The shop of the roll-out tests on a cluster: its manifests, an operator's pod in it, and clients that never stop."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from lookalike.publishing.live_ref import LiveRecord, read_live
from lookalike.publishing.rollout import INDEX
from lookalike.storage.artefacts import Ref
from lookalike.storage.s3 import S3Store
from tests.e2e.cluster import Namespace
from tests.shop import Shop, render

BUCKET = "rollout"
CLIENTS = 8
PAUSE_S = 0.02
"""Between two requests of a client, so that the pods under test get some of a small machine, too."""
OPERATOR = "operator"
SEARCH = "lookalike-search"


@dataclass(frozen=True)
class Site:
    """The shop's cluster: its namespace, where it answers, and its artefacts."""

    namespace: Namespace
    port: int
    store: S3Store
    first: Shop

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def live(self) -> LiveRecord:
        found = read_live(self.store)
        assert found is not None
        return found.live

    def operator(self, *arguments: str, seconds: float = 400) -> str:
        """Runs `lookalike` in the operator's pod; what it prints. Raises `ClusterError` with its error."""
        return self.namespace.kubectl("exec", OPERATOR, "--", *arguments, seconds=seconds)

    def publish(self, index: Ref) -> None:
        self.operator("lookalike", "publish", "--index", str(index), "--json")

    def annotation(self) -> str:
        template = self.namespace.get("deployment", SEARCH)["spec"]["template"]
        return str((template["metadata"].get("annotations") or {}).get(INDEX, ""))

    def pods(self) -> list[dict[str, object]]:
        found = self.namespace.get("pods", "-l", "app.kubernetes.io/component=search")["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def agreed_on(self, index: Ref) -> bool:
        """Whether live ref and Deployment both name `index`, and its pods alone exist and are ready."""
        status = self.namespace.get("deployment", SEARCH)["status"]
        counts = [status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas")]
        return self.live.index == index and self.annotation() == str(index) and counts == [2, 2, 2]


@dataclass
class Load:
    """What clients got: for each reply its (status, release, index, prefix of the first listing); and what failed."""

    replies: Counter[tuple[int, str, str, str]] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def requests(self) -> int:
        return sum(self.replies.values()) + len(self.errors)

    def indexes(self) -> set[str]:
        return {index for _, _, index, _ in self.replies}

    def check(self, *shops: Shop) -> None:
        """No request failed, and each reply was made by one pair alone."""
        assert not self.errors, self.errors[:5]
        assert {status for status, *_ in self.replies} == {200}, self.replies
        pairs = {(str(s.release), str(s.index), s.listings[0].listing_id[0]) for s in shops}
        assert {(release, index, first) for _, release, index, first in self.replies} <= pairs


@contextmanager
def under_load(site: Site, *, tries: int = 1) -> Iterator[Load]:
    """Eight clients that never stop asking: half keep their connections, half open one for each request."""
    load, stop = Load(), threading.Event()

    def ask(keep: bool) -> None:
        photo = render("home/vase", 3)
        client = httpx.Client(base_url=site.url, timeout=30)
        while not stop.is_set():
            for left in reversed(range(tries)):
                try:
                    if not keep:
                        client.close()
                        client = httpx.Client(base_url=site.url, timeout=30)
                    reply = client.post("/v1/search?k=3", content=photo)
                    body = reply.json()
                    first = body["hits"][0]["listing_id"][0] if body.get("hits") else ""
                    seen = (reply.status_code, body.get("release", ""), body.get("index", ""), first)
                    with load.lock:
                        load.replies[seen] += 1
                    break
                except (httpx.HTTPError, ValueError) as error:
                    if not left:
                        with load.lock:
                            load.errors.append(f"{time.strftime('%X')} {error!r}")
            stop.wait(PAUSE_S)
        client.close()

    threads = [threading.Thread(target=ask, args=(number % 2 == 0,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def kustomization(image: str) -> dict[str, object]:
    name, _, tag = image.rpartition(":")
    small = {"requests": {"cpu": "50m", "memory": "300Mi"}, "limits": {"memory": "1500Mi"}}
    return {
        "resources": ["k8s/base/search", "k8s/base/rollout"],
        "images": [{"name": "lookalike-search", "newName": name, "newTag": tag}],
        "configMapGenerator": [
            {
                "name": "lookalike",
                "literals": [f"LOOKALIKE_STORE=s3://{BUCKET}", f"LOOKALIKE_ROLLOUT_DEPLOYMENT={SEARCH}"],
                "options": {"disableNameSuffixHash": True},
            }
        ],
        "patches": [
            {
                "target": {"kind": "Deployment", "name": SEARCH},
                "patch": json.dumps(
                    [{"op": "replace", "path": "/spec/template/spec/containers/0/resources", "value": small}]
                ),
            },
            {
                "target": {"kind": "Service", "name": SEARCH},
                "patch": json.dumps([{"op": "add", "path": "/spec/type", "value": "NodePort"}]),
            },
        ],
    }


def operator_pod(image: str) -> dict[str, object]:
    """As a publishing run's pod, but idle: `lookalike` is run in it."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": OPERATOR, "namespace": "lookalike-rollout-cluster"},
        "spec": {
            "serviceAccountName": "lookalike-rollout",
            "terminationGracePeriodSeconds": 1,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "fsGroup": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "operator",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "args": ["sleep", "infinity"],
                    "env": [{"name": "LOOKALIKE_ROLLOUT_DEADLINE_S", "value": "300"}],
                    "envFrom": [
                        {"configMapRef": {"name": "lookalike"}},
                        {"secretRef": {"name": "lookalike-store"}},
                    ],
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [
                        {"name": "tmp", "mountPath": "/tmp"},
                        {"name": "cache", "mountPath": "/var/cache/lookalike"},
                    ],
                }
            ],
            "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "cache", "emptyDir": {}}],
        },
    }
