"""`make cluster-demo`: from nothing to an answered search on Kubernetes, every step timed.

Images are built and brought to the cluster, the sample catalogue goes to the S3 server, `kubectl apply -k` brings
Prefect, its worker, the console and the search pods, the console is asked to retrain, Prefect runs every stage of it as
a Job, the publishing one rolls the search pods to the new index, and a shopper's photo is searched through the Service.

Which cluster and which S3 server stands in `local.cluster`. What it makes lies in one namespace:
``kubectl delete namespace lookalike`` removes it. Run again, it finds the catalogue and the finished steps.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from local.cluster import ROOT, Cluster, ClusterError, Missing, S3Server, find_cluster, find_s3
from lookalike.cli.demo import FROM_SCRATCH, MIN_CATEGORY
from sample_shop import SamplePaths, write_sample

NAMESPACE, BUCKET = "lookalike", "lookalike-demo"
_RETRAIN_S, _POLL_S = 3600.0, 3.0


class Steps:
    """The steps and their seconds, said as they go."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        print(f"{what} ...", flush=True)
        yield
        print(f"{what}: {time.monotonic() - began:.0f} s", flush=True)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began


def upload(paths: SamplePaths, s3: S3Server) -> str:
    """Put the sample catalogue into the bucket; its address."""
    client = s3.bucket(BUCKET)
    folder = paths.catalogue.parent
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    with ThreadPoolExecutor(8) as threads:
        list(
            threads.map(lambda f: client.upload_file(str(f), BUCKET, f"shop/{f.relative_to(folder)}"), files)
        )
    return f"s3://{BUCKET}/shop/{paths.catalogue.name}"


def kustomization(folder: Path, images: Mapping[str, str], catalogue: str, s3: S3Server, token: str) -> Path:
    """The local overlay with these images and settings, as a kustomization of its own in `folder`."""
    literals = {"LOOKALIKE_STORE": f"s3://{BUCKET}/lookalike", "LOOKALIKE_CATALOGUE": catalogue}
    image = images["pipeline"]
    body = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": NAMESPACE,
        "resources": [os.path.relpath(ROOT / "k8s/overlays/local", folder.resolve())],
        "images": [
            {"name": f"localhost/lookalike-{target}", "newName": name, "newTag": tag}
            for target, (name, _, tag) in ((t, image.rpartition(":")) for t, image in images.items())
        ],
        "generatorOptions": {"disableNameSuffixHash": True},
        "configMapGenerator": [{"name": "lookalike", "behavior": "merge", "literals": _pairs(literals)}],
        "secretGenerator": [
            {"name": "lookalike-store", "literals": _pairs(s3.pod_environment)},
            {"name": "lookalike-console", "literals": _pairs({"token": token})},
        ],
        "patches": [{"target": {"kind": "Deployment", "name": "prefect-worker"}, "patch": _runs_use(image)}],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kustomization.yaml").write_text(json.dumps(body, indent=2, allow_nan=False))
    return folder


def _pairs(values: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in values.items()]


def _runs_use(image: str) -> str:
    """Flow runs use this image; the overlay's replacements have run before ours is known."""
    names = ("LOOKALIKE_PIPELINE_IMAGE", "LOOKALIKE_TRAIN_IMAGE")
    container = {"name": "register", "env": [{"name": name, "value": image} for name in names]}
    return json.dumps(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "prefect-worker"},
            "spec": {"template": {"spec": {"initContainers": [container]}}},
        },
        allow_nan=False,
    )


def retrain(console: str, token: str, parameters: Mapping[str, Any]) -> None:
    """Ask the console for a retrain and wait for its end, saying each stage. Raises `ClusterError` where it fails."""
    body = {"confirm": "retrain", "parameters": dict(parameters)}
    asked = _ask(f"{console}/api/actions/retrain", body, {"Authorization": f"Bearer {token}"})
    run = asked["url"].rpartition("/")[2]
    said: dict[str, str] = {}
    until = time.monotonic() + _RETRAIN_S
    while time.monotonic() < until:
        time.sleep(_POLL_S)
        try:
            runs = _ask(f"{console}/api/state")["runs"]
        except (urllib.error.URLError, TimeoutError):
            continue
        if runs is None:  # Prefect does not answer for a moment
            continue
        for found in (found for found in runs["active"] if found["id"] == run):
            for stage in found["stages"]:
                if said.get(stage["name"]) != stage["state"] != "waiting":
                    print(f"  {stage['name']}: {stage['state']}", flush=True)
                said[stage["name"]] = stage["state"]
        for found in (found for found in runs["recent"] if found["id"] == run):
            if found["state"] == "Completed":
                return
            if found["state"] != "Crashed":  # that starts again
                raise ClusterError(f"the retrain ended as {found['state']}: {found['message']}")
    raise ClusterError(f"the retrain did not end within {_RETRAIN_S:.0f} s: {asked['url']}")


