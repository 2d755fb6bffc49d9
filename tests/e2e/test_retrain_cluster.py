"""A retrain on a real cluster: the console's button, every stage a Job, and pods of runs killed on the way."""

from __future__ import annotations

import copy
import json
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from local.cluster import ROOT, S3Server
from lookalike.catalogue.curation import CurationConfig, curate
from lookalike.learning.recipes import RECIPES
from lookalike.learning.training import trained
from lookalike.publishing.live_ref import read_live
from lookalike.storage import keys
from lookalike.storage.artefacts import Kind, Ref, fetch, latest
from lookalike.storage.s3 import S3Store
from sample_shop import SamplePaths, write_sample
from tasks import nodes, registration
from tests.e2e.cluster import Namespace, eventually, open_bucket

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]

BUCKET, TOKEN = "retrain", "0123456789abcdef0123"
CATALOGUE = f"s3://{BUCKET}/shop/catalogue.csv"
RUN = 8
PARAMETERS = {"recipe": "demo", "min_category": 1, "margin": 1.0}
STAGES = ("curate", "train", "extract", "index", "publish")
KILL = """for p in /proc/[0-9]*; do
grep -q prefect $p/cmdline && ! grep -q execute $p/cmdline && kill -9 ${p#/proc/}; done; true"""
"""Ends a run's own process as the kernel does where memory runs out; its supervisor (`flow-run execute`) lives on."""


@dataclass(frozen=True)
class Site:
    """Lookalike in a namespace, and where its parts answer."""

    namespace: Namespace
    store: S3Store
    paths: SamplePaths
    console: str
    prefect: str

    def press(self, button: str, parameters: Mapping[str, Any], token: str = TOKEN) -> str:
        """The id of the run that a button of the console starts."""
        body = {"confirm": button, "parameters": dict(parameters)}
        headers = {"Authorization": f"Bearer {token}"}
        run = ask(f"{self.console}/api/actions/{button}", body, headers)["url"].rpartition("/")[2]
        return str(run)

    def runs(self, flow: str) -> list[dict[str, Any]]:
        found = ask(f"{self.prefect}/api/flow_runs/filter", {"flows": {"name": {"any_": [flow]}}})
        assert isinstance(found, list)
        return found

    def state(self, run: str) -> dict[str, Any]:
        found = ask(f"{self.prefect}/api/flow_runs/{run}")["state"]
        assert isinstance(found, dict)
        return found

    def ended(self, run: str) -> bool:
        state = self.state(run)
        if state["type"] == "FAILED":
            pytest.fail(f"the run failed: {state['message']}")
        return bool(state["type"] == "COMPLETED")

    def jobs_everywhere(self) -> list[dict[str, Any]]:
        """Jobs of all namespaces."""
        found = self.namespace.cluster.kubectl("get", "jobs", "--all-namespaces", "-o", "json")
        return list(json.loads(found)["items"])

    def pod_of(self, run: str) -> str | None:
        """The pod in which a run is at work."""
        selector = ("-l", f"prefect.io/flow-run-id={run}", "--field-selector=status.phase=Running")
        pods = self.namespace.get("pods", *selector)["items"]
        return str(pods[0]["metadata"]["name"]) if pods else None

    def kill(self, run: str) -> None:
        pod = self.pod_of(run)
        assert pod is not None
        self.namespace.kubectl("exec", pod, "--", "sh", "-c", KILL)


def ask(url: str, body: Any = None, headers: Mapping[str, str] = {}) -> Any:
    """What the server answers. A question that changes nothing is asked again where a busy machine lets it wait."""
    data = None if body is None else json.dumps(body).encode()
    changes = data is not None and not url.endswith("/filter") and "idempotency_key" not in body
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers})
    for last in (changes, False, True):
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                return json.loads(reply.read())
        except TimeoutError:
            if last:
                raise
    return None


