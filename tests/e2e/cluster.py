"""A real Kubernetes cluster, images of this tree in it, and an S3 server that its pods reach.

The cluster is the one that KUBECONFIG names; its images and its S3 server are then named by
LOOKALIKE_TEST_SEARCH_IMAGE, LOOKALIKE_TEST_PIPELINE_IMAGE and LOOKALIKE_TEST_S3_ENDPOINT_URL (which both sides reach).
Where none is named and the tools of a one-node cluster and of an S3 server lie beside the repository, these are
started, and images are built once for each state of the tree. The tools' node is Kubernetes 1.20, so manifests are
rewritten for it on their way.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.k8s import kustomize

ROOT = Path(__file__).parents[2]
TOOLS = ROOT.parent / "shared" / "tools"
CLUSTER_TOOL, S3_TOOL = TOOLS / "cluster/cluster", TOOLS / "s3/s3"
BASE_IMAGE = "localhost/base:py311"
_SOURCES = (
    "Dockerfile",
    "pyproject.toml",
    "prefect.yaml",
    "requirements",
    "src",
    "flows",
    "tasks",
    "k8s/jobs",
)
_POD_HOST = "10.99.0.254"
"""Where the tools' node sees this machine's forwarded ports."""


class Failed(AssertionError):
    """A command at the cluster failed; the message is its error output."""


@dataclass(frozen=True)
class Cluster:
    """A cluster by its kubeconfig; `local` where it is the tools' node."""

    kubeconfig: Path
    local: bool

    def kubectl(self, *arguments: str, stdin: str | None = None, seconds: float = 120) -> str:
        """What kubectl prints. Raises `Failed`."""
        return _run(
            ["kubectl", "--kubeconfig", str(self.kubeconfig), *arguments], stdin=stdin, seconds=seconds
        )

    def apply(self, manifests: str) -> None:
        """Create or change what the manifests (YAML or JSON) describe."""
        if self.local:
            manifests = _run([str(CLUSTER_TOOL), "downgrade", "-"], stdin=manifests)
        self.kubectl("apply", "-f", "-", stdin=manifests)

    @contextmanager
    def namespace(self, name: str) -> Iterator[Namespace]:
        """An empty namespace, deleted at the end."""
        self.kubectl("delete", "namespace", name, "--ignore-not-found", "--wait", seconds=180)
        self.kubectl("create", "namespace", name)
        try:
            yield Namespace(self, name)
        finally:
            self.kubectl("delete", "namespace", name, "--wait=false")


