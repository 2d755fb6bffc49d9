"""A plan keeps to its promises, says when it cannot, and knows the bytes that an index takes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from lookalike.cli.app import app
from lookalike.errors import SettingsError
from lookalike.index.builder import build
from lookalike.index.reader import IndexSnapshot
from lookalike.serving.config import ServingConfig
from lookalike.serving.memory import MMAP_THRESHOLD
from lookalike.sizing import Catalogue, Cluster, Load, Measured, plan, waiting
from lookalike.storage.artefacts import fetch
from tests.index.conftest import make_snapshot

TOP = Path(__file__).parents[1]
SMALL, LARGE = Catalogue(1e6), Catalogue(1e9, bare=True)


@pytest.mark.parametrize(("each", "most"), [(4000, 1), (1500, 4)])
def test_the_bytes_of_a_listing_are_those_of_a_real_index(tmp_path: Path, each: int, most: int) -> None:
    rows_of = {"a": each + 500, "b": each - 500}
    made = make_snapshot(tmp_path / "store", rows_of, bits=512, shard_rows=4000, photos=most)
    ref = build(made.store, made.curated, made.extraction, shards=2, cache_dir=tmp_path)
    index = fetch(made.store, ref, tmp_path)
    parts = [p for c in ("a", "b") for p in IndexSnapshot.open(index).partitions(c)]
    rows = sum(map(len, parts))
    values = sum(len(lists.values) for part in parts for lists in part.aspects.values())
    groups = sum(len(group) for part in parts for group in part.groups.to_pylist())
    titles = sum(len(title or "") for title in made.listings["title"].to_pylist())
    listings = made.listings.num_rows
    catalogue = Catalogue(
        listings,
        bits=512,
        id_bytes=8,
        group_bytes=groups / rows,
        title_bytes=titles / listings,
        aspects=2,
        values=values / rows / 2,
        photos=rows / listings,
    )
    on_disk = sum(entry.size for entry in index.manifest.files)
    assert on_disk == pytest.approx(catalogue.index_bytes, rel=0.02)  # the headers are the rest


def test_memory_for_photos_is_what_a_search_process_may_take() -> None:
    assert Measured().buffers_gb == pytest.approx(ServingConfig().buffer_bytes / 1e9, abs=0.01)


def read(path: str) -> str:
    """A file of the repository, its line ends and comment signs taken for spaces."""
    return " ".join((TOP / path).read_text().replace("\n#", "\n").split())


def gib(text: str) -> dict[str, float]:
    """Memory that a manifest requests and limits, in GB."""
    units = {"Mi": 2**20 / 1e9, "Gi": 2**30 / 1e9}
    found = re.findall(r"(requests|limits): \{[^}]*memory: (\d+)(Mi|Gi)", text)
    return {kind: int(count) * units[unit] for kind, count, unit in found}


def cache_gb(text: str) -> float:
    """What the volume `cache` of a manifest takes, in GB."""
    found = re.search(r"- name: cache[^-]*emptyDir: \{sizeLimit: (\d+)Gi", text)
    assert found is not None
    return int(found[1]) * 2**30 / 1e9


def test_manifests_and_pages_state_the_memory_that_is_planned() -> None:
    config, measured = ServingConfig(), Measured()
    own, buffers = f"{measured.search_gb:.2f}", f"{measured.buffers_gb:.2f}"
    tables, index = (SMALL.listings * each / 1e9 for each in (SMALL.shelf_bytes, SMALL.row_bytes))
    total = plan(SMALL, Load(50, 300), Cluster(overlap=0)).search_pod_gb

    search = read("k8s/base/search/deployment.yaml")
    assert f"Memory of a pod = {own} GB (process" in search
    assert f"+ {buffers} GB (photos in flight and being decoded, thumbnails)" in search
    assert f"a million listings: {own} + {buffers} + {tables:.2f} + {index:.2f} = {total:.2f} GB" in search
    memory = gib(search)
    assert total <= memory["limits"]
    assert total - measured.buffers_gb <= memory["requests"] <= memory["limits"]

    assert plan(SMALL, Load(50, 300)).search_disk_gb <= cache_gb(search)
    assert plan(Catalogue(6e5), Load(50, 300)).search_pod_gb <= memory["limits"], "with the next index beside"

    rankers = read("k8s/components/shards/ranker/ranker.yaml")
    assert 3 * 4 * index / 3 + 0.5 <= cache_gb(rankers)  # three snapshots of a third of four million
    assert f"{measured.ranker_gb:.2f} GB + 2 x {index:.2f} GB for each million listings" in rankers
    assert measured.ranker_gb + 2 * 4 * index / 3 <= gib(rankers)["limits"]

    pages = read("docs/operations.md")
    assert pages.count(f"{own} GB + {buffers} GB + listings x tables") == 2
    assert f"ranker {measured.ranker_gb:.2f} GB + (1 + overlap)" in pages
    parts = config.in_flight_bytes, config.decoding_bytes, config.photo.max_decoding_bytes
    flight, usual, heavy = (f"{part / 1e9:.2f}" for part in parts)
    assert f"{buffers} GB are limits of `ServingConfig`. Photos in flight take {flight}," in pages
    assert f"decoded {usual}, one heavy photo at a time {heavy}," in pages
    assert f"thumbnails {config.thumbnail_cache_bytes / 1e9:.2f}." in pages

    api = read("docs/api.md")
    flight, usual, heavy = (f"{part / 1e6:.0f} MB" for part in parts)
    for said in (f"share one budget ({flight}", f"in {usual} of memory", f"in {heavy} at most"):
        assert said in api


def test_processes_and_images_fix_the_same_threshold() -> None:
    setting = f"MALLOC_MMAP_THRESHOLD_={MMAP_THRESHOLD}"
    assert setting in read("Dockerfile")
    assert setting in read("k8s/base/kustomization.yaml")


def test_a_small_catalogue_needs_no_rankers() -> None:
    found = plan(SMALL, Load(50, 300))
    assert (found.shards, found.rankers) == (0, 0)
    assert found.search_pods >= 2


def test_a_billion_listings_are_sharded_so_that_each_part_fits() -> None:
    cluster = Cluster()
    found = plan(LARGE, Load(500, 300), cluster)
    assert found.shards > 10
    assert found.ranker_gb * found.shards > LARGE.index_bytes / 1e9
    assert found.ranker_gb <= cluster.node_gb
    assert found.rankers_per_shard >= cluster.copies
    assert found.nodes * cluster.node_gb > found.rankers * found.ranker_gb + found.search_pods * 0.8


@pytest.mark.parametrize("catalogue", [SMALL, LARGE, Catalogue(1e8)], ids=["1e6", "1e9", "1e8"])
@pytest.mark.parametrize(("qps", "p99"), [(10, 250), (500, 250), (500, 400), (3000, 400)])
def test_a_plan_keeps_to_the_time_and_to_the_cores(catalogue: Catalogue, qps: float, p99: float) -> None:
    cluster = Cluster()
    found = plan(catalogue, Load(qps, p99), cluster)
    assert found.p99_ms <= p99
    pods = found.search_pods + found.rankers
    assert found.nodes * cluster.node_cores >= pods * cluster.pod_cores
    busy_cores = qps * (found.encode_ms + found.scan_ms) / 1e3 * cluster.pod_cores
    assert pods * cluster.pod_cores > busy_cores, "no more work is promised than the cores can do"


def test_more_of_anything_never_takes_fewer_nodes() -> None:
    def nodes(listings: float = 1e8, qps: float = 200, p99: float = 300, copies: int = 2) -> int:
        return plan(Catalogue(listings, bare=True), Load(qps, p99), Cluster(copies=copies)).nodes

    for more in (
        nodes(listings=1e9),
        nodes(qps=1000),
        nodes(p99=220),
        nodes(copies=3),
    ):
        assert more >= nodes()
    assert nodes(listings=1e9) > nodes()


def test_faster_machines_help() -> None:
    slow, fast = (
        plan(LARGE, Load(500, 300), Cluster(measured=Measured(scan_gb_s=rate, encode_core_ms=core_ms)))
        for rate, core_ms in ((6.0, 86.0), (24.0, 20.0))
    )
    assert fast.nodes < slow.nodes


@pytest.mark.parametrize(
    ("catalogue", "load", "says"),
    [
        (SMALL, Load(10, 30), "encoding and overheads alone take 52 ms"),
        (Catalogue(2e9), Load(10, 300), "give --bare"),
        (Catalogue(0), Load(10, 300), "listings: must be above 0"),
        (Catalogue(1e6, bits=100), Load(10, 300), "multiple of 64"),
    ],
)
def test_what_cannot_be_is_said(catalogue: Catalogue, load: Load, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        plan(catalogue, load)


@pytest.mark.parametrize("busy", [0.1, 0.3, 0.5, 0.7])
def test_waiting_is_that_of_a_simulated_queue(busy: float) -> None:
    """Poisson arrivals, a constant service time of 1: the wait grows by 1 and shrinks by each gap."""
    rng = np.random.default_rng(5)
    steps = 1 - rng.exponential(1 / busy, 400_000)
    path = np.concatenate([[0], np.cumsum(steps)])
    waits = path - np.minimum.accumulate(path)
    assert waiting(busy) == pytest.approx(np.percentile(waits, 99), rel=0.1)


def test_the_command_prints_a_plan_as_json_and_for_people() -> None:
    words = ["plan", "--listings", "1e9", "--qps", "500", "--p99", "0.3s", "--bare"]
    result = CliRunner().invoke(app, [*words, "--node-memory", "128GiB", "--json"])
    assert result.exit_code == 0
    body = json.loads(result.stdout)
    assert body["load"] == {"qps": 500, "p99_ms": 300}
    assert body["cluster"]["node_gb"] == pytest.approx(137.4, abs=0.1)
    assert body["plan"]["rankers"] == body["plan"]["shards"] * body["plan"]["rankers_per_shard"]
    told = CliRunner().invoke(app, words)
    assert "ranker pods" in told.stdout
    assert "lookalike index --shards" in told.stdout
