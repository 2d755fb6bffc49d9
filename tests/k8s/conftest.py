"""The shipped manifests as kustomize makes them: what a `kubectl apply -k` would send."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.k8s import kustomize

K8S = Path(__file__).parents[2] / "k8s"
BUILDS = {
    "local": ("overlays/local", ()),
    "production": ("overlays/production", ()),
    "all components": (
        "overlays/production",
        ("hpa-queue", "shards", "index-cache", "read-only-search", "pull-secret", "admission"),
    ),
}
"""What is built: an overlay, and the components added to it."""

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Build:
    """All objects of one build."""

    name: str
    objects: tuple[Manifest, ...]

    def of(self, *kinds: str) -> list[Manifest]:
        return [found for found in self.objects if found["kind"] in kinds]

    def named(self, kind: str, name: str) -> Manifest:
        (found,) = (o for o in self.of(kind) if o["metadata"]["name"] == name)
        return found

    @property
    def workloads(self) -> list[Manifest]:
        return self.of("Deployment", "StatefulSet", "DaemonSet", "Job")


@pytest.fixture(scope="session", params=BUILDS)
def build(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Build:
    if missing := kustomize.missing():
        pytest.skip(missing)
    overlay, components = BUILDS[request.param]
    return Build(request.param, made(tmp_path_factory.mktemp("build"), overlay, components))


def made(folder: Path, overlay: str, components: Iterable[str]) -> tuple[Manifest, ...]:
    """All objects of an overlay with components, by way of a kustomization in `folder`."""
    paths = {
        "resources": [os.path.relpath(K8S / overlay, folder.resolve())],
        "components": [os.path.relpath(K8S / "components" / name, folder.resolve()) for name in components],
    }
    images = [
        {"name": "lookalike-search", "newName": "registry.example.com/lookalike-search", "newTag": "0.2.0"}
    ]
    kind = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    (folder / "kustomization.yaml").write_text(json.dumps(kind | paths | {"images": images}))
    return tuple(yaml.safe_load_all(kustomize.build(folder)))