@dataclass(frozen=True)
class Namespace:
    """One namespace of a cluster."""

    cluster: Cluster
    name: str

    def kubectl(self, *arguments: str, stdin: str | None = None, seconds: float = 120) -> str:
        return self.cluster.kubectl("--namespace", self.name, *arguments, stdin=stdin, seconds=seconds)

    def get(self, *arguments: str) -> Any:
        """The object or list that ``kubectl get`` finds."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def apply(self, manifests: str) -> None:
        self.cluster.apply(manifests)

    def kustomize(self, kustomization: Mapping[str, Any], folder: Path) -> None:
        """Apply a kustomization of this namespace; its paths are relative to the repository."""
        folder.mkdir(parents=True, exist_ok=True)
        body = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": self.name,
        }
        paths = {
            key: [os.path.relpath(ROOT / path, folder.resolve()) for path in kustomization[key]]
            for key in ("resources", "components")
            if key in kustomization
        }
        (folder / "kustomization.yaml").write_text(json.dumps(body | dict(kustomization) | paths))
        self.apply(kustomize.build(folder))

    def secret(self, name: str, values: Mapping[str, str]) -> None:
        self.apply(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "metadata": {"name": name, "namespace": self.name},
                    "stringData": dict(values),
                }
            )
        )


@dataclass
class S3Server:
    """An S3 server: `endpoint` for this process, `pods_endpoint` for pods, `credentials` as environment variables."""

    endpoint: str
    pods_endpoint: str
    credentials: Mapping[str, str]
    state: Path | None = None

    @property
    def pod_environment(self) -> dict[str, str]:
        """What a process in a pod needs to reach it."""
        return {
            "LOOKALIKE_S3_ENDPOINT_URL": self.pods_endpoint,
            "LOOKALIKE_S3_IF_MATCH_QUOTED": "false",
            **self.credentials,
        }

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Within the block the gateway's process is gone; its data stays."""
        assert self.state is not None, "only our own server can be stopped"
        pid = int((self.state / "run/radosgw.pid").read_text().split()[0])
        proc = Path(f"/proc/{pid}")
        command = [part.decode() for part in (proc / "cmdline").read_bytes().split(b"\0")[:-1]]
        pairs = (part.decode().split("=", 1) for part in (proc / "environ").read_bytes().split(b"\0") if part)
        environment = dict(pair for pair in pairs if len(pair) == 2)
        os.kill(pid, signal.SIGTERM)
        eventually(lambda: not proc.exists() or "Z" in (proc / "stat").read_text().split()[2], 20)
        try:
            yield
        finally:
            process = subprocess.Popen(
                command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            threading.Thread(target=process.wait, daemon=True).start()  # or its end would go unnoticed
            started = int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2].split()[19])
            (self.state / "run/radosgw.pid").write_text(f"{process.pid} {started}\n")
            status = [str(S3_TOOL), "--state", str(self.state), "status"]
            eventually(lambda: subprocess.run(status, capture_output=True, check=False).returncode == 0, 60)


@contextmanager
def own_s3_server(state: Path) -> Iterator[S3Server]:
    """A radosgw of our own, reachable from the tools' node."""
    said = _run([str(S3_TOOL), "--state", str(state), "up"], seconds=240)
    values = dict(pair.split("=", 1) for pair in said.split())
    endpoint = values.pop("S3_ENDPOINT_URL")
    port = urlsplit(endpoint).port
    _run([str(CLUSTER_TOOL), "host-port", str(port)])
    try:
        yield S3Server(endpoint, f"http://{_POD_HOST}:{port}", values, state)
    finally:
        _run([str(S3_TOOL), "--state", str(state), "down", "--purge"])


def start_local_cluster() -> Cluster:
    """The tools' node; it is left running, as it serves the next run, too."""
    line = _run([str(CLUSTER_TOOL), "up"], seconds=300).strip()
    return Cluster(Path(line.removeprefix("KUBECONFIG=")), local=True)


def build_image(target: str) -> str:
    """The image of this tree's `target` in the tools' node, built if the tree has changed."""
    image = f"localhost/lookalike-{target}:test-{_digest_of_sources()}"
    if not _run(["buildah", "images", "--quiet", "--filter", f"reference={image}"]).strip():
        _run([str(CLUSTER_TOOL), "base-image", BASE_IMAGE], seconds=600)
        build = ["build", "--layers", "--target", target, "-t", image, "--build-arg", f"BASE={BASE_IMAGE}"]
        _run([str(CLUSTER_TOOL), *build, str(ROOT)], seconds=1500)
    _run([str(CLUSTER_TOOL), "load", image], seconds=600)
    return image


def eventually(holds: Any, seconds: float, *, every: float = 0.25) -> None:
    """Wait until `holds()` is true; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"did not come true within {seconds:g} s"
        time.sleep(every)


def _digest_of_sources() -> str:
    listed = _run(["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard", "--", *_SOURCES])
    digest = hashlib.sha256()
    for name in sorted(listed.splitlines()):
        path = ROOT / name
        if path.is_file():
            digest.update(name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def _run(command: list[str], *, stdin: str | None = None, seconds: float = 120) -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=seconds, check=False)
    if done.returncode != 0:
        raise Failed(
            f"{' '.join(command[:8])}: exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
        )
    return done.stdout
