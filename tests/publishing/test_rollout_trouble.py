"""Roll-outs that go wrong: refused where the new pods are to blame, an error where they are not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lookalike.errors import RolloutError, RolloutRefused
from lookalike.publishing import rollout
from lookalike.publishing.rollout import CONFIRMED, INDEX
from lookalike.settings import RolloutSettings
from tests.publishing import api_server
from tests.publishing.api_server import ApiServer, Fault
from tests.publishing.conftest import NEW, OLD, OTHER, VASE, Search, Site

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
        RolloutRefused, match=r"nothing has moved for 0\.3 s \(1 of 2 pods are new, 2 of 3 are ready\)"
    ):
        search(deadline_s=0.3).roll_out(NEW, VASE)
    assert 0.3 <= time.monotonic() - began < 10
    assert api.deployment["metadata"]["annotations"][CONFIRMED] == str(OLD)


def test_the_deadline_counts_from_the_last_pod_that_was_replaced(api: ApiServer, search: Search) -> None:
    """Ten pods, each slower than a third of the deadline: the whole takes three deadlines, and nothing is wrong."""
    api.deployment = api_server.deployment(str(OLD), str(OLD), replicas=10)
    api.seconds_per_pod = 0.15
    began = time.monotonic()
    with pytest.raises(RolloutRefused, match="does not answer a search"):  # all pods are new; no Service here
        search(deadline_s=0.5).roll_out(NEW, VASE)
    assert time.monotonic() - began >= 1.5


def test_pods_that_come_and_go_do_not_move_a_roll_out(api: ApiServer, search: Search) -> None:
    """One that becomes ready and fails again, over and over, is no progress."""
    api.broken.add(str(NEW))
    deployed = search(deadline_s=0.5)
    deployed.name_snapshot(NEW)
    stop = threading.Event()

    def flap() -> None:
        while not stop.wait(0.05):
            api.deployment["status"]["availableReplicas"] ^= 1  # 2, 3, 2, ...

    flapping = threading.Thread(target=flap)
    flapping.start()
    try:
        with pytest.raises(RolloutRefused, match="nothing has moved"):
            deployed.roll_out(NEW, VASE)
    finally:
        stop.set()
        flapping.join()


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
