"""What a roll-out hears from real search processes; the cluster's side of it is tests/e2e/test_rollout_cluster.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from lookalike.errors import LostRace, SettingsError
from lookalike.publishing import publication, search_pods
from lookalike.publishing.live_ref import read_live
from lookalike.serving.config import ServingConfig
from lookalike.storage.artefacts import read_manifest
from lookalike.storage.directory import DirectoryStore
from tests.serving.running import eventually, running
from tests.shop import Shop, open_shop, reindex, render, write_release


@pytest.fixture
def own_shop(tmp_path: Path) -> Shop:
    """A shop whose store may be damaged."""
    return open_shop(DirectoryStore(tmp_path / "store"), tmp_path / "cache", per_category=4)


def test_a_ready_process_answers_from_its_snapshot_and_reports_nothing(shop: Shop) -> None:
    with running(shop.store, shop.cache_dir, ServingConfig(index=shop.index, notice_seconds=0)) as process:
        url = f"http://127.0.0.1:{process.port}"
        assert search_pods.not_ready(url) == []
        assert search_pods.not_ready(str(process.probes.base_url)) == []
        assert search_pods.search(url, render("home/vase", 1)) == search_pods.Reply(str(shop.index), 1)
        with pytest.raises(ValueError, match="415"):
            search_pods.search(url, b"no photo")


def test_a_process_that_refuses_its_snapshot_names_the_file(own_shop: Shop) -> None:
    segment = read_manifest(own_shop.store, own_shop.index).files[0]
    path = own_shop.store.local_path(segment.key)
    assert path is not None
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    config = ServingConfig(index=own_shop.index, poll_seconds=0.05, notice_seconds=0)
    with running(own_shop.store, own_shop.cache_dir, config, wait=False) as process:
        url = f"http://127.0.0.1:{process.port}"
        eventually(lambda: any(report.damaged for report in search_pods.not_ready(url)))
        (report,) = search_pods.not_ready(str(process.probes.base_url).rstrip("/"))
        assert (report.address, report.index) == ("127.0.0.1", str(own_shop.index))
        assert segment.key.rpartition("/")[2] in report.reason
        with pytest.raises(ValueError, match="503"):
            search_pods.search(url, render("home/vase", 1))


def test_where_nothing_answers_there_is_no_report() -> None:
    assert search_pods.not_ready("http://no-such-name.invalid:8000") == []
    assert search_pods.not_ready("http://127.0.0.1:9") == []


def test_a_publisher_that_was_killed_after_the_ref_moved_may_publish_again(own_shop: Shop) -> None:
    store, cache = own_shop.store, own_shop.cache_dir
    publication.publish_index(store, own_shop.index, by="test", cache_dir=cache)
    other = write_release(store, own_shop.listings, cache, seed=5)
    newer = reindex(own_shop, per_category=5, release=other)
    for _ in range(2):
        live = publication.publish_index(
            store, newer.index, by="test", cache_dir=cache, replaces=own_shop.release
        )
        assert (live.live.index, live.live.sequence) == (newer.index, 2)
    with pytest.raises(LostRace, match="when this work began"):
        publication.publish_index(
            store, own_shop.index, by="test", cache_dir=cache, replaces=own_shop.release
        )


def test_a_deployment_without_a_cluster_is_a_setting_that_is_wrong(
    own_shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOKALIKE_ROLLOUT_DEPLOYMENT", "shop/lookalike-search")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(SettingsError, match="no way to a cluster"):
        publication.publish_index(own_shop.store, own_shop.index, by="test", cache_dir=own_shop.cache_dir)
    assert read_live(own_shop.store) is None, "nothing was moved"
