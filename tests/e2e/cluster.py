"""What cluster tests need beside `local.cluster`: a namespace of their own, and an S3 server that can be stopped."""

from __future__ import annotations

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

import pytest

from local.cluster import ROOT, S3_TOOL, Cluster, Missing, S3Server, find_s3, find_tool, run
from lookalike.settings import S3Settings
from lookalike.storage.s3 import S3Store
from tests.k8s import kustomize


@dataclass(frozen=True)
class Namespace:
    """One namespace of a cluster."""

    cluster: Cluster
    name: str

    def kubectl(self, *arguments: str, stdin: str | None = None, seconds: float = 120) -> str:
        """What kubectl prints. Raises `ClusterError`."""
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


@contextmanager
def emptied(cluster: Cluster, name: str) -> Iterator[Namespace]:
    """An empty namespace, deleted at the end."""
    cluster.kubectl("delete", "namespace", name, "--ignore-not-found", "--wait", seconds=180)
    cluster.kubectl("create", "namespace", name)
    try:
        yield Namespace(cluster, name)
    finally:
        cluster.kubectl("delete", "namespace", name, "--wait=false")


@contextmanager
def s3_server(cluster: Cluster, state: Path) -> Iterator[S3Server]:
    """The server that S3_ENDPOINT_URL names, or one of our own with its data in `state`."""
    try:
        server = find_s3(cluster, state)
    except Missing as error:
        pytest.skip(str(error))
    try:
        yield server
    finally:
        if server.state:
            run([str(find_tool(S3_TOOL)), "--state", str(server.state), "down", "--purge"])


def open_bucket(server: S3Server, bucket: str, prefix: str = "") -> S3Store:
    """The store in a bucket, which is made. Credentials are those of this process's environment."""
    server.bucket(bucket).close()
    quoted = server.settings.get("LOOKALIKE_S3_IF_MATCH_QUOTED") != "false"
    return S3Store(bucket, prefix, S3Settings(endpoint_url=server.here, if_match_quoted=quoted))


@contextmanager
def stopped(server: S3Server) -> Iterator[None]:
    """Within the block the gateway of a server of our own is gone; its data stays."""
    assert server.state is not None, "only our own server can be stopped"
    pid = int((server.state / "run/radosgw.pid").read_text().split()[0])
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
        (server.state / "run/radosgw.pid").write_text(f"{process.pid} {started}\n")
        status = [str(find_tool(S3_TOOL)), "--state", str(server.state), "status"]
        eventually(lambda: subprocess.run(status, capture_output=True, check=False).returncode == 0, 60)


def eventually(holds: Any, seconds: float, *, every: float = 0.25) -> None:
    """Wait until `holds()` is true; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"did not come true within {seconds:g} s"
        time.sleep(every)
