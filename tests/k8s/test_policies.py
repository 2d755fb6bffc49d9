"""What the manifests promise beyond their schemas: restricted pods, limits, probes, labels, least rights."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser

from lookalike.console import metrics
from lookalike.publishing import rollout, search_pods
from lookalike.serving.config import ServingConfig
from lookalike.serving.metrics import Metrics
from tests.k8s.conftest import Build, Manifest

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
"""What Pod Security `restricted` admits."""
LABELS = {f"app.kubernetes.io/{name}" for name in ("name", "component", "part-of")}
MADE_BY_HAND = {
    f"lookalike-{name}" for name in ("store", "store-read", "console", "prefect", "prefect-database")
}
"""Secrets, which no repository holds; docs/operations.md says how to make them."""


def pods(build: Build) -> Iterator[tuple[str, Manifest]]:
    for workload in build.workloads:
        yield f"{workload['kind']}/{workload['metadata']['name']}", workload["spec"]["template"]
    for cron in build.of("CronJob"):
        yield f"CronJob/{cron['metadata']['name']}", cron["spec"]["jobTemplate"]["spec"]["template"]


def containers(build: Build, *, starting: bool = True) -> Iterator[tuple[str, Manifest]]:
    for name, pod in pods(build):
        spec = pod["spec"]
        for container in (*spec["containers"], *(spec.get("initContainers", ()) if starting else ())):
            yield f"{name}/{container['name']}", container


def test_every_pod_is_restricted(build: Build) -> None:
    for name, pod in pods(build):
        spec, security = pod["spec"], pod["spec"]["securityContext"]
        assert security["runAsNonRoot"] is True, name
        assert security["runAsUser"] >= 10000, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys(), name
        for volume in spec.get("volumes", ()):
            assert volume.keys() - {"name"} <= VOLUMES, (name, volume)
    for name, container in containers(build):
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False, name
        assert security["readOnlyRootFilesystem"] is True, name
        assert security["capabilities"] == {"drop": ["ALL"]}, name
    (namespace,) = build.of("Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_nothing_is_unbounded(build: Build) -> None:
    for name, container in containers(build):
        resources = container["resources"]
        assert {"cpu", "memory", "ephemeral-storage"} <= resources["requests"].keys(), name
        assert {"memory", "ephemeral-storage"} <= resources["limits"].keys(), name
    for name, pod in pods(build):
        for volume in pod["spec"].get("volumes", ()):
            assert "emptyDir" not in volume or "sizeLimit" in volume["emptyDir"], (name, volume)


def test_every_process_is_watched(build: Build) -> None:
    for name, container in containers(build, starting=False):
        if name.startswith("CronJob/"):
            continue  # it ends
        assert {"startupProbe", "livenessProbe"} <= container.keys(), name
    for service in build.of("Service"):
        for workload in selected(build, service):
            for container in workload["spec"]["template"]["spec"]["containers"]:
                assert "readinessProbe" in container, workload["metadata"]["name"]


def test_search_restarts_for_its_event_loop_alone_and_gets_time_to_drain(build: Build) -> None:
    deployment = build.named("Deployment", "lookalike-search")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    paths = {probe: container[probe]["httpGet"]["path"] for probe in container if probe.endswith("Probe")}
    assert paths == {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    config, pause = ServingConfig(), container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pause >= 3, "proxies need a moment to learn of an ended pod"
    assert pod["terminationGracePeriodSeconds"] > pause + config.notice_seconds + config.drain_seconds


def test_probes_have_a_port_of_their_own(build: Build) -> None:
    """The one that the process is told to answer them on, that scrapers are sent to, and that roll-outs ask."""
    for name, container in containers(build, starting=False):
        args = container.get("args", ())
        if not {"serve", "rank"} & set(args):
            continue
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert ports["probes"] == int(args[args.index("--probe-port") + 1]), name
        for probe in (found for found in container if found.endswith("Probe")):
            assert container[probe]["httpGet"]["port"] == "probes", (name, probe)
    (port,) = build.named("Service", "lookalike-search-pods")["spec"]["ports"]
    assert (port["port"], port["targetPort"]) == (search_pods.PROBE_PORT, "probes")
    for monitor in build.of("ServiceMonitor"):
        port = (
            "http" if monitor["metadata"]["name"] == "lookalike-console" else "probes"
        )  # it has but one port
        assert [endpoint["port"] for endpoint in monitor["spec"]["endpoints"]] == [port]
    (rule, *_) = build.named("NetworkPolicy", "lookalike-search")["spec"]["ingress"]
    assert {port["port"] for port in rule["ports"]} == {"http", "probes"}
    (public,) = build.named("Service", "lookalike-search")["spec"]["ports"]
    assert public["targetPort"] == "http", "strangers do not reach the probes' port"


def test_search_pods_get_their_snapshot_from_the_annotation_that_publishing_writes(build: Build) -> None:
    template = build.named("Deployment", "lookalike-search")["spec"]["template"]
    env = {entry["name"]: entry for entry in template["spec"]["containers"][0]["env"]}
    path = env["LOOKALIKE_INDEX"]["valueFrom"]["fieldRef"]["fieldPath"]
    assert path == f"metadata.annotations['{rollout.INDEX}']"
    assert rollout.INDEX not in template["metadata"].get("annotations", {}), "applying would take it away"


def test_everything_carries_the_recommended_labels(build: Build) -> None:
    for found in build.objects:
        labels = found["metadata"].get("labels", {})
        assert labels.keys() >= LABELS, (found["kind"], found["metadata"]["name"])
        assert labels["app.kubernetes.io/part-of"] == "lookalike"
    for name, pod in pods(build):
        assert pod["metadata"]["labels"].keys() >= LABELS, name


def test_selectors_meet_what_they_mean(build: Build) -> None:
    for found in build.of("Service", "PodDisruptionBudget", "NetworkPolicy"):
        name = found["metadata"]["name"]
        if name in ("lookalike-runs", "lookalike-training", "prefect-backup"):
            continue  # pods of Jobs
        if found["kind"] != "PodDisruptionBudget" and (
            "ranker" in name or found["spec"].get("podSelector") == {}
        ):
            assert len(selected(build, found)) > 1, (
                name
            )  # each part of the rankers is a workload; {} means all
            continue
        assert len(selected(build, found)) == 1, (found["kind"], name)
    for workload in build.workloads:
        assert selected(build, workload) == [workload]


def test_rankers_of_one_part_share_no_zone_and_those_of_all_parts_are_there(build: Build) -> None:
    """Each part keeps apart from itself alone, so that neither a drain nor a lost zone takes a shard away."""
    sets = build.of("StatefulSet")
    parts = []
    for ranker in sets:
        pod, labels = ranker["spec"]["template"]["spec"], ranker["spec"]["template"]["metadata"]["labels"]
        (apart,) = pod["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert apart["topologyKey"] == "topology.kubernetes.io/zone"
        wanted = apart["labelSelector"]["matchLabels"].items()
        assert [
            other for other in sets if wanted <= other["spec"]["template"]["metadata"]["labels"].items()
        ] == [ranker]
        args = pod["containers"][0]["args"]
        parts.append(args[args.index("--part") + 1])
        assert labels["lookalike/part"] == parts[-1].partition("/")[0]
        assert ranker["spec"]["replicas"] >= 2
    assert parts == [f"{number}/{len(sets)}" for number in range(len(sets))]
    assert bool(sets) is (build.name == "all components")


def selected(build: Build, found: Manifest) -> list[Manifest]:
    """The workloads whose pods an object's selector fits."""
    spec = found["spec"]
    selector = spec["podSelector"] if "podSelector" in spec else spec["selector"]
    wanted = selector.get("matchLabels", selector).items()
    return [w for w in build.workloads if wanted <= w["spec"]["template"]["metadata"]["labels"].items()]


