"""What a platform team asks before it lets a product in: who speaks to whom, which Jobs may be made, whose rights."""

from __future__ import annotations

import copy
import json
from typing import Any

import celpy
import pytest
import yaml

from tasks import registration
from tests.k8s import kustomize
from tests.k8s.conftest import BUILDS, K8S, Build, Manifest, made

IMAGE = "registry.example.com/lookalike-pipeline:0.2.0"


def wanted_labels(selector: Manifest) -> set[tuple[str, str]]:
    return set(selector.get("matchLabels", {}).items())


def pods_of(build: Build) -> list[dict[str, str]]:
    """The labels of every pod there may be, those of runs and of trainings on several machines included."""
    found = [w["spec"]["template"]["metadata"]["labels"] for w in build.workloads]
    found += [c["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["labels"] for c in build.of("CronJob")]
    training = {"app.kubernetes.io/name": "lookalike", "app.kubernetes.io/component": "training"}
    return [*found, {"app.kubernetes.io/component": "flow-run"}, training]


def test_nobody_speaks_to_anybody_unless_a_policy_says_so(build: Build) -> None:
    policies = [found["spec"] for found in build.of("NetworkPolicy")]
    assert {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} in policies
    for labels in pods_of(build):
        meant = [p for p in policies if wanted_labels(p["podSelector"]) <= labels.items()]
        own = [p for p in meant if p["podSelector"]]
        assert own, f"no policy is about {labels}"
        for rule in (rule for policy in own for rule in policy.get("egress", ())):
            assert rule.get("ports") or rule["to"], "a policy that allows everything"


def test_whoever_asks_prefect_may(build: Build) -> None:
    """Both ends agree: the server lets in those, and those alone, whose own policy leads there."""
    policies = build.of("NetworkPolicy")
    (server,) = (p for p in policies if p["metadata"]["name"] == "prefect")
    let_in = [
        wanted_labels(peer["podSelector"]) for rule in server["spec"]["ingress"] for peer in rule["from"]
    ]
    for labels in pods_of(build):
        asks = any(
            rule.get("ports") == [{"port": 4200}]
            for policy in policies
            if wanted_labels(policy["spec"]["podSelector"]) <= labels.items()
            for rule in policy["spec"].get("egress", ())
        )
        assert asks is any(wanted <= labels.items() for wanted in let_in), labels


def test_search_and_rankers_have_credentials_that_only_read(build: Build) -> None:
    if build.name != "all components":
        pytest.skip("the component is not in this build")
    for workload in build.workloads:
        component = workload["metadata"]["labels"]["app.kubernetes.io/component"]
        for container in workload["spec"]["template"]["spec"]["containers"]:
            secrets = {
                entry["secretRef"]["name"] for entry in container.get("envFrom", ()) if "secretRef" in entry
            }
            if component in ("search", "ranker"):
                assert secrets == {"lookalike-store-read"}, workload["metadata"]["name"]
            else:
                assert "lookalike-store-read" not in secrets


def job() -> Manifest:
    found = registration.template(K8S / "jobs" / "cpu.json", "lookalike", IMAGE)
    manifest: Manifest = copy.deepcopy(found["job_configuration"]["job_manifest"])
    manifest["spec"]["template"]["spec"]["serviceAccountName"] = "lookalike-flows"
    return manifest


def set_in(path: str, value: Any) -> Any:
    def change(pod: dict[str, Any]) -> None:
        *way, last = path.split(".")
        for key in way:
            pod = pod[int(key)] if key.isdigit() else pod[key]
        pod[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        (lambda pod: None, None),
        (set_in("serviceAccountName", "lookalike-rollout"), None),
        (set_in("containers.0.args", ["torchrun", "--nnodes", "2"]), None),
        (set_in("containers.0.image", "evil/miner:1"), "the image is none of ours"),
        (set_in("containers.0.args", ["sh", "-c", "evil"]), "the command is none of ours"),
        (set_in("containers.0.command", ["sh"]), "the command is none of ours"),
        (set_in("serviceAccountName", "default"), "the account is none of ours"),
        (set_in("initContainers", [{"name": "x", "image": "evil/miner:1"}]), "runs have no init containers"),
        (
            set_in("volumes", [{"name": "x", "hostPath": {"path": "/"}}]),
            "runs have volumes of their own alone",
        ),
        (
            set_in("volumes", [{"name": "x", "secret": {"secretName": "s"}}]),
            "runs have volumes of their own alone",
        ),
    ],
)
def test_the_api_server_refuses_jobs_that_are_not_made_from_our_templates(
    change: Any, refused: str | None
) -> None:
    policy, _ = yaml.safe_load_all((K8S / "components" / "admission" / "policy.yaml").read_text())
    asked = job()
    change(asked["spec"]["template"]["spec"])
    given = {
        "object": asked,
        "params": {"data": {"pipeline": IMAGE, "train": "registry.example.com/train:1"}},
    }
    given |= {"request": {"namespace": "lookalike", "userInfo": {"username": by("prefect-worker")}}}
    (mine,) = policy["spec"]["matchConditions"]
    assert evaluated(mine["expression"], given)
    said = [
        rule["message"] for rule in policy["spec"]["validations"] if not evaluated(rule["expression"], given)
    ]
    assert said == ([refused] if refused else [])
    given["request"]["userInfo"]["username"] = by("somebody-elses")
    assert not evaluated(mine["expression"], given)


def by(account: str) -> str:
    return f"system:serviceaccount:lookalike:{account}"


def evaluated(expression: str, given: dict[str, Any]) -> bool:
    environment = celpy.Environment()
    program = environment.program(environment.compile(expression))
    return bool(program.evaluate({name: celpy.json_to_cel(value) for name, value in given.items()}))


def test_on_openshift_no_pod_names_its_user(tmp_path_factory: pytest.TempPathFactory) -> None:
    if missing := kustomize.missing():
        pytest.skip(missing)
    overlay, components = BUILDS["all components"]
    objects = made(tmp_path_factory.mktemp("openshift"), overlay, (*components, "openshift"))
    assert "runAsUser" not in json.dumps([found for found in objects if found["kind"] != "ConfigMap"])
    (worker,) = (o for o in objects if (o["kind"], o["metadata"]["name"]) == ("Deployment", "prefect-worker"))
    (register,) = worker["spec"]["template"]["spec"]["initContainers"]
    assert {"name": "LOOKALIKE_ANY_USER", "value": "true"} in register["env"]
    template = registration.template(K8S / "jobs" / "gpu.json", "shop", IMAGE, any_user=True)
    assert "runAsUser" not in json.dumps(template)
    assert '"runAsNonRoot": true' in json.dumps(template)


@pytest.mark.parametrize("component", ["aws-irsa", "gcp-workload-identity"])
def test_accounts_of_search_get_a_role_that_reads_and_those_of_runs_one_that_writes(
    component: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if missing := kustomize.missing():
        pytest.skip(missing)
    objects = made(tmp_path_factory.mktemp(component), "overlays/production", ("shards", component))
    roles = {
        found["metadata"]["name"]: "".join(found["metadata"].get("annotations", {}).values())
        for found in objects
        if found["kind"] == "ServiceAccount"
    }
    assert all("read" in roles[f"lookalike-{name}"] for name in ("search", "ranker"))
    assert all("write" in roles[f"lookalike-{name}"] for name in ("flows", "rollout", "training", "console"))
    assert not roles["prefect-worker"]
