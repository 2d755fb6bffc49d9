"""The Helm chart gives what kustomize gives: the same objects, also where an installation has values of its own.

What kustomize gives fits the schemas of Kubernetes (`test_schemas.py`), so what is equal to it does, too.
Needs Helm: on the PATH, or by ``make build/helm``.
"""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from local import chart
from tests.k8s import kustomize
from tests.k8s.conftest import BUILDS, K8S, Manifest, made

MANAGED = "app.kubernetes.io/managed-by"
Template = Callable[..., list[Manifest]]


@pytest.fixture(scope="module")
def helm() -> str:
    if missing := kustomize.missing():
        pytest.skip(missing)
    found = shutil.which("helm") or shutil.which(str(K8S.parent / "build" / "helm"))
    if found is None:
        pytest.skip("no Helm here: make build/helm")
    return found


@pytest.fixture(scope="module", params=BUILDS)
def overlay(request: pytest.FixtureRequest, helm: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kustomization that is built."""
    folder = tmp_path_factory.mktemp("overlay")
    made(folder, *BUILDS[request.param])
    return folder


def run(helm: str, *arguments: str, fails: bool = False) -> str:
    done = subprocess.run([helm, *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode != 0) == fails, done.stderr
    return done.stderr if fails else done.stdout


def templated(helm: str, folder: Path, *options: str, namespace: str = "lookalike") -> list[Manifest]:
    text = run(helm, "template", "lookalike", str(folder), "--namespace", namespace, *options)
    return by_name(yaml.safe_load_all(text))


def by_name(objects: Any) -> list[Manifest]:
    """In one order, without the namespace's own object, which the chart leaves to `helm install --create-namespace`."""
    kept = [found for found in objects if found["kind"] != "Namespace"]
    return sorted(kept, key=lambda found: (found["kind"], found["metadata"]["name"]))


def managed_by_helm(objects: list[Manifest]) -> list[Manifest]:
    """What differs: who manages them, and that volume claims, and what is on them, outlive the release."""
    found = copy.deepcopy(objects)
    for each in found:
        if MANAGED in each["metadata"].get("labels", {}):
            each["metadata"]["labels"][MANAGED] = "Helm"
        each["metadata"].setdefault("labels", {})
        if each["kind"] == "PersistentVolumeClaim":
            each["metadata"].setdefault("annotations", {})["helm.sh/resource-policy"] = "keep"
    return found


def test_with_its_own_values_it_is_what_kustomize_gives(helm: str, overlay: Path, tmp_path: Path) -> None:
    folder = chart.write(overlay, tmp_path)
    expected = managed_by_helm(by_name(yaml.safe_load_all(kustomize.build(overlay))))
    found = templated(helm, folder)
    assert [(o["kind"], o["metadata"]["name"]) for o in found] == [
        (o["kind"], o["metadata"]["name"]) for o in expected
    ]
    for one, other in zip(found, expected, strict=True):
        assert one == other
    run(helm, "lint", "--strict", str(folder))


OVERLAY = """
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: shop
resources: [{production}]
images:
  - {{name: registry.example.com/lookalike-search, newName: own.example.com/search, digest: "sha256:{digest}"}}
  - {{name: registry.example.com/lookalike-pipeline, newName: own.example.com/pipeline, newTag: "7"}}
configMapGenerator:
  - name: lookalike
    behavior: merge
    literals: [LOOKALIKE_STORE=s3://own, "LOOKALIKE_CONFIG_TEXT=[retention]\\nrecords = 5"]
    options: {{disableNameSuffixHash: true}}
patches:
  - target: {{kind: Deployment, name: prefect-worker}}
    patch: |
      - {{op: replace, path: /spec/template/spec/initContainers/0/env/2/value, value: "own.example.com/pipeline:7"}}
      - {{op: replace, path: /spec/template/spec/initContainers/0/env/3/value, value: "own.example.com/train:7"}}
  - target: {{kind: Deployment, name: lookalike-search}}
    patch: |
      - {{op: replace, path: /spec/template/spec/containers/0/resources/limits/memory, value: 9Gi}}
  - target: {{kind: HorizontalPodAutoscaler}}
    patch: |
      - {{op: replace, path: /spec/maxReplicas, value: 40}}
  - target: {{kind: HTTPRoute}}
    patch: |
      - {{op: replace, path: /spec/hostnames, value: [photos.own.example.com]}}
"""
VALUES = {
    "images": {
        "search": "own.example.com/search@sha256:" + "ab" * 32,
        "pipeline": "own.example.com/pipeline:7",
        "train": "own.example.com/train:7",
    },
    "settings": {"LOOKALIKE_STORE": "s3://own", "LOOKALIKE_CONFIG_TEXT": "[retention]\nrecords = 5"},
    "resources": {"lookalike-search": {"search": {"limits": {"memory": "9Gi"}}}},
    "autoscaling": {"maxReplicas": 40},
    "route": {"hostnames": ["photos.own.example.com"]},
}


@pytest.fixture
def production(helm: str, tmp_path: Path) -> Path:
    return chart.write(K8S / "overlays" / "production", tmp_path)


def test_with_other_values_it_is_what_an_overlay_with_these_gives(
    helm: str, production: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    target = Path("../" * len(tmp_path.resolve().parts)) / str(K8S / "overlays" / "production").lstrip("/")
    (own / "kustomization.yaml").write_text(OVERLAY.format(production=target, digest="ab" * 32))
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(VALUES))
    expected = managed_by_helm(by_name(yaml.safe_load_all(kustomize.build(own))))
    found = templated(helm, production, "--values", str(tmp_path / "values.yaml"), namespace="shop")
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one == other


def test_whoever_refers_to_a_secret_refers_to_the_one_that_the_values_name(
    helm: str, production: Path
) -> None:
    names = set(yaml.safe_load((production / "values.yaml").read_text())["secrets"])
    assert "lookalike-store" in names
    assert len(names) >= 4
    options = [f"--set=secrets.{name}=mine-{name}" for name in sorted(names)]
    before, after = (list(leaves(templated(helm, production, *each))) for each in ((), options))
    changed = {place: (old, new) for (place, old), (_, new) in zip(before, after, strict=True) if old != new}
    assert {place.rpartition(".")[2] for place in changed} == {"name", "value", "cpu-json", "gpu-json"}
    for place, (old, new) in changed.items():
        if place.endswith("-json"):
            assert old.replace('"name": "lookalike-store"', '"name": "mine-lookalike-store"') == new
        else:
            assert new == f"mine-{old}"
            assert old in names
    left = [
        place
        for place, text in after
        if text in names and place.endswith(("secretRef.name", "secretKeyRef.name"))
    ]
    assert not left


def leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from leaves(each, f"{place}.{key.replace('.', '-')}")
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from leaves(each, f"{place}.{number}")
    else:
        yield place, value


def test_route_and_monitoring_can_be_left_out(helm: str, production: Path) -> None:
    off = ("--set=route.enabled=false", "--set=monitoring.enabled=false")
    left = {(o["kind"], o["metadata"]["name"]) for o in templated(helm, production)} - {
        (o["kind"], o["metadata"]["name"]) for o in templated(helm, production, *off)
    }
    assert {kind for kind, _ in left} == {"HTTPRoute", "PrometheusRule", "ServiceMonitor", "ConfigMap"}
    assert next(name for kind, name in left if kind == "ConfigMap").startswith("lookalike-dashboard")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("imagess.search=x", "imagess"),
        ("images.serch=x", "serch"),
        ("settings.LOOKALIKE_SQUARES_GIB=5", "LOOKALIKE_SQUARES_GIB"),
        ("autoscaling.maxReplicas=many", "maxReplicas"),
        ("secrets.lookalike-store=", "lookalike-store"),
    ],
)
def test_wrong_values_are_refused(helm: str, production: Path, wrong: str, said: str) -> None:
    assert said in run(helm, "template", "x", str(production), "--set", wrong, fails=True)


def test_an_older_kubernetes_is_refused(helm: str, production: Path) -> None:
    assert "1.30" in run(helm, "template", "x", str(production), "--kube-version", "1.29.0", fails=True)


def test_every_section_of_the_values_is_explained(production: Path) -> None:
    values = yaml.safe_load((production / "values.yaml").read_text())
    assert values.keys() <= chart.ABOUT.keys()
    schema = json.loads((production / "values.schema.json").read_text())
    assert values.keys() < schema["properties"].keys()
