"""A Kubernetes cluster, an S3 server and a builder of images, as this machine offers them.

`KUBECONFIG` names the cluster. Where it is not set, `LOOKALIKE_CLUSTER_TOOL` and `LOOKALIKE_S3_TOOL` may name programs
that start a test cluster and a test S3 server; what those need besides (images into the node, ports into the pods,
manifests for an old API) is done here and nowhere else. On any other cluster images go through a registry:
`LOOKALIKE_REGISTRY` is the prefix under which `docker` (or `LOOKALIKE_BUILDER`, such as podman) pushes them and the
cluster pulls them. CONTRIBUTING.md says what the two programs must do.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.exceptions import ClientError

from local.settings import LocalSettings, inherited
from lookalike.errors import LookalikeError

ROOT = Path(__file__).parents[1]
CLUSTER_TOOL, S3_TOOL = "LOOKALIKE_CLUSTER_TOOL", "LOOKALIKE_S3_TOOL"
"""The variables that name them."""
_BASE = "localhost/base:py311"
_HOST_AS_PODS_SEE_IT = "10.99.0.254"


class ClusterError(LookalikeError):
    """A command for the cluster failed; the message says which, and its last words."""


class Missing(ClusterError):
    """There is no cluster or no S3 server to work on; the message says what to set."""


@dataclass(frozen=True)
class Cluster:
    """One cluster."""

    kubeconfig: str
    tool: Path | None = None
    """The program that started it, where it is the test cluster."""

    def kubectl(self, *arguments: str, stdin: str | None = None, seconds: float = 120) -> str:
        """What kubectl prints. Raises `ClusterError`."""
        environ = inherited() | {"KUBECONFIG": self.kubeconfig}
        return run(["kubectl", *arguments], stdin=stdin, seconds=seconds, environ=environ)

    @contextmanager
    def forwarded(self, namespace: str, service: str) -> Iterator[str]:
        """Inside, the address on this machine of a Service's port `http`."""
        command = ["kubectl", "-n", namespace, "port-forward", f"service/{service}", ":http"]
        environ = inherited() | {"KUBECONFIG": self.kubeconfig}
        with subprocess.Popen(
            command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            try:
                assert process.stdout is not None
                said = process.stdout.readline()
                if not said.startswith("Forwarding from "):
                    raise ClusterError(f"{' '.join(command)}: {said.strip()}")
                yield f"http://{said.split()[2]}"
            finally:
                process.terminate()

    def apply(self, manifests: str) -> None:
        """``kubectl apply`` of YAML or JSON; for our old test cluster through its `downgrade`."""
        if self.tool:
            manifests = run([str(self.tool), "downgrade", "-"], stdin=manifests)
        self.kubectl("apply", "-f", "-", stdin=manifests)

    def build(self, target: str, tag: str) -> str:
        """Build one target of the Dockerfile and bring it where the cluster finds it; the image's name and tag."""
        if self.tool:
            image = build_image(self.tool, target, tag)
            run([str(self.tool), "load", image], seconds=600)
            return image
        settings = LocalSettings()
        if not settings.registry:
            raise ClusterError(
                "set LOOKALIKE_REGISTRY to where this cluster pulls images from, such as ghcr.io/shop"
            )
        image = f"{settings.registry}/lookalike-{target}:{tag}"
        options = ["--target", target]
        if settings.torch_index:
            options += ["--build-arg", f"TORCH_INDEX={settings.torch_index}"]
        run([settings.builder, "build", "-t", image, *options, str(ROOT)], seconds=3600)
        run([settings.builder, "push", image], seconds=1800)
        return image


@dataclass(frozen=True)
class S3Server:
    """An S3 server: where this machine and where pods reach it, and what else its clients must be told."""

    here: str
    from_pods: str
    key: str
    secret: str
    settings: Mapping[str, str]
    """Of the variables `LOOKALIKE_S3_*`."""
    state: Path | None = None
    """The folder of a test server of ours."""

    @property
    def pod_environment(self) -> dict[str, str]:
        """What a process in a pod needs to reach it."""
        return {
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "LOOKALIKE_S3_ENDPOINT_URL": self.from_pods,
            **self.settings,
        }

    def bucket(self, name: str) -> Any:
        """boto3's client, after the bucket was made if there was none."""
        client = boto3.client(
            "s3",
            endpoint_url=self.here,
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
            region_name=LocalSettings().region,
        )
        try:
            client.create_bucket(Bucket=name)
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                raise
        return client


def build_image(tool: Path, target: str, tag: str) -> str:
    """Build one target of the Dockerfile by the test cluster's program, running or not; the image's name and tag."""
    run([str(tool), "base-image", _BASE], seconds=600)
    image = f"lookalike-{target}:{tag}"
    options = ["--layers", "--target", target, "--build-arg", f"BASE={_BASE}"]
    run([str(tool), "build", "-t", image, *options, str(ROOT)], seconds=1800)
    return image


def find_cluster() -> Cluster | None:
    """The cluster that KUBECONFIG names, or else the test cluster, started; None where there is neither."""
    tool = find_tool(CLUSTER_TOOL)
    if kubeconfig := LocalSettings().kubeconfig:
        ours = tool is not None and run([str(tool), "kubeconfig"]).strip() == kubeconfig
        return Cluster(kubeconfig, tool if ours else None)
    if tool is None:
        return None
    try:
        line = run([str(tool), "up"], seconds=300)
    except ClusterError:  # its name server may be told to reload before it can be: once more
        line = run([str(tool), "up"], seconds=300)
    return Cluster(line.strip().removeprefix("KUBECONFIG="), tool)


def find_tool(variable: str) -> Path | None:
    """The program that a variable names, or None where it is not set. Raises `ClusterError` where there is none."""
    named = inherited().get(variable)
    if not named:
        return None
    tool = Path(named).absolute()
    if not os.access(tool, os.X_OK):
        raise ClusterError(f"{variable} names {named}, which is no program: correct it or unset it")
    return tool


def find_s3(cluster: Cluster, state: Path | None = None) -> S3Server:
    """The server that S3_ENDPOINT_URL names, or else the test server, started, with its data in `state`.

    Raises `Missing` where there is neither.
    """
    environ: Mapping[str, str] = inherited()
    needed = ("S3_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    if all(name in environ for name in needed):
        state = None
    elif (tool := find_tool(S3_TOOL)) is None:
        raise Missing(f"no S3 server: set {', '.join(needed)} to one that this machine and the cluster reach")
    else:
        place = ["--state", str(state)] if state else []
        said = run([str(tool), *place, "up"], seconds=300).split()
        environ = dict(word.partition("=")[::2] for word in said) | {"LOOKALIKE_S3_IF_MATCH_QUOTED": "false"}
    here = environ["S3_ENDPOINT_URL"]
    from_pods = environ.get("LOOKALIKE_S3_FROM_PODS", here)
    parts = urlsplit(here)
    if cluster.tool and parts.hostname == "127.0.0.1":
        run([str(cluster.tool), "host-port", str(parts.port)])
        from_pods = f"http://{_HOST_AS_PODS_SEE_IT}:{parts.port}"
    settings = {name: value for name, value in environ.items() if name.startswith("LOOKALIKE_S3_")}
    settings.pop("LOOKALIKE_S3_FROM_PODS", None)
    return S3Server(
        here, from_pods, environ["AWS_ACCESS_KEY_ID"], environ["AWS_SECRET_ACCESS_KEY"], settings, state
    )


def run(
    command: Sequence[str],
    *,
    stdin: str | None = None,
    seconds: float = 120,
    environ: Mapping[str, str] | None = None,
) -> str:
    """What a command prints. Raises `ClusterError` with its last words where it fails."""
    try:
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=seconds,
            env=environ and dict(environ),
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ClusterError(f"{' '.join(command[:4])}: {error}") from error
    if done.returncode:
        words = "\n".join((done.stderr or done.stdout).strip().splitlines()[-15:])
        raise ClusterError(f"{' '.join(command[:4])} failed:\n{words}")
    return done.stdout
