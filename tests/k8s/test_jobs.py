"""The Jobs that runs become: what Prefect's worker makes of the templates, and the training on several machines."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from tests.k8s.conftest import K8S, Manifest
from tests.k8s.test_schemas import VERSIONS, check

pytest.importorskip("prefect_kubernetes")

from prefect.client.schemas.objects import FlowRun
from prefect.utilities.templating import apply_values
from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration

from tasks import nodes, registration

IMAGE = "registry.example.com/lookalike-train:1"
ASKED = {
    "cpu_request": "16",
    "shared_memory": "12Gi",
}


def template(pool: str) -> dict[str, Any]:
    return registration.template(K8S / "jobs" / f"{pool}.json", "shop", IMAGE)


def job_of_a_run(pool: str, **asked: Any) -> Manifest:
    """What the worker sends to the Kubernetes API."""
    found = template(pool)
    variables = found["variables"]["properties"]
    defaults = {name: field["default"] for name, field in variables.items() if "default" in field}
    values = apply_values(found["job_configuration"], defaults | ASKED | asked, remove_notset=True)
    configuration = KubernetesWorkerJobConfiguration(**values)
    configuration.prepare_for_flow_run(
        FlowRun(flow_id="00000000-0000-0000-0000-000000000001", name="brave-owl")
    )
    job = configuration.job_manifest
    assert isinstance(job, dict)
    for misplaced in (
        "parallelism",
        "completions",
    ):  # Prefect insists on them here; the API server drops them
        assert job["spec"]["template"]["spec"].pop(misplaced) == 1
    return job


@pytest.mark.parametrize("pool", ["cpu", "gpu"])
@pytest.mark.parametrize("version", VERSIONS)
def test_the_job_of_a_run_fits_its_schema_and_has_nothing_left_to_fill_in(pool: str, version: str) -> None:
    job = job_of_a_run(pool)
    check(job, version)
    assert "{{" not in json.dumps(job)
    assert job["metadata"]["namespace"] == "shop"


@pytest.mark.parametrize("pool", ["cpu", "gpu"])
def test_a_run_that_asks_for_another_image_command_or_namespace_does_not_get_it(pool: str) -> None:
    asked = {"image": "evil/miner:1", "command": "sh -c evil", "args": ["evil"], "namespace": "kube-system"}
    job = job_of_a_run(pool, **asked)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert (container["image"], container["args"]) == (IMAGE, ["prefect", "flow-run", "execute"])
    assert "command" not in container
    assert job["metadata"]["namespace"] == "shop"


@pytest.mark.parametrize("pool", ["cpu", "gpu"])
def test_the_pod_of_a_run_is_restricted_and_leaves_retries_to_prefect(pool: str) -> None:
    job = job_of_a_run(pool)
    assert job["spec"]["backoffLimit"] == 0
    pod = job["spec"]["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert all(set(volume) == {"name", "emptyDir"} for volume in pod["volumes"])
    assert {mount["mountPath"] for mount in container["volumeMounts"]} >= {"/tmp", "/var/cache/lookalike"}
    said = {entry["name"]: entry["value"] for entry in container["env"]}
    assert said["PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR"] == "reschedule"  # an evicted run comes back
    assert said["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"  # its silence is noticed (tasks/registration.py)
    assert said["LOOKALIKE_TASK_STAGES"] == "deployments"
    assert container["args"] == ["prefect", "flow-run", "execute"]


def test_a_run_of_the_gpu_pool_gets_a_gpu_its_node_and_shared_memory() -> None:
    pod = job_of_a_run("gpu")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert container["resources"]["requests"]["cpu"] == "16"
    assert pod["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    (shm,) = (volume for volume in pod["volumes"] if volume["name"] == "shm")
    assert shm["emptyDir"] == {"medium": "Memory", "sizeLimit": "12Gi"}
    assert {"name": "shm", "mountPath": "/dev/shm"} in container["volumeMounts"]


def test_every_variable_of_a_template_is_used_and_every_use_is_a_variable() -> None:
    for pool in ("cpu", "gpu"):
        found = template(pool)
        text = json.dumps(found["job_configuration"])
        for name in found["variables"]["properties"]:
            assert f"{{{{ {name} }}}}" in text, f"{pool}.json never uses {name}"
        assert text.count("{{") == sum(
            text.count(f"{{{{ {name} }}}}") for name in found["variables"]["properties"]
        )


def test_the_deployments_ask_for_variables_that_their_pool_has() -> None:
    deployments = yaml.safe_load((K8S.parent / "prefect.yaml").read_text())["deployments"]
    for deployment in deployments:
        pool = deployment["work_pool"]
        assert set(pool["job_variables"]) <= set(template(pool["name"])["variables"]["properties"])


@pytest.fixture
def training() -> tuple[Manifest, Manifest]:
    arguments = ["--store", "s3://shop/lookalike", "--recipe", "ebay_resnet50"]
    job = nodes.rendered(template("gpu"), ASKED)
    return nodes.manifests(job, nodes.job_name("curated/1@2", "ebay_resnet50"), 4, "gpu", arguments)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_training_on_several_machines_fits_its_schemas(
    training: tuple[Manifest, Manifest], version: str
) -> None:
    for found in training:
        check(found, version)
        assert "{{" not in json.dumps(found)


def test_its_pods_are_the_pools_and_meet_at_the_first(training: tuple[Manifest, Manifest]) -> None:
    job, service = training
    name, spec = job["metadata"]["name"], job["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 4, 4)
    pod, labels = spec["template"]["spec"], spec["template"]["metadata"]["labels"]
    (container,) = pod["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert container["image"] == IMAGE
    command = " ".join(container["args"])
    assert (
        f"--nnodes 4 --node-rank $(JOB_COMPLETION_INDEX) --nproc-per-node gpu --master-addr {name}-0.{name}"
        in command
    )
    assert command.endswith("-m lookalike train --store s3://shop/lookalike --recipe ebay_resnet50")
    # A pod of an Indexed Job is called NAME-INDEX; the Service of the pods' subdomain gives it that address at once.
    assert pod["subdomain"] == service["metadata"]["name"] == name
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert service["spec"]["selector"].items() <= labels.items()


def test_the_same_training_has_the_same_name_and_another_has_another() -> None:
    assert nodes.job_name("a", "tiny") == nodes.job_name("a", "tiny") != nodes.job_name("a", "demo")
