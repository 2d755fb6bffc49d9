"""Rolling out and back by the real Kubernetes client, with `tests.publishing.api_server` and real search processes.

tests/e2e/test_rollout_cluster.py does the same on a cluster, with real pods; here also what a cluster does not do when
a test wants it: answer 429, lose a connection, let somebody else patch in between.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from lookalike.errors import RolloutError, RolloutRefused
from lookalike.publishing import publication
from lookalike.publishing.live_ref import read_live
from lookalike.publishing.rollout import CONFIRMED, INDEX
from lookalike.serving.config import ServingConfig
from lookalike.storage.artefacts import read_manifest
from lookalike.storage.directory import DirectoryStore
from tests.publishing import api_server
from tests.publishing.api_server import ApiServer, Fault
from tests.publishing.conftest import AT, CONFIRMED_AT, NEW, OLD, OTHER, VASE, Search, Site
from tests.serving.running import eventually, running

# Publishing and back, with everything real but the cluster


def test_publishing_rolls_the_deployment_and_confirms_what_answered(site: Site) -> None:
    index = site.second.index
    site.publish(index)
    assert site.agreed_on(index)
    assert site.api.deployment["metadata"]["annotations"][CONFIRMED] == str(index)
    assert site.api.patches == [
        [{"op": "add", "path": AT, "value": str(index)}],
        [{"op": "add", "path": CONFIRMED_AT, "value": str(index)}],
    ]
    assert {asked.path for asked in site.api.asked} == {api_server.PATH}, "one Deployment and nothing else"
    assert publication.disagreement(site.first.store) is None


def test_publishing_what_is_live_patches_nothing(site: Site) -> None:
    site.publish(site.first.index)
    assert site.api.patches == []
    assert site.live.sequence == 1


def test_rolling_back_rolls_the_deployment_back(site: Site) -> None:
    site.publish(site.second.index)
    publication.roll_back(site.first.store, by="test", cache_dir=site.first.cache_dir)
    assert site.agreed_on(site.first.index)
    assert site.live.action == "rollback"


def test_a_damaged_segment_is_taken_back_and_named(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new pod reads its snapshot otherwise than the publisher did. It says so, and nobody waits for the deadline."""
    index = site.second.index
    shutil.copytree(tmp_path / "store", tmp_path / "as the pod reads it")
    damaged = DirectoryStore(tmp_path / "as the pod reads it")
    segment = read_manifest(damaged, index).files[0]
    path = damaged.local_path(segment.key)
    assert path is not None
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    site.api.broken.add(str(index))
    config = ServingConfig(index=index, poll_seconds=0.02, notice_seconds=0)
    with running(damaged, tmp_path / "pod", config, wait=False) as pod:
        monkeypatch.setenv("LOOKALIKE_ROLLOUT_PODS_URL", f"http://127.0.0.1:{pod.port}")
        eventually(lambda: bool(pod.client.get("/readyz").json().get("refused")))
        with pytest.raises(RolloutRefused) as refused:
            site.publish(index)
    assert segment.key.rpartition("/")[2] in str(refused.value)
    assert "not done after" not in str(refused.value)
    assert f"taken back: {site.first.index.id} is live again" in str(refused.value)
    assert site.agreed_on(site.first.index)
    back = [{"op": "test", "path": AT, "value": str(index)}]
    assert site.api.patches[-1] == [*back, {"op": "replace", "path": AT, "value": str(site.first.index)}]


def test_a_roll_back_that_pods_refuse_is_taken_back_but_still_holds(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.publish(site.second.index)
    site.api.broken.add(str(site.first.index))
    monkeypatch.setenv("LOOKALIKE_ROLLOUT_DEADLINE_S", "3")
    with pytest.raises(RolloutRefused, match="taken back"):
        publication.roll_back(site.first.store, by="test", cache_dir=site.first.cache_dir)
    assert site.agreed_on(site.second.index)
    live = read_live(site.first.store)
    assert live is not None
    assert live.hold is not None, "whoever rolled back is still at it"
    assert live.rejected == (), "what is live again is not rejected"


def test_a_publisher_whose_connection_ended_in_the_patch_is_run_again(site: Site) -> None:
    index = site.second.index
    site.api.faults["PATCH"].append(Fault(drop=True, applied=True))
    with pytest.raises(RolloutError, match="cannot be reached"):
        site.publish(index)
    assert site.agreed_on(index), "it was done, though nobody was told"
    site.publish(index)
    assert [patch[0]["path"] for patch in site.api.patches] == [AT, CONFIRMED_AT]


def test_what_the_deployment_names_beside_the_live_ref_is_said(site: Site) -> None:
    site.api.deployment["spec"]["template"]["metadata"]["annotations"][INDEX] = str(OTHER)
    said = publication.disagreement(site.first.store)
    assert said is not None
    assert f"serves {OTHER}, the live ref names {site.first.index}" in said


# What is sent


def test_a_template_without_annotations_gets_them(api: ApiServer, search: Search) -> None:
    api.deployment = api_server.deployment()
    search().name_snapshot(NEW)
    assert api.template == {INDEX: str(NEW)}
    assert [len(patch) for patch in api.patches] == [1, 2], "refused as it does not fit, then with the parent"


def test_other_annotations_stay(api: ApiServer, search: Search) -> None:
    api.template["shop/other"] = "kept"
    search().name_snapshot(NEW)
    assert api.template == {INDEX: str(NEW), "shop/other": "kept"}
    assert api.asked[-1].headers["Content-Type"] == "application/json-patch+json"
    assert api.deployment["metadata"]["generation"] == 2


def test_taking_back_what_is_not_there_any_more_patches_nothing(api: ApiServer, search: Search) -> None:
    api.template[INDEX] = str(OLD)
    search().take_back(NEW, OLD)
    assert api.patches == []


def test_taking_back_does_not_overwrite_whoever_patches_in_between(api: ApiServer, search: Search) -> None:
    api.template[INDEX] = str(NEW)

    def rolls_out_another(found: dict[str, Any]) -> None:
        found["spec"]["template"]["metadata"]["annotations"][INDEX] = str(OTHER)

    api.meanwhile = rolls_out_another
    with pytest.raises(RolloutError, match=r"the patch does not fit what is there: testing value .* failed"):
        search().take_back(NEW, OLD)
    assert api.template == {INDEX: str(OTHER)}


def test_progress_is_told_pod_by_pod(api: ApiServer, search: Search) -> None:
    told: list[tuple[int, int]] = []
    with pytest.raises(RolloutRefused):  # the Service answers nobody here
        search().roll_out(NEW, VASE, progress=lambda stage, done, total, note="": told.append((done, total)))
    assert told[-1] == (2, 2)
    assert (1, 2) in told


def test_no_replicas_are_not_searched(api: ApiServer, search: Search) -> None:
    api.deployment = api_server.deployment(str(OLD), str(OLD), replicas=0)
    search().roll_out(NEW, VASE)
    assert api.deployment["metadata"]["annotations"][CONFIRMED] == str(NEW)
