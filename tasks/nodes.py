"""Training on several machines: an Indexed Job whose pods run torchrun, and the Service by which they find the first.

The pods are those of the work pool `gpu`: image, GPUs, memory, node selector and volumes come from its job template and
the variables of the `train` deployment, so there is one place that says what a machine for training is. The Job is
named after what it trains: a flow run that is started again finds it at work and waits on. A pod that dies is made
anew with its old number; the others notice, end, and start again too, and all go on from the last checkpoint.
"""

from __future__ import annotations

import copy
import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from prefect.client.orchestration import get_client
from prefect.utilities.templating import apply_values

from lookalike.errors import TrainingError

POOL, DEPLOYMENT = "gpu", "train/train"
RENDEZVOUS = 29400
_RESTARTS = 10
"""How often each pod may die before the training is given up."""
_POLL_S = 5.0
_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def job_name(curated: str, recipe: str, weights: str = "") -> str:
    """Name of the Job (and the Service) that trains this."""
    return f"train-{hashlib.sha256(f'{curated} {recipe} {weights}'.encode()).hexdigest()[:12]}"


def pool_job() -> dict[str, Any]:
    """The Job that the worker would make of a run of the `train` deployment."""
    with get_client(sync_client=True) as server:
        template = server.read_work_pool(POOL).base_job_template
        asked = server.read_deployment_by_name(DEPLOYMENT).job_variables or {}
    return rendered(template, asked)


def rendered(template: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """A work pool's Job, its variables filled in by `asked` or else their defaults."""
    variables = template["variables"]["properties"]
    defaults = {name: field["default"] for name, field in variables.items() if "default" in field}
    job: dict[str, Any] = apply_values(
        dict(template["job_configuration"]["job_manifest"]), defaults | dict(asked), remove_notset=True
    )
    return job


def manifests(
    job: Mapping[str, Any], name: str, nodes: int, processes: str, arguments: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The Indexed Job and the headless Service of one training.

    `job` is what one pod of the pool looks like, `processes` what torchrun takes as ``--nproc-per-node``, and
    `arguments` are those of ``lookalike train``.
    """
    labels = {
        "app.kubernetes.io/name": "lookalike",
        "app.kubernetes.io/component": "training",
        "app.kubernetes.io/part-of": "lookalike",
        "app.kubernetes.io/instance": name,
    }
    pod = copy.deepcopy(job["spec"]["template"]["spec"])
    for misplaced in ("parallelism", "completions"):  # Prefect wants them here; they belong to the Job
        pod.pop(misplaced, None)
    container = pod["containers"][0]
    container["name"] = "train"
    container["env"] = []
    container["args"] = [
        "torchrun",
        *("--nnodes", str(nodes), "--node-rank", "$(JOB_COMPLETION_INDEX)"),
        *("--nproc-per-node", processes, "--master-addr", f"{name}-0.{name}"),
        *("--master-port", str(RENDEZVOUS), "-m", "lookalike", "train", *arguments),
    ]
    container["ports"] = [{"name": "rendezvous", "containerPort": RENDEZVOUS}]
    pod |= {"subdomain": name, "restartPolicy": "OnFailure"}
    spec = job["spec"]
    indexed = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "completionMode": "Indexed",
            "completions": nodes,
            "parallelism": nodes,
            "backoffLimit": nodes * _RESTARTS,
            "ttlSecondsAfterFinished": spec["ttlSecondsAfterFinished"],
            "activeDeadlineSeconds": spec["activeDeadlineSeconds"],
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {"app.kubernetes.io/instance": name},
            "ports": [{"name": "rendezvous", "port": RENDEZVOUS}],
        },
    }
    return indexed, service


def run(job: Mapping[str, Any], service: Mapping[str, Any]) -> None:
    """Start the Job in this pod's namespace, unless it is at work, and wait until it ends. Raises `TrainingError`."""
    config.load_incluster_config()
    namespace, name = _NAMESPACE.read_text().strip(), job["metadata"]["name"]
    batch, core = client.BatchV1Api(), client.CoreV1Api()
    try:
        found = batch.read_namespaced_job(name, namespace)
        if _ended(found) == "Failed":
            raise TrainingError(f"{_why(found)}; delete the Job to train again: kubectl delete job {name}")
    except ApiException as error:
        if error.status != 404:
            raise
        found = batch.create_namespaced_job(namespace, dict(job))
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": found.metadata.uid}
    try:
        core.create_namespaced_service(
            namespace, {**service, "metadata": {**service["metadata"], "ownerReferences": [owner]}}
        )
    except ApiException as error:
        if error.status != 409:
            raise
    while _ended(found) is None:
        time.sleep(_POLL_S)
        found = batch.read_namespaced_job(name, namespace)
    if _ended(found) == "Failed":
        raise TrainingError(f"{_why(found)}; its pods say more: kubectl logs -l job-name={name}")


def _ended(job: Any) -> str | None:
    for condition in job.status.conditions or ():
        if condition.type in ("Complete", "Failed") and condition.status == "True":
            return str(condition.type)
    return None


def _why(job: Any) -> str:
    [failed] = [condition for condition in job.status.conditions if condition.type == "Failed"]
    return f"Job {job.metadata.name} failed: {failed.reason}: {failed.message}"