def search(service: str, photo: Path) -> dict[str, Any]:
    """The reply to a photo."""
    request = urllib.request.Request(
        f"{service}/v1/search?k=3", photo.read_bytes(), {"Content-Type": "image/jpeg"}
    )
    with urllib.request.urlopen(request, timeout=30) as reply:
        found: dict[str, Any] = json.loads(reply.read())
    return found


def _ask(url: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] = {}) -> Any:
    data = None if body is None else json.dumps(body, allow_nan=False).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.loads(reply.read())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make cluster-demo", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--directory", type=Path, default=Path(".demo"), help="the sample catalogue and settings"
    )
    parser.add_argument(
        "--recipe", default=FROM_SCRATCH, help="of the training; the images hold no weights to start from"
    )
    parser.add_argument("--products", type=int, default=12, help="of each leaf category")
    parser.add_argument("--tag", default="dev", help="of the images")
    options = parser.parse_args(arguments)
    try:
        demonstrate(options.directory.absolute(), options.recipe, options.products, options.tag)
    except Missing as error:
        print(f"skipped: {error}")
    except ClusterError as error:
        print(f"make cluster-demo: {error}", file=sys.stderr)
        return 1
    return 0


def demonstrate(home: Path, recipe: str, products: int, tag: str) -> None:
    """All of it. Raises `ClusterError` where a step fails, `Missing` where there is no cluster or S3 server."""
    steps, token = Steps(), secrets.token_urlsafe(24)
    with steps.step("the cluster and the S3 server"):
        cluster = find_cluster()
        if cluster is None:
            raise Missing(
                "no cluster: set KUBECONFIG to one, or LOOKALIKE_CLUSTER_TOOL to a program that starts one"
            )
        s3 = find_s3(cluster)
    images = {}
    for target in ("search", "pipeline"):
        with steps.step(f"image {target}"):
            images[target] = cluster.build(target, tag)
    with steps.step("the sample catalogue on S3"):
        paths = write_sample(home / f"sample-{products}", products=products)
        catalogue = upload(paths, s3)
    with steps.step("kubectl apply"):
        folder = kustomization(home / "cluster", images, catalogue, s3, token)
        cluster.apply(cluster.kubectl("kustomize", str(folder)))
    with steps.step("Prefect, worker and console"):
        for name in ("prefect", "prefect-worker", "lookalike-console"):
            rolled = ("rollout", "status", f"deployment/{name}", "--timeout=600s")
            cluster.kubectl("-n", NAMESPACE, *rolled, seconds=620)
    with steps.step("retrain"), cluster.forwarded(NAMESPACE, "lookalike-console") as console:
        retrain(console, token, {"recipe": recipe, "min_category": min(MIN_CATEGORY, products)})
    with steps.step("search"), cluster.forwarded(NAMESPACE, "lookalike-search") as service:
        reply = search(service, _a_query(paths))
    _report(cluster, reply, token, steps.seconds)


def _a_query(paths: SamplePaths) -> Path:
    """A photo such as a shopper takes; the shop has none like it."""
    return min(path for path in (paths.queries.parent / "query-photos").iterdir() if path.suffix == ".jpg")


def _report(cluster: Cluster, reply: Mapping[str, Any], token: str, seconds: float) -> None:
    jobs = json.loads(cluster.kubectl("-n", NAMESPACE, "get", "jobs", "-o", "json"))["items"]
    print(f"\nindex {reply['index']}, model release {reply['release']}")
    for hit in reply["hits"]:
        print(f"  {hit['listing_id']}  {hit['category']}  {hit['score']:.3f}")
    print(f"\n{seconds:.0f} s in all, {len(jobs)} Jobs in namespace {NAMESPACE}")
    print(
        f"  search    kubectl -n {NAMESPACE} port-forward service/lookalike-search 8000:80   (NodePort 30080)"
    )
    print(
        f"  console   kubectl -n {NAMESPACE} port-forward service/lookalike-console 8001:80  (30081)  token {token}"
    )
    print(f"  Prefect   kubectl -n {NAMESPACE} port-forward service/prefect 4200:4200          (30042)")


if __name__ == "__main__":
    sys.exit(main())
