"""Every object fits the schema of its API: Kubernetes' own for two versions, strictly; ours for what operators bring.

The schemas of Gateway API and of the Prometheus Operator are not in any package, so `custom.json` holds those parts of
them that the manifests use, closed: a field that it does not know fails until somebody has looked it up.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import jsonschema
import pytest
from kubernetes_validate import SchemaNotFoundError, validate

from tests.k8s.conftest import Build, Manifest

VERSIONS = ("1.36", "1.37")
CUSTOM = json.loads((Path(__file__).parent / "custom.json").read_text())


def check(found: Manifest, version: str) -> None:
    """Raises where an object does not fit."""
    check_text(json.dumps(found, sort_keys=True), version)


@cache
def check_text(text: str, version: str) -> None:
    """Builds have most objects in common."""
    found = json.loads(text)
    api = f"{found['apiVersion']}/{found['kind']}"
    if api in CUSTOM["schemas"]:
        jsonschema.validate(found, CUSTOM["schemas"][api] | {"$defs": CUSTOM["$defs"]})
    else:
        assert validate(found, version, strict=True) == version  # raises where it does not know the kind


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_fits_its_schema(build: Build, version: str) -> None:
    assert build.objects
    for found in build.objects:
        check(found, version)


def test_the_schemas_are_strict() -> None:
    good = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"a": "b"}}
    check(good, VERSIONS[-1])
    with pytest.raises(Exception, match="datum"):
        check(good | {"datum": {}}, VERSIONS[-1])
    with pytest.raises(SchemaNotFoundError):
        check(good | {"apiVersion": "policy/v1beta1", "kind": "PodDisruptionBudget"}, VERSIONS[-1])
    route = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "x"}}
    with pytest.raises(jsonschema.ValidationError, match="backends"):
        check(route | {"spec": {"rules": [{"backends": []}]}}, VERSIONS[-1])