@pytest.fixture(scope="module")
def site(
    namespace: Namespace,
    s3: S3Server,
    search_image: str,
    pipeline_image: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    work = tmp_path_factory.mktemp("retrain")
    paths = write_sample(work / "sample", products=2)
    client = s3.bucket(BUCKET)
    for path in sorted((work / "sample").rglob("*")):
        if path.is_file():
            client.upload_file(str(path), BUCKET, f"shop/{path.relative_to(work / 'sample')}")
    client.close()
    namespace.secret("lookalike-store", s3.pod_environment)
    namespace.secret("lookalike-console", {"token": TOKEN})
    namespace.kustomize(kustomization(search_image, pipeline_image), work / "kustomization")
    began = time.monotonic()
    for name in ("prefect", "prefect-worker", "lookalike-console"):
        namespace.kubectl("rollout", "status", f"deployment/{name}", "--timeout=600s", seconds=620)
    print(f"Prefect, registration and worker: {time.monotonic() - began:.0f} s")
    reach, store = namespace.cluster, open_bucket(s3, BUCKET, "lookalike")
    with (
        reach.forwarded(namespace.name, "lookalike-console") as console,
        reach.forwarded(namespace.name, "prefect") as prefect,
    ):
        yield Site(namespace, store, paths, console, prefect)


def kustomization(search: str, pipeline: str) -> dict[str, Any]:
    def image(target: str, named: str) -> dict[str, str]:
        name, _, tag = named.rpartition(":")
        return {"name": f"localhost/lookalike-{target}", "newName": name, "newTag": tag}

    runs = [{"name": f"LOOKALIKE_{kind}_IMAGE", "value": pipeline} for kind in ("PIPELINE", "TRAIN")]
    worker = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "prefect-worker"},
        "spec": {"template": {"spec": {"initContainers": [{"name": "register", "env": runs}]}}},
    }
    inside = [{"op": "remove", "path": "/spec/type"}, {"op": "remove", "path": "/spec/ports/0/nodePort"}]
    services = ("lookalike-search", "lookalike-console", "prefect")
    return {
        "resources": ["k8s/overlays/local"],
        "images": [image("search", search), image("pipeline", pipeline)],
        "replicas": [{"name": "lookalike-search", "count": 1}],
        "configMapGenerator": [
            {
                "name": "lookalike",
                "behavior": "merge",
                "literals": [
                    f"LOOKALIKE_STORE=s3://{BUCKET}/lookalike",
                    f"LOOKALIKE_CATALOGUE={CATALOGUE}",
                    f"LOOKALIKE_CATALOGUE_RUN_PHOTOS={RUN}",
                ],
                "options": {"disableNameSuffixHash": True},
            }
        ],
        "patches": [
            {"target": {"kind": "Deployment", "name": "prefect-worker"}, "patch": json.dumps(worker)},
            *(
                {"target": {"kind": "Service", "name": name}, "patch": json.dumps(inside)}
                for name in services
            ),
        ],
    }


def test_nobody_retrains_without_the_token(site: Site) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        site.press("retrain", PARAMETERS, token="0123456789abcdef9999")
    with refused.value as reply:
        assert reply.code == 401
    assert site.runs("retrain") == []


def test_the_accounts_can_do_what_they_must_and_no_more(site: Site) -> None:
    def may(account: str, verb: str, what: str) -> bool:
        asked = ("--as", f"system:serviceaccount:{site.namespace.name}:{account}")
        script = site.namespace.kubectl("auth", "can-i", "--list", *asked)
        return any(line.split()[:1] == [what] and verb in line for line in script.splitlines())

    assert may("prefect-worker", "create", "jobs.batch")
    assert may("prefect-worker", "watch", "pods")
    assert may("lookalike-training", "create", "services")
    for account, verb, what in (
        ("prefect-worker", "patch", "jobs.batch"),
        ("prefect-worker", "create", "pods"),
        ("prefect-worker", "get", "secrets"),
        ("lookalike-training", "delete", "jobs.batch"),
        ("lookalike-training", "get", "secrets"),
        ("lookalike-flows", "create", "jobs.batch"),
        ("lookalike-flows", "get", "pods"),
    ):
        assert not may(account, verb, what), f"{account} may {verb} {what}"


