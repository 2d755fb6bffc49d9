"""Rolling out and back by the real Kubernetes client, with `tests.publishing.api_server` and real search processes.

tests/e2e/test_rollout_cluster.py does the same on a cluster, with real pods; here also what a cluster does not do when
a test wants it: answer 429, lose a connection, let somebody else patch in between.
"""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lookalike.errors import RolloutError, RolloutRefused
from lookalike.publishing import publication, rollout
from lookalike.publishing.live_ref import LiveRecord, read_live
from lookalike.publishing.rollout import CONFIRMED, INDEX, SearchDeployment
from lookalike.serving.config import ServingConfig
from lookalike.settings import RolloutSettings
from lookalike.storage.artefacts import Kind, Ref, read_manifest
from lookalike.storage.directory import DirectoryStore
from tests.publishing import api_server
from tests.publishing.api_server import ApiServer, Fault
from tests.serving.running import eventually, running
from tests.shop import Shop, open_shop, reindex, render

OLD, NEW, OTHER = (Ref(Kind.INDEX, letter * 16, letter * 64) for letter in "abc")
NOBODY = "http://127.0.0.1:9"
AT = f"/spec/template/metadata/annotations/{INDEX.replace('/', '~1')}"
"""Where the template names its snapshot, as a JSON Patch says it."""
CONFIRMED_AT = f"/metadata/annotations/{CONFIRMED.replace('/', '~1')}"
VASE = render("home/vase", 1)


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    """A cluster whose two search pods serve `OLD` and were seen to answer; waits are short."""
    monkeypatch.setattr(rollout, "_LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(rollout, "_REQUEST_S", 1.0)
    monkeypatch.setattr(rollout, "_SETTLE_S", 0.2)
    found = api_server.deployment(str(OLD), str(OLD))
    with api_server.serving(found, tmp_path) as (api, kubeconfig):
        # The client reads KUBECONFIG when it is imported.
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(kubeconfig))
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
        yield api


Search = Callable[..., SearchDeployment]


@pytest.fixture
def search() -> Search:
    """The Deployment as a roll-out sees it, by default where no pod answers and no wait is long."""

    def opened(**settings: Any) -> SearchDeployment:
        given = {"deployment": api_server.NAME, "service_url": NOBODY, "pods_url": NOBODY, "deadline_s": 5.0}
        return SearchDeployment(RolloutSettings(**given | settings))

    return opened


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Shop, Shop]:
    """A shop and the same shop with more listings, in one store."""
    root = tmp_path_factory.mktemp("rollout")
    first = open_shop(DirectoryStore(root / "store"), root / "cache", per_category=4)
    return first, reindex(first, per_category=5)


@pytest.fixture
def site(
    two: tuple[Shop, Shop], api: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Site]:
    """The first shop live in a store of the test's own, with a search process that follows the live ref."""
    first, second = two
    shutil.copytree(Path(first.store.uri.removeprefix("file://")), tmp_path / "store")
    shutil.copytree(first.cache_dir, tmp_path / "cache")
    store, cache = DirectoryStore(tmp_path / "store"), tmp_path / "cache"
    here = [dataclasses.replace(shop, store=store, cache_dir=cache) for shop in (first, second)]
    publication.publish_index(store, first.index, by="test", cache_dir=cache)
    api.deployment = api_server.deployment(str(first.index), str(first.index))
    with running(store, cache, ServingConfig(poll_seconds=0.02, notice_seconds=0)) as process:
        monkeypatch.setenv("LOOKALIKE_ROLLOUT_DEPLOYMENT", f"{api_server.NAMESPACE}/{api_server.NAME}")
        monkeypatch.setenv("LOOKALIKE_ROLLOUT_SERVICE_URL", f"http://127.0.0.1:{process.port}")
        monkeypatch.setenv("LOOKALIKE_ROLLOUT_PODS_URL", NOBODY)
        monkeypatch.setenv("LOOKALIKE_ROLLOUT_DEADLINE_S", "20")
        monkeypatch.setattr(rollout, "_SETTLE_S", 20.0)
        yield Site(api, here[0], here[1])


@dataclasses.dataclass(frozen=True)
class Site:
    api: ApiServer
    first: Shop
    second: Shop

    @property
    def live(self) -> LiveRecord:
        found = read_live(self.first.store)
        assert found is not None
        return found.live

    def publish(self, index: Ref) -> None:
        publication.publish_index(self.first.store, index, by="test", cache_dir=self.first.cache_dir)

    def agreed_on(self, index: Ref) -> bool:
        return self.live.index == index and self.api.template[INDEX] == str(index)


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


# Refusals: something about the new pods is wrong


def condition(kind: str, status: str, message: str) -> Callable[[ApiServer], None]:
    def set_it(api: ApiServer) -> None:
        api.broken.add(str(NEW))
        api.deployment["status"]["conditions"] = [{"type": kind, "status": status, "message": message}]

    return set_it


def pause(api: ApiServer) -> None:
    api.broken.add(str(NEW))
    api.deployment["spec"]["paused"] = True


@pytest.mark.parametrize(
    ("happens", "said"),
    [
        (pause, "it is paused: kubectl rollout resume"),
        (condition("ReplicaFailure", "True", "exceeded quota: pods"), "exceeded quota: pods"),
        (condition("Progressing", "False", "has timed out progressing"), "has timed out progressing"),
    ],
    ids=["paused", "no pods may be made", "Kubernetes gave up"],
)
def test_what_stops_the_roll_out_is_said(
    api: ApiServer, search: Search, happens: Callable[[ApiServer], None], said: str
) -> None:
    happens(api)
    with pytest.raises(RolloutRefused, match=said) as refused:
        search().roll_out(NEW, VASE)
    assert "1 of 2 pods are new" in str(refused.value)
    assert f"kubectl --namespace {api_server.NAMESPACE} describe pods" in str(refused.value)


