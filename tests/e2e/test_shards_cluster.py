"""An index in rankers on a real cluster: the answers of one process, and no failed search while a ranker dies.

The component k8s/components/shards as it is: three parts, each in two pods of a StatefulSet of its own, found through
their headless Service by two search pods that hold no index.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from local.cluster import ClusterError, S3Server
from lookalike.coding.extraction import extract
from lookalike.imaging.photos import load_square
from lookalike.index.builder import build
from lookalike.publishing.live_ref import publish
from lookalike.ranking.filters import Filters
from lookalike.ranking.request import Query, SearchRequest
from lookalike.ranking.search import Searcher, open_searcher
from lookalike.serving.wire import answer_json
from lookalike.storage.artefacts import Ref, fetch
from tests.e2e.cluster import Namespace, eventually, open_bucket
from tests.shop import CATEGORIES, SIDE, Shop, open_shop, render

pytestmark = pytest.mark.cluster

BUCKET = "shards"
SEARCH, RANKER = "lookalike-search", "lookalike-ranker"
SHARDS, COPIES = 3, 2
QUERIES = 200
CLIENTS = 4


@dataclass(frozen=True)
class Question:
    """One search, as HTTP and as the searcher of this process takes it."""

    target: str
    body: bytes
    query: Query


@dataclass(frozen=True)
class Site:
    namespace: Namespace
    port: int
    shop: Shop
    index: Ref
    local: Searcher
    """Over the whole index in this process."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def rankers(self) -> list[dict[str, Any]]:
        return list(self.namespace.get("pods", "-l", "app.kubernetes.io/component=ranker")["items"])

    def all_ready(self) -> bool:
        pods = self.rankers()
        ready = [
            condition["status"] == "True"
            for pod in pods
            for condition in pod["status"].get("conditions", [])
            if condition["type"] == "Ready"
        ]
        return len(pods) == SHARDS * COPIES and len(ready) == len(pods) and all(ready)


@pytest.fixture(scope="module")
def site(
    namespace: Namespace, s3: S3Server, search_image: str, tmp_path_factory: pytest.TempPathFactory
) -> Site:
    """A shop of 360 listings, its index in three shards, live, in rankers and behind two search pods."""
    store = open_bucket(s3, BUCKET)
    work = tmp_path_factory.mktemp("shards")
    shop = open_shop(store, work / "cache", per_category=60)
    extraction = extract(store, shop.curated, shop.release, cache_dir=shop.cache_dir, threads=1)
    index = build(store, shop.curated, extraction, shards=SHARDS, cache_dir=shop.cache_dir)
    publish(store, shop.release, index, by="test", expected=None)
    namespace.secret("lookalike-store", s3.pod_environment)
    began = time.monotonic()
    namespace.kustomize(kustomization(search_image), work / "kustomization")
    for workload in (*(f"statefulset/{RANKER}-{part}" for part in range(SHARDS)), f"deployment/{SEARCH}"):
        namespace.kubectl("rollout", "status", workload, "--timeout=400s", seconds=420)
    print(f"six rankers and two search pods ready: {time.monotonic() - began:.0f} s")
    port = namespace.get("service", SEARCH)["spec"]["ports"][0]["nodePort"]
    local = open_searcher(*(fetch(store, ref, work / "whole") for ref in (shop.release, index)), threads=1)
    return Site(namespace, port, shop, index, local)


def kustomization(image: str) -> dict[str, object]:
    name, _, tag = image.rpartition(":")
    small = {"requests": {"cpu": "50m", "memory": "200Mi"}, "limits": {"memory": "1500Mi"}}
    resources = json.dumps(
        [{"op": "replace", "path": "/spec/template/spec/containers/0/resources", "value": small}]
    )
    return {
        "resources": ["k8s/base/search"],
        "components": ["k8s/components/shards"],
        "images": [{"name": "lookalike-search", "newName": name, "newTag": tag}],
        "configMapGenerator": [
            {
                "name": "lookalike",
                "literals": [f"LOOKALIKE_STORE=s3://{BUCKET}", "OMP_NUM_THREADS=1"],
                "options": {"disableNameSuffixHash": True},
            }
        ],
        "patches": [
            {"target": {"kind": "Deployment", "name": SEARCH}, "patch": resources},
            {"target": {"kind": "StatefulSet"}, "patch": resources},
            {
                "target": {"kind": "Service", "name": SEARCH},
                "patch": json.dumps([{"op": "add", "path": "/spec/type", "value": "NodePort"}]),
            },
        ],
    }


def questions() -> list[Question]:
    """Photos and listings, in all categories and filtered; the top 100 of each."""
    asked = []
    for number in range(QUERIES):
        category = CATEGORIES[number % len(CATEGORIES)]
        target, request = "/v1/search?k=100", SearchRequest(k=100)
        if number % 4 == 1:
            target += "&categories=home&categories=shoes"
            request = SearchRequest(k=100, categories=("home", "shoes"))
        elif number % 4 == 2:
            target += "&aspects=brand=Acme&price=5..45"
            request = SearchRequest(k=100, filters=Filters((("brand", ("Acme",)),), 5, 45))
        if number % 5 == 4:
            listing_id = f"{number % len(CATEGORIES)}-{number % 60:03d}"
            query = Query(request, listing_id=listing_id)
            asked.append(Question(f"{target}&listing_id={listing_id}", b"", query))
        else:
            photo = render(category, number)
            asked.append(Question(target, photo, Query(request, photo=load_square(photo, SIDE))))
    return asked


