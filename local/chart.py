"""A Helm chart of a kustomize overlay: the same objects, with the fields that installations differ in as values.

``python -m local.chart k8s/overlays/shop build/chart`` writes ``build/chart/lookalike``. With the values that it is
written with, `helm template` gives what `kubectl kustomize` gives for the overlay, save the namespace, which is the
release's, and that volume claims outlive it (`tests/k8s/test_chart.py`). So manifests are written once, in k8s/, and
which components there are is the overlay's choice; a chart chooses nothing but values.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from local.cluster import run
from lookalike.version import VERSION

Manifest = dict[str, Any]

ABOUT = {
    "images": "Names of the three images; a digest says exactly which.",
    "settings": "The ConfigMap `lookalike`: store, catalogue and every other setting (docs/settings.md), all as text. "
    "After a change restart what is to see it.",
    "secrets": "Names of the Secrets that you make beforehand (docs/operations.md says which keys they have).",
    "resources": "Requests and limits of each container.",
    "replicas": "Pods of search and of each part of the rankers, where no autoscaler owns them.",
    "autoscaling": "Between how many search pods the autoscaler chooses.",
    "route": "The HTTPRoute of search: its Gateway and host names. enabled: false leaves it out.",
    "monitoring": "Alerts, scraping and the dashboard, for the Prometheus Operator. enabled: false leaves them out.",
}
_OPTIONAL = {
    "HTTPRoute": "route",
    "PrometheusRule": "monitoring",
    "ServiceMonitor": "monitoring",
}
_WORKLOADS = ("Deployment", "StatefulSet", "CronJob")
_SCALED = ("lookalike-search", "lookalike-ranker")
_SECRET_IN_TEXT = re.compile(r'("secret(?:Key)?Ref":\s*\{\s*"name":\s*")([^"]+)(")')
_MARK = "LOOKALIKE-CHART-VALUE-{}-"
_MARKED = re.compile(_MARK.format(r"(\d+)"))


@dataclass
class _Chart:
    """Values with their defaults, and what stands where marks are."""

    values: dict[str, dict[str, Any]] = field(default_factory=dict)
    expressions: list[str] = field(default_factory=list)

    def mark(self, expression: str) -> str:
        """What stands for an expression until the objects are text."""
        self.expressions.append(expression)
        return _MARK.format(len(self.expressions) - 1)

    def value(self, section: str, *names: str, default: Any) -> str:
        """Make a value of a section; the mark of what reads it."""
        place = self.values.setdefault(section, {})
        for name in names[:-1]:
            place = place.setdefault(name, {})
        place[names[-1]] = default
        return self.mark(f"index .Values.{section} {' '.join(map(json.dumps, names))}")


def write(overlay: Path, out: Path) -> Path:
    """Write the chart of `overlay` into a folder of its own in `out`; that folder. Raises `ClusterError`."""
    objects = list(yaml.safe_load_all(run(["kubectl", "kustomize", str(overlay)])))
    folder = out / "lookalike"
    templates = folder / "templates"
    templates.mkdir(parents=True, exist_ok=True)
    for old in templates.iterdir():
        old.unlink()
    made = _Chart()
    for found in (found for found in objects if found["kind"] != "Namespace"):
        name = f"{found['kind'].lower()}-{found['metadata']['name']}.yaml"
        (templates / name).write_text(_template(made, found, objects))
    (folder / "Chart.yaml").write_text(_yaml(_card()))
    (folder / "values.yaml").write_text(
        "\n".join(
            f"# {ABOUT[section]}\n{_yaml({section: made.values[section]})}"
            for section in ABOUT
            if section in made.values
        )
    )
    (folder / "values.schema.json").write_text(
        json.dumps(_schema(made.values), indent=1, allow_nan=False) + "\n"
    )
    return folder


def _card() -> Manifest:
    return {
        "apiVersion": "v2",
        "name": "lookalike",
        "description": "Photo search over a shop's own listings.",
        "type": "application",
        "version": VERSION,
        "appVersion": VERSION,
        "kubeVersion": ">=1.30.0-0",
    }


def _template(made: _Chart, found: Manifest, objects: Sequence[Manifest]) -> str:
    """One object as Helm's template of it."""
    option = _OPTIONAL.get(found["kind"])
    labels = found["metadata"].setdefault("labels", {})
    if "grafana_dashboard" in labels:
        option = "monitoring"
    if "app.kubernetes.io/managed-by" in labels:
        labels["app.kubernetes.io/managed-by"] = made.mark(".Release.Service")
    if found["kind"] == "PersistentVolumeClaim":  # Prefect's leases and the dumps of its database
        found["metadata"].setdefault("annotations", {})["helm.sh/resource-policy"] = "keep"
    _fields(made, found)
    found = _filled(made, found, _images(objects), _namespace(objects))
    text = _yaml(found).replace("{{", '{{ "{{" }}')
    text = re.sub(
        rf"(?m)(?<=[:-] ){_MARKED.pattern}$",
        lambda match: f"{{{{ toJson ({made.expressions[int(match[1])]}) }}}}",
        text,
    )
    text = _MARKED.sub(lambda match: f"{{{{ {made.expressions[int(match[1])]} }}}}", text)
    return f"{{{{- if .Values.{option}.enabled }}}}\n{text}{{{{- end }}}}\n" if option else text