def checkpoints(site: Site) -> list[str]:
    """What a training has kept to resume from; beside it lie plans of curations, and each step's note of its inputs."""
    found = [info.key for info in site.store.list(keys.CHECKPOINTS)]
    return [key for key in found if not key.startswith(keys.CURATING) and not key.endswith("/inputs.json")]


def test_a_retrain_ends_well_though_training_and_parent_were_killed_on_the_way(site: Site) -> None:
    began = time.monotonic()
    parent = site.press("retrain", PARAMETERS)
    eventually(lambda: checkpoints(site), 600)
    print(f"asked for a retrain, first checkpoint after {time.monotonic() - began:.0f} s")
    [training] = site.runs("train")
    site.kill(training["id"])
    eventually(lambda: site.state(training["id"])["type"] == "CRASHED", 240)
    eventually(lambda: len(site.runs("train")) == 2, 240)
    site.kill(parent)
    eventually(lambda: site.state(parent)["name"] != "Running", 240)
    eventually(lambda: site.ended(parent), 900, every=2)
    print(f"ended after {time.monotonic() - began:.0f} s")

    assert sorted(run["state_type"] for run in site.runs("train")) == ["COMPLETED", "CRASHED"]
    again = Counter({stage: len(site.runs(stage)) for stage in STAGES})
    assert again == {"curate": 2, "train": 2, "extract": 1, "index": 1, "publish": 1}, "nothing twice"
    live = read_live(site.store)
    assert live is not None
    assert live.live.sequence == 1
    assert not list(site.store.list(keys.CHECKPOINTS)), "the training came to its end"


def test_it_went_on_from_the_checkpoint(site: Site, tmp_path: Path) -> None:
    live = read_live(site.store)
    assert live is not None
    release = fetch(site.store, live.live.release, tmp_path)
    entries = [json.loads(line) for line in release.path("metrics.jsonl").read_text().splitlines()]
    epochs = Counter((entry["stage"], entry["epoch"]) for entry in entries)
    assert set(epochs.values()) == {1}


def test_every_stage_was_a_job_and_search_answers_from_its_index(site: Site) -> None:
    jobs = site.namespace.get("jobs")["items"]
    ran = Counter(job["metadata"]["labels"]["prefect.io/deployment-name"] for job in jobs)
    assert ran >= Counter({"retrain": 2, "curate": 2, "train": 2, "extract": 1, "index": 1, "publish": 1})
    assert {job["spec"]["backoffLimit"] for job in jobs} == {0}
    live = read_live(site.store)
    assert live is not None
    annotations = site.namespace.get("deployment", "lookalike-search")["spec"]["template"]["metadata"]
    assert Ref.parse(annotations["annotations"]["lookalike/index"]) == live.live.index
    query = min((site.paths.queries.parent / "query-photos").glob("*.jpg"))
    with site.namespace.cluster.forwarded(site.namespace.name, "lookalike-search") as search:
        request = urllib.request.Request(
            f"{search}/v1/search?k=3", query.read_bytes(), {"Content-Type": "image/jpeg"}
        )
        with urllib.request.urlopen(request, timeout=30) as reply:
            found = json.loads(reply.read())
    assert found["index"] == str(live.live.index)
    assert len(found["hits"]) == 3