@dataclass
class Replies:
    """What clients got for which question, or what failed."""

    hits: list[tuple[int, list[dict[str, Any]]]] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)

    def ask(self, client: httpx.Client, number: int, question: Question) -> None:
        try:
            reply = client.post(question.target, content=question.body)
            body = reply.json()
        except (httpx.HTTPError, ValueError) as error:
            self.bad.append(f"{time.strftime('%X')} {error!r}")
            return
        if reply.status_code != 200 or "partial" in body:
            self.bad.append(f"{time.strftime('%X')} {reply.status_code} {reply.text[:300]}")
        else:
            self.hits.append((number, body["hits"]))

    def differing(self, expected: list[list[dict[str, Any]]]) -> list[int]:
        """The questions whose hits are not those of one process."""
        return [number for number, hits in self.hits if hits != expected[number]]


@pytest.fixture(scope="module")
def asked() -> list[Question]:
    return questions()


@pytest.fixture(scope="module")
def expected(site: Site, asked: list[Question]) -> list[list[dict[str, Any]]]:
    """The hits that one process gives, one search at a time as a single client asks."""
    answers = [site.local.search_all([question.query])[0] for question in asked]
    found: list[list[dict[str, Any]]] = json.loads(
        json.dumps([answer_json(each, {})["hits"] for each in answers])
    )
    return found


def test_200_searches_get_the_top_100_of_one_process(
    site: Site, asked: list[Question], expected: list[list[dict[str, Any]]]
) -> None:
    replies = Replies()
    with httpx.Client(base_url=site.url, timeout=30) as client:
        for number, question in enumerate(asked):
            replies.ask(client, number, question)
    assert not replies.bad
    assert len(replies.hits) == QUERIES
    assert not replies.differing(expected)
    assert sum(len(hits) for _, hits in replies.hits) > 20 * QUERIES


def test_a_ranker_is_deleted_under_load_and_no_search_fails(
    site: Site, asked: list[Question], expected: list[list[dict[str, Any]]]
) -> None:
    """One of each shard: once without grace, as a node dies, and then as evictions do it."""
    replies, stop = Replies(), threading.Event()

    def run(first: int) -> None:
        with httpx.Client(base_url=site.url, timeout=30) as client:
            number = first
            while not stop.is_set():
                number = (number + 1) % QUERIES
                replies.ask(client, number, asked[number])

    threads = [threading.Thread(target=run, args=(n * 50,)) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        dies = ("--force", "--grace-period=0")
        for pod, grace in (f"{RANKER}-0-1", dies), (f"{RANKER}-1-0", ()), (f"{RANKER}-2-1", ()):
            before = len(replies.hits)
            eventually(lambda before=before: len(replies.hits) > before + 50, 120)
            uid = site.namespace.get("pod", pod)["metadata"]["uid"]
            site.namespace.kubectl("delete", "pod", pod, "--wait=false", *grace)
            eventually(
                lambda pod=pod, uid=uid: self_of(site, pod) not in (uid, None) and site.all_ready(), 240
            )
        before = len(replies.hits)
        eventually(lambda: len(replies.hits) > before + 50, 120)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    print(
        f"{len(replies.hits)} searches while three rankers were deleted, {len(replies.bad)} failed or partial"
    )
    assert not replies.bad, replies.bad[:5]
    assert not replies.differing(expected)


def self_of(site: Site, pod: str) -> str | None:
    """The identity of the pod of that name, if there is one."""
    return next((p["metadata"]["uid"] for p in site.rankers() if p["metadata"]["name"] == pod), None)


@pytest.mark.parametrize(
    "change",
    [{"image": "localhost/lookalike-search:none"}, {"args": ["lookalike", "rank", "--part", "none"]}],
    ids=["no such image", "it ends at its start"],
)
def test_a_bad_template_is_rolled_back_though_its_pod_never_came_up(
    site: Site,
    asked: list[Question],
    expected: list[list[dict[str, Any]]],
    change: dict[str, Any],
) -> None:
    """Where pods come up in order Kubernetes waits for the bad one for ever, until somebody deletes it by hand."""
    workload, bad, good = f"statefulset/{RANKER}-2", f"{RANKER}-2-1", f"{RANKER}-2-0"
    before = {pod: self_of(site, pod) for pod in (bad, good)}
    container = {"name": "ranker"} | change
    patch = {"spec": {"template": {"spec": {"containers": [container]}}}}
    site.namespace.kubectl("patch", workload, "--patch", json.dumps(patch))
    eventually(lambda: self_of(site, bad) not in (before[bad], None), 120)
    with pytest.raises(ClusterError):  # it hangs, and takes no second ranker with it
        site.namespace.kubectl("rollout", "status", workload, "--timeout=20s")
    assert self_of(site, good) == before[good]
    replies = Replies()
    with httpx.Client(base_url=site.url, timeout=30) as client:
        for number, question in enumerate(asked[:50]):
            replies.ask(client, number, question)
    assert not replies.bad, replies.bad[:5]
    assert not replies.differing(expected)

    site.namespace.kubectl("rollout", "undo", workload)
    site.namespace.kubectl("rollout", "status", workload, "--timeout=240s", seconds=260)
    eventually(site.all_ready, 60)
    assert self_of(site, good) == before[good]


def test_a_shard_without_any_ranker_makes_partial_answers(site: Site, asked: list[Question]) -> None:
    site.namespace.kubectl("scale", f"statefulset/{RANKER}-2", "--replicas=0")
    with httpx.Client(base_url=site.url, timeout=30) as client:

        def missing() -> list[int]:
            reply = client.post(asked[0].target, content=asked[0].body)
            assert reply.status_code == 200
            return list(reply.json().get("partial", {}).get("missing_shards", []))

        eventually(lambda: missing() == [2], 120)
        site.namespace.kubectl("scale", f"statefulset/{RANKER}-2", f"--replicas={COPIES}")
        eventually(lambda: not missing(), 240)