def test_conditions_that_say_all_is_well_stop_nothing(api: ApiServer, search: Search) -> None:
    api.deployment["status"]["conditions"] = [
        {"type": "Progressing", "status": "True", "message": "has successfully progressed"},
        {"type": "ReplicaFailure", "status": "False", "message": "none"},
    ]
    deployed = search()
    deployed.name_snapshot(NEW)
    assert deployed.state().stuck == ""


def test_pods_that_never_come_up_have_a_deadline(api: ApiServer, search: Search) -> None:
    api.broken.add(str(NEW))
    began = time.monotonic()
    with pytest.raises(
        RolloutRefused, match=r"not done after 0\.3 s \(1 of 2 pods are new, 2 of 3 are ready\)"
    ):
        search(deadline_s=0.3).roll_out(NEW, VASE)
    assert 0.3 <= time.monotonic() - began < 10
    assert api.deployment["metadata"]["annotations"][CONFIRMED] == str(OLD)


def test_a_service_that_answers_from_another_snapshot_is_no_success(site: Site, search: Search) -> None:
    """All pods are new, says the Deployment, and yet replies come from the first index."""
    url = RolloutSettings().service_url
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rollout, "_SETTLE_S", 0.2)
        with pytest.raises(RolloutRefused, match=f"it answers from {site.first.index} with 1 hits"):
            search(service_url=url).roll_out(NEW, VASE)
    assert site.api.deployment["metadata"]["annotations"][CONFIRMED] == str(site.first.index)


# No refusals: what goes wrong says nothing about the new snapshot


def test_a_snapshot_that_has_served_is_not_to_blame_for_its_pods(api: ApiServer, search: Search) -> None:
    api.deployment["status"]["availableReplicas"] = 1  # a node has gone
    with pytest.raises(
        RolloutError, match=f"{OLD.id} has served before, so the fault is the cluster's"
    ) as error:
        search(deadline_s=0.1).roll_out(OLD, VASE)
    assert not isinstance(error.value, RolloutRefused)
    assert api.patches == []


def test_somebody_elses_roll_out_ends_ours(api: ApiServer, search: Search) -> None:
    api.broken.add(str(NEW))
    asked = 0

    def rolls_out_another(stage: str, done: int, total: int, note: str = "") -> None:
        nonlocal asked
        asked += 1
        api.template[INDEX] = str(OTHER)

    with pytest.raises(RolloutError, match=f"somebody else rolls out {OTHER} meanwhile") as error:
        search().roll_out(NEW, VASE, progress=rolls_out_another)
    assert asked == 1
    assert not isinstance(error.value, RolloutRefused)


AWAY = [
    pytest.param(Fault(status=429), "answers 429: as the test wants it", id="429"),
    pytest.param(Fault(status=500), "answers 500: as the test wants it", id="500"),
    pytest.param(Fault(status=503, body="<html>a proxy's page</html>"), "answers 503: Service", id="503"),
    pytest.param(Fault(drop=True), "cannot be reached", id="connection drops"),
    pytest.param(Fault(delay_s=1.5), "cannot be reached", id="slow"),
]


@pytest.mark.parametrize(("fault", "said"), AWAY)
def test_an_api_that_is_away_for_a_moment_is_waited_for(
    api: ApiServer, search: Search, fault: Fault, said: str
) -> None:
    api.deployment = api_server.deployment(str(OLD), str(OLD), replicas=0)
    deployed = search()
    deployed.name_snapshot(NEW)
    api.faults["GET"].extend([fault] * 2)
    deployed._wait(NEW, lambda *_: None)
    assert not api.faults["GET"], "it met both"


@pytest.mark.parametrize(("fault", "said"), AWAY)
def test_an_api_that_stays_away_is_an_error_and_no_refusal(
    api: ApiServer, search: Search, fault: Fault, said: str
) -> None:
    deployed = search(deadline_s=0.1)
    deployed.name_snapshot(NEW)
    api.faults["GET"].extend([fault] * 1000)
    with pytest.raises(RolloutError, match=said) as error:
        deployed._wait(NEW, lambda *_: None)
    assert not isinstance(error.value, RolloutRefused)


@pytest.mark.parametrize("method", ["GET", "PATCH"])
@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "this account may not {verb} it: as the test wants it"),
        (403, "this account may not {verb} it: as the test wants it"),
        (404, "does not exist; apply the manifests first"),
        (409, "cannot {verb} it: 409: as the test wants it"),
        (422, "the patch does not fit what is there: as the test wants it"),
        (429, "the Kubernetes API answers 429: as the test wants it"),
        (500, "the Kubernetes API answers 500: as the test wants it"),
    ],
)
def test_each_answer_of_the_api_is_an_error_in_plain_words(
    api: ApiServer, search: Search, method: str, status: int, said: str
) -> None:
    api.faults[method].extend([Fault(status=status)] * 2)
    with pytest.raises(RolloutError) as error:
        search().roll_out(NEW, VASE)
    verb = "read" if method == "GET" else "patch"
    assert f"Deployment {api_server.NAMESPACE}/{api_server.NAME}" in str(error.value)
    assert said.format(verb=verb) in str(error.value)
    assert not isinstance(error.value, RolloutRefused)
    assert api.template == {INDEX: str(OLD)}


def test_another_namespace_and_a_wrong_token_are_the_apis_own_answers(
    api: ApiServer, search: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RolloutError, match="Deployment elsewhere/search does not exist"):
        search(deployment="elsewhere/search").state()
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(kubeconfig.read_text().replace(api_server.TOKEN, "outdated"))
    with pytest.raises(RolloutError, match="this account may not read it: Unauthorized"):
        search().state()