def test_a_run_that_asks_for_another_image_command_or_account_does_not_get_it(
    site: Site, pipeline_image: str
) -> None:
    """Image, command and namespace are no variables, so asking for them says nothing; an account is refused."""
    [deployment] = ask(
        f"{site.prefect}/api/deployments/filter", {"deployments": {"name": {"any_": ["curate"]}}}
    )
    create = f"{site.prefect}/api/deployments/{deployment['id']}/create_flow_run"
    parameters = {"parameters": {"min_category": 1}}
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(create, {"parameters": parameters, "job_variables": {"service_account_name": "default"}})
    with refused.value as reply:
        assert reply.code == 422
    foreign = {
        "image": "localhost/evil:1",
        "command": "sh -c evil",
        "args": ["evil"],
        "namespace": "kube-system",
    }
    run = ask(create, {"parameters": parameters, "job_variables": foreign})["id"]
    eventually(lambda: site.ended(run), 300, every=1)
    [job] = site.namespace.get("jobs", "-l", f"prefect.io/flow-run-id={run}")["items"]
    pod = job["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert (container["image"], container["args"]) == (pipeline_image, ["prefect", "flow-run", "execute"])
    assert "command" not in container
    assert pod["serviceAccountName"] == "lookalike-flows"
    assert not [job for job in site.jobs_everywhere() if "evil" in json.dumps(job["spec"])]


def test_four_pods_curate_the_snapshot_of_one_process(
    site: Site, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOKALIKE_CATALOGUE_RUN_PHOTOS", str(RUN))
    alone, shared = open_bucket(s3, BUCKET, "alone"), open_bucket(s3, BUCKET, "shared")
    settings, config = alone.settings, CurationConfig(min_category=1)
    expected = curate(alone, CATALOGUE, config, s3=settings, cache_dir=tmp_path)
    deployment = ask(f"{site.prefect}/api/deployments/name/curate/curate")
    asked = {"store": shared.uri, "min_category": 1, "parts": 4}
    began = time.monotonic()
    create = f"{site.prefect}/api/deployments/{deployment['id']}/create_flow_run"
    run = ask(create, {"parameters": {"parameters": asked}, "idempotency_key": "four pods"})["id"]

    def at_work() -> list[dict[str, Any]]:
        return [part for part in site.runs("curate-part") if part["state_type"] == "RUNNING"]

    eventually(at_work, 400)
    site.kill(at_work()[0]["id"])
    eventually(lambda: site.ended(run), 600, every=2)
    print(f"four pods, one of them killed, curated in {time.monotonic() - began:.0f} s")
    assert latest(shared, Kind.CURATED) == expected
    packs = [[info.key for info in store.list(keys.PACKS)] for store in (alone, shared)]
    assert packs[0] == packs[1]
    assert len(packs[0]) >= 4
    assert not list(shared.list(keys.CHECKPOINTS))
    assert sorted(part["state_type"] for part in site.runs("curate-part")) == ["COMPLETED"] * 4 + ["CRASHED"]


def test_two_pods_train_one_release_together(site: Site, pipeline_image: str, tmp_path: Path) -> None:
    config = CurationConfig(min_category=1)
    curated = str(curate(site.store, str(site.paths.catalogue), config, cache_dir=tmp_path))
    template = registration.template(ROOT / "k8s/jobs/cpu.json", site.namespace.name, pipeline_image)
    pod = {"cpu_request": "100m", "memory_request": "1Gi"}
    name = nodes.job_name(curated, "tiny")
    asked = ["--store", site.store.uri, "--curated", curated, "--recipe", "tiny", "--threads", "1"]
    job, service = nodes.manifests(nodes.rendered(template, pod), name, 2, "1", asked)
    began = time.monotonic()
    for found in (service, *(as_pods(job) if site.namespace.cluster.tool else [job])):
        found["metadata"]["namespace"] = site.namespace.name
        site.namespace.apply(json.dumps(found))
    recipe, reference = RECIPES["tiny"](), Ref.parse(curated)

    def phases() -> list[str]:
        pods = site.namespace.get("pods", "-l", f"app.kubernetes.io/instance={name}")["items"]
        return [found["status"]["phase"] for found in pods]

    eventually(lambda: phases() == ["Succeeded", "Succeeded"], 300, every=1)
    print(f"two pods trained in {time.monotonic() - began:.0f} s")
    assert trained(site.store, reference, recipe) is not None


def as_pods(job: dict[str, Any]) -> list[dict[str, Any]]:
    """The pods that the controller makes of an Indexed Job; Kubernetes 1.20 knows no such Jobs."""
    template, name = job["spec"]["template"], job["metadata"]["name"]
    pods = []
    for index in range(job["spec"]["completions"]):
        pod = copy.deepcopy(template["spec"]) | {"hostname": f"{name}-{index}"}
        pod["containers"][0]["env"].append({"name": "JOB_COMPLETION_INDEX", "value": str(index)})
        metadata = {"name": f"{name}-{index}", "labels": template["metadata"]["labels"]}
        pods.append({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod})
    return pods
