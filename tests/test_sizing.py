"""A plan keeps to its promises, says when it cannot, and knows the bytes that an index takes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from lookalike.cli.app import app
from lookalike.errors import SettingsError
from lookalike.index.builder import build
from lookalike.index.reader import IndexSnapshot
from lookalike.serving.config import ServingConfig
from lookalike.sizing import Catalogue, Cluster, Load, Measured, plan, waiting
from lookalike.storage.artefacts import fetch
from tests.index.conftest import make_snapshot

SMALL, LARGE = Catalogue(1e6), Catalogue(1e9, bare=True)


def test_the_bytes_of_a_listing_are_those_of_a_real_index(tmp_path: Path) -> None:
    made = make_snapshot(tmp_path / "store", {"a": 6000, "b": 2000}, bits=512, shard_rows=4000)
    ref = build(made.store, made.curated, made.extraction, shards=2, cache_dir=tmp_path)
    index = fetch(made.store, ref, tmp_path)
    parts = [p for c in ("a", "b") for p in IndexSnapshot.open(index).partitions(c)]
    rows = sum(map(len, parts))
    values = sum(len(lists.values) for part in parts for lists in part.aspects.values())
    groups = sum(len(group) for part in parts for group in part.groups.to_pylist())
    catalogue = Catalogue(
        rows, bits=512, id_bytes=8, group_bytes=groups / rows, aspects=2, values=values / rows / 2
    )
    on_disk = sum(entry.size for entry in index.manifest.files)
    assert on_disk == pytest.approx(catalogue.index_bytes, rel=0.02)  # the headers are the rest


def test_memory_for_photos_is_what_a_search_process_may_take() -> None:
    config = ServingConfig()
    limits = config.in_flight_bytes + config.photo.decoding_bytes + config.thumbnail_cache_bytes
    assert Measured().buffers_gb == pytest.approx(limits / 1e9, abs=0.01)


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
        (Catalogue(1e9), Load(10, 300), "give --bare"),
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