def test_rights_are_few_and_tokens_are_mounted_where_they_serve(build: Build) -> None:
    assert not build.of("ClusterRole", "ClusterRoleBinding")
    for role in build.of("Role"):
        for rule in role["rules"]:
            everything = [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            assert "*" not in everything, role["metadata"]["name"]
            assert "secrets" not in rule["resources"]
    (rule,) = build.named("Role", "lookalike-rollout")["rules"]
    assert rule == {
        "apiGroups": ["apps"],
        "resources": ["deployments"],
        "resourceNames": ["lookalike-search"],
        "verbs": ["get", "patch"],
    }
    bound = {subject["name"] for binding in build.of("RoleBinding") for subject in binding["subjects"]}
    accounts = {account["metadata"]["name"]: account for account in build.of("ServiceAccount")}
    assert bound <= accounts.keys()
    for name, pod in pods(build):
        account = pod["spec"]["serviceAccountName"]
        said = pod["spec"].get("automountServiceAccountToken")
        mounted = accounts[account].get("automountServiceAccountToken", True) if said is None else said
        assert mounted == (account in bound), name


def test_what_is_referred_to_exists(build: Build) -> None:
    there = {(found["kind"], found["metadata"]["name"]) for found in build.objects}
    for name, pod in pods(build):
        for kind, wanted in references(pod["spec"]):
            assert (kind, wanted) in there or (kind == "Secret" and wanted in MADE_BY_HAND), (
                name,
                kind,
                wanted,
            )
    for _, secret in ((k, n) for k, n in there if k == "Secret"):
        raise AssertionError(f"the secret {secret} is in the manifests")


def references(value: Any) -> Iterator[tuple[str, str]]:
    """Names of ConfigMaps and Secrets anywhere in a pod."""
    kinds = {"configMapRef": "ConfigMap", "configMapKeyRef": "ConfigMap", "configMap": "ConfigMap"}
    kinds |= {"secretRef": "Secret", "secretKeyRef": "Secret"}
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in kinds:
                yield kinds[key], inner["name"]
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_images_say_which(build: Build) -> None:
    for name, container in containers(build):
        image, _, tag = container["image"].rpartition(":")
        assert image, f"{name}: {container['image']} has no tag"
        assert tag != "latest", name


def test_alerts_and_graphs_are_about_metrics_that_exist_and_alerts_are_explained(build: Build) -> None:
    texts = Metrics().text() + metrics.text(None, None)
    exported = set(re.findall(r"^# TYPE (\S+)", texts.decode(), re.MULTILINE))
    known = exported | {f"{name}_bucket" for name in exported}
    explained = OPERATIONS.read_text()
    for rules in build.of("PrometheusRule"):
        for rule in (rule for group in rules["spec"]["groups"] for rule in group["rules"]):
            assert uses(rule["expr"]) <= known, rule["alert"]
            assert f"`{rule['alert']}` |" in explained, (
                f"docs/operations.md does not say what {rule['alert']} means"
            )
    for found in (o for o in build.of("ConfigMap") if "dashboard.json" in o["data"]):
        for panel in json.loads(found["data"]["dashboard.json"])["panels"]:
            for target in panel["targets"]:
                assert uses(target["expr"]) <= known | {"process_resident_memory_bytes"}, panel["title"]


def uses(expression: str) -> set[str]:
    """The metrics of an expression that Prometheus can read."""
    promql_parser.parse(expression)
    used = set(re.findall(r"\b(?:lookalike|process)_\w+", re.sub(r'"[^"]*"', "", expression)))
    assert used, expression
    return used