def _fields(made: _Chart, found: Manifest) -> None:
    """Make values of the fields that have a name of their own."""
    kind, name, spec = found["kind"], found["metadata"]["name"], found.get("spec", {})
    if kind in _OPTIONAL:
        made.values.setdefault(_OPTIONAL[kind], {})["enabled"] = True
    if (kind, name) == ("ConfigMap", "lookalike"):
        made.values["settings"] = found["data"]
        found["data"] = made.mark(".Values.settings")
    elif kind == "HorizontalPodAutoscaler":
        for bound in ("minReplicas", "maxReplicas"):
            spec[bound] = made.value("autoscaling", bound, default=spec[bound])
    elif kind == "HTTPRoute":
        for part in ("parentRefs", "hostnames"):
            spec[part] = made.value("route", part, default=spec[part])
    elif kind in _WORKLOADS:
        if "replicas" in spec and name.startswith(_SCALED):
            spec["replicas"] = made.value("replicas", name, default=spec["replicas"])
        for container in _containers(found):
            container["resources"] = made.value(
                "resources", name, container["name"], default=container["resources"]
            )


def _containers(workload: Manifest) -> Iterator[Manifest]:
    spec = workload["spec"]
    pod = spec.get("jobTemplate", {}).get("spec", spec)["template"]["spec"]
    yield from pod.get("initContainers", ())
    yield from pod["containers"]


def _namespace(objects: Sequence[Manifest]) -> str:
    """The overlay's: objects of a whole cluster may name it, too."""
    return str(next(found["metadata"]["namespace"] for found in objects if "namespace" in found["metadata"]))


def _images(objects: Sequence[Manifest]) -> dict[str, str]:
    """Image -> what it is called among the values. Where it stands in an environment, it is that of runs."""
    named: dict[str, str] = {}
    for workload in (found for found in objects if found["kind"] in _WORKLOADS):
        for container in _containers(workload):
            for entry in container.get("env", ()):
                if match := re.fullmatch("LOOKALIKE_(PIPELINE|TRAIN)_IMAGE", entry["name"]):
                    named.setdefault(entry["value"], match[1].lower())
            if workload["metadata"]["name"] == "lookalike-search":
                named[container["image"]] = "search"
    return named


def _filled(made: _Chart, value: Any, images: Mapping[str, str], namespace: str) -> Any:
    """The same value with images, names of Secrets (in job templates, too) and the namespace as marks."""
    if isinstance(value, str):
        if value in images:
            return made.value("images", images[value], default=value)
        return _SECRET_IN_TEXT.sub(
            lambda match: match[1] + made.value("secrets", match[2], default=match[2]) + match[3], value
        )
    if isinstance(value, list):
        return [_filled(made, each, images, namespace) for each in value]
    if not isinstance(value, Mapping):
        return value
    found = {key: _filled(made, each, images, namespace) for key, each in value.items()}
    for key in ("namespace", "kubernetes.io/metadata.name"):
        if found.get(key) == namespace:
            found[key] = made.mark(".Release.Namespace")
    for place in [found[key] for key in ("secretRef", "secretKeyRef") if key in found]:
        place["name"] = made.value("secrets", place["name"], default=place["name"])
    if str(found.get("name", "")).endswith("_SECRET_NAME"):
        found["value"] = made.value("secrets", found["value"], default=found["value"])
    return found


def _schema(value: Any) -> Manifest:
    """JSON Schema of the values: wrong names and types are refused before anything is installed."""
    sections: Manifest = {name: {"type": "object"} for name in value}
    for name in ("images", "secrets", "replicas", "autoscaling"):
        if name in value:
            number = name in ("replicas", "autoscaling")
            kind = {"type": "integer", "minimum": 0} if number else {"type": "string", "minLength": 1}
            sections[name] = _closed(dict.fromkeys(value[name], kind))
    for name in ("resources", "route", "monitoring"):
        if name in value:
            sections[name] = _closed({key: {} for key in value[name]})
    sections["settings"] = {"type": "object", "additionalProperties": {"type": "string"}}
    return {"$schema": "http://json-schema.org/draft-07/schema#", **_closed({**sections, "global": {}})}


def _closed(properties: Manifest) -> Manifest:
    return {"type": "object", "properties": properties, "additionalProperties": False}


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Long text in lines, as people write it, and no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Dumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def _yaml(value: Any) -> str:
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=1_000_000, allow_unicode=True))


if __name__ == "__main__":
    print(write(Path(sys.argv[1]), Path(sys.argv[2])))
