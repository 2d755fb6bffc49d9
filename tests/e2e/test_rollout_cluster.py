"""Publishing on a real cluster: the search Deployment rolls without a failed request, or both go back.

One shop, two search replicas behind a NodePort, and an operator's pod with the rollout account, in which `lookalike`
runs as it does in the publishing run. Each test leaves the Deployment and the live ref in agreement.
"""

from __future__ import annotations

import json
import re
import threading
import time

import httpx
import pytest
import yaml

from local.cluster import ROOT, ClusterError, S3Server
from lookalike.storage.artefacts import Ref, read_manifest
from tests.e2e.cluster import Namespace, eventually, open_bucket, stopped
from tests.e2e.rollout_site import (
    BUCKET,
    OPERATOR,
    SEARCH,
    Site,
    kustomization,
    operator_pod,
    under_load,
)
from tests.shop import open_shop, reindex, write_release

pytestmark = pytest.mark.cluster

OUTAGE_S = 60.0
KILL = """for p in /proc/[0-9]*; do
  if tr '\\0' ' ' < $p/cmdline | grep -q '[b]in/lookalike publish'; then kill -9 ${p#/proc/}; fi
done; true"""
"""The image has no pkill."""


@pytest.fixture(scope="module")
def site(
    namespace: Namespace,
    s3: S3Server,
    search_image: str,
    pipeline_image: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Site:
    """The shop with its first pair live on two replicas."""
    store = open_bucket(s3, BUCKET)
    work = tmp_path_factory.mktemp("rollout")
    first = open_shop(store, work / "cache", per_category=8, prefix="a")
    namespace.secret("lookalike-store", s3.pod_environment)
    namespace.kustomize(kustomization(search_image), work / "kustomization")
    namespace.apply(json.dumps(operator_pod(pipeline_image)))
    namespace.kubectl("wait", "--for=condition=Ready", f"pod/{OPERATOR}", "--timeout=120s")
    port = namespace.get("service", SEARCH)["spec"]["ports"][0]["nodePort"]
    site = Site(namespace, port, store, first)
    began = time.monotonic()
    site.publish(first.index)
    print(f"first publication, two replicas: {time.monotonic() - began:.0f} s")
    return site


def rights(site: Site, account: str) -> set[tuple[str, str, str]]:
    """(resource, name, verbs) of all that an account may do in the namespace, beside asking what it may do."""
    who = f"--as=system:serviceaccount:{site.namespace.name}:{account}"
    rows = site.namespace.kubectl("auth", "can-i", "--list", "--no-headers", who).splitlines()
    found = set()
    for row in rows:
        resource, _, rest = row.partition(" ")
        urls, names, verbs = re.findall(r"\[(.*?)\]", rest)
        if resource and not resource.startswith("selfsubject"):
            assert not urls
            found.add((resource, names, verbs))
    return found


def test_accounts_may_do_what_they_must_and_nothing_else(site: Site) -> None:
    assert rights(site, "lookalike-search") == set()
    assert rights(site, "lookalike-rollout") == {("deployments.apps", SEARCH, "get patch")}


def test_publishing_twice_and_back_fails_no_request(site: Site) -> None:
    a = site.first
    b = reindex(a, per_category=10, prefix="b")
    c = reindex(
        b, per_category=9, prefix="c", release=write_release(site.store, a.listings, a.cache_dir, seed=7)
    )
    with under_load(site) as load:
        began = time.monotonic()
        site.publish(b.index)
        site.publish(c.index)
        site.operator("lookalike", "rollback")
        seconds = time.monotonic() - began
    print(
        f"{load.requests} requests, {len(load.errors)} failed, in three roll-outs of {seconds / 3:.0f} s each"
    )
    load.check(a, b, c)
    assert load.indexes() == {str(s.index) for s in (a, b, c)}, "every snapshot was answered from"
    assert load.requests >= 2000
    assert site.agreed_on(b.index)


def test_publishing_what_is_live_rolls_nothing(site: Site) -> None:
    before = [pod["metadata"] for pod in site.pods()]
    sequence, index = site.live.sequence, site.live.index
    site.publish(index)
    assert [pod["metadata"] for pod in site.pods()] == before
    assert site.live.sequence == sequence


def test_the_job_of_the_page_rolls_back(site: Site, pipeline_image: str) -> None:
    before = site.live
    text = (ROOT / "docs" / "operations.md").read_text()
    (job,) = (yaml.safe_load(found) for found in re.findall(r"<<'YAML'.*?\n(.*?)^YAML$", text, re.M | re.S))
    job["spec"]["template"]["spec"]["containers"][0]["image"] = pipeline_image
    made = site.namespace.kubectl("create", "-f", "-", "-o", "name", stdin=json.dumps(job)).strip()
    site.namespace.kubectl("wait", "--for=condition=complete", made, "--timeout=400s", seconds=420)
    assert "Publishing is held" in " ".join(site.namespace.kubectl("logs", made).split())
    assert site.live.action == "rollback"
    assert site.live.index != before.index
    assert site.agreed_on(site.live.index)


def test_a_segment_damaged_during_the_roll_out_is_taken_back_and_named(site: Site) -> None:
    """Damaged in the store after the publisher has read it: only the pods can find out."""
    live = site.live
    damaged = reindex(site.first, per_category=12, prefix="d")
    segment = read_manifest(site.store, damaged.index).files[0]

    def damage() -> None:
        eventually(lambda: site.annotation() == str(damaged.index), 200)
        spoil(site, segment.key)

    damaging = threading.Thread(target=damage)
    with under_load(site) as load:
        damaging.start()
        with pytest.raises(ClusterError) as failed:
            site.publish(damaged.index)
        damaging.join()
    said = str(failed.value)
    assert segment.key.rpartition("/")[2] in said.replace("\n", ""), said
    assert "does not match its digest" in said
    assert f"taken back: {live.index.id} is live again" in said
    assert load.indexes() == {str(live.index)}, "the old answers went on, and no other"
    assert not load.errors
    assert site.agreed_on(live.index)


def test_a_segment_damaged_at_the_store_rolls_nothing(site: Site) -> None:
    """Though the publisher's pod has a good copy in its cache."""
    live, pods = site.live, names(site)
    damaged = reindex(site.first, per_category=14, prefix="g")
    site.operator("lookalike", "verify", f"index/{damaged.index.id}")
    segment = read_manifest(site.store, damaged.index).files[0]
    spoil(site, segment.key)
    with pytest.raises(ClusterError, match="does not match its digest"):
        site.publish(damaged.index)
    assert names(site) == pods
    assert site.live == live
    assert site.agreed_on(live.index)


def spoil(site: Site, key: str) -> None:
    """Other bytes of the same length."""
    data = bytearray(site.store.get(key))
    data[len(data) // 2] ^= 1
    site.store.put(key, bytes(data))


def test_a_roll_out_that_was_killed_is_finished_by_running_it_again(site: Site) -> None:
    before, following = site.live.index, reindex(site.first, per_category=9, prefix="e")
    command = ["lookalike", "publish", "--index", str(following.index)]

    def publish_and_be_killed() -> None:
        with pytest.raises(ClusterError, match="137"):
            site.operator(*command)

    with under_load(site) as load:
        killed = threading.Thread(target=publish_and_be_killed)
        killed.start()
        eventually(lambda: site.annotation() == str(following.index), 200)
        site.operator("sh", "-c", KILL)
        killed.join()
        assert not site.agreed_on(following.index), "killed in the middle"
        site.operator(*command)
    assert not load.errors, load.errors[:5]
    assert load.indexes() == {str(before), str(following.index)}
    assert site.agreed_on(following.index)


def test_kubectl_rollout_undo_and_the_live_ref_can_be_told_apart_and_joined(site: Site) -> None:
    newer = site.live.index
    site.namespace.kubectl("rollout", "undo", f"deployment/{SEARCH}")
    site.namespace.kubectl("rollout", "status", f"deployment/{SEARCH}", "--timeout=300s", seconds=310)
    older = Ref.parse(site.annotation())
    assert older != newer
    with pytest.raises(ClusterError, match="the live ref names"):
        site.operator("lookalike", "verify")
    site.operator("lookalike", "rollback")
    assert "whole" in site.operator("lookalike", "verify")
    assert site.agreed_on(older)


def test_a_pod_killed_under_load_is_made_up_for_by_its_twin(site: Site) -> None:
    name = str(site.pods()[0]["metadata"]["name"])
    with under_load(site, tries=3) as load:
        time.sleep(2)
        site.namespace.kubectl("delete", "pod", name, "--grace-period=0", "--force")
        eventually(lambda: name not in names(site) and site.agreed_on(site.live.index), 200)
    assert not load.errors, "a client that asks again is answered by the other pod"
    assert {status for status, *_ in load.replies} == {200}


def test_without_the_store_searches_go_on_and_new_pods_wait(site: Site, s3: S3Server) -> None:
    if s3.state is None:
        pytest.skip("only our own S3 server can be stopped")
    name = str(site.pods()[0]["metadata"]["name"])
    with under_load(site) as load:
        with stopped(s3):
            until = time.monotonic() + OUTAGE_S
            site.namespace.kubectl("delete", "pod", name, "--wait=false")
            eventually(lambda: len(site.pods()) == 2 and name not in names(site), OUTAGE_S / 2)
            time.sleep(until - time.monotonic())  # several attempts of the new pod to reach the store
            status = site.namespace.get("deployment", SEARCH)["status"]
            assert status.get("readyReplicas") == 1, "the new pod waits"
            asked = load.requests
        eventually(lambda: site.agreed_on(site.live.index), 200)
    assert not load.errors, load.errors[:5]
    assert {status for status, *_ in load.replies} == {200}
    assert asked > 100
    assert restarts(site) == 0, "waiting is no reason to be restarted"


def test_a_pod_stays_within_what_the_manifest_asks_for(site: Site) -> None:
    text = httpx.get(f"{site.url}/metrics", timeout=30).text
    resident = next(
        float(line.split()[1]) for line in text.splitlines() if line.startswith("process_resident")
    )
    print(f"resident memory of a search pod: {resident / 2**20:.0f} MiB")
    assert resident < 800 * 2**20, "0.5 GiB and what is in flight; the index of this shop weighs nothing"


def names(site: Site) -> set[str]:
    return {str(pod["metadata"]["name"]) for pod in site.pods()}


def restarts(site: Site) -> int:
    return sum(status["restartCount"] for pod in site.pods() for status in pod["status"]["containerStatuses"])
