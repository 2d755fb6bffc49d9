"""What the data gate refused, over the console's HTTP: shown, exported, and published on an operator's word."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from lookalike.errors import DataGateError
from lookalike.publishing import live_ref, publication
from lookalike.settings import S3Settings
from lookalike.storage import audit
from lookalike.storage.artefacts import Ref
from lookalike.storage.directory import DirectoryStore
from lookalike.storage.stores import open_store
from tests.console.running import running
from tests.console.test_access import log_in
from tests.shop import Shop, open_shop, reindex


@pytest.fixture
def rolled(tmp_path: Path) -> Shop:
    """A shop of 48 listings, the second generation that was published."""
    shop = open_shop(DirectoryStore(tmp_path / "store"), tmp_path / "cache", per_category=6)
    for pair in (shop, reindex(shop, per_category=8)):
        publication.publish_index(shop.store, pair.index, by="test", cache_dir=shop.cache_dir)
    return shop


@pytest.fixture
def client(rolled: Shop) -> Iterator[httpx.Client]:
    with running(rolled.store, rolled.cache_dir) as made:
        yield made


@pytest.fixture
def cut(rolled: Shop) -> Ref:
    """An index of a fifth of the catalogue, which a flow could not publish."""
    index = reindex(rolled, per_category=2).index
    with pytest.raises(DataGateError):
        publication.publish_index(rolled.store, index, by="worker (flow run x)", cache_dir=rolled.cache_dir)
    return index


def metric(client: httpx.Client, name: str) -> float:
    reply = client.get("/metrics")
    assert reply.headers["content-type"].startswith("text/plain")
    found = re.search(rf"^{name} (\S+)$", reply.text, re.MULTILINE)
    assert found is not None
    return float(found[1])


def accept(client: httpx.Client, index: object, headers: dict[str, str]) -> httpx.Response:
    return client.post(
        "/api/actions/accept", json={"confirm": "accept", "index": str(index)}, headers=headers
    )


def test_a_refusal_is_shown_counted_and_accepted(client: httpx.Client, rolled: Shop) -> None:
    assert client.get("/api/state").json()["refused"] is None
    assert metric(client, "lookalike_publication_refused") == 0
    assert metric(client, "lookalike_live_timestamp_seconds") > 1.7e9
    assert metric(client, "lookalike_live_listings") > 0
    assert metric(client, "lookalike_prefect_up") == 0  # nobody listens there
    index = reindex(rolled, per_category=2).index
    with pytest.raises(DataGateError):
        publication.publish_index(rolled.store, index, by="worker (flow run x)", cache_dir=rolled.cache_dir)

    refused = client.get("/api/state").json()["refused"]
    assert (refused["index"], refused["by"]) == (str(index), "worker (flow run x)")
    assert "listings 48 -> 12 (at most 9 fewer)" in refused["why"]
    assert metric(client, "lookalike_publication_refused") == 1
    assert metric(client, "lookalike_publication_refused_timestamp_seconds") > 1.7e9

    reply = accept(client, index, log_in(client))
    assert reply.status_code == 200
    live = live_ref.read_live(rolled.store)
    assert live is not None
    assert (live.live.index, live.live.by) == (index, "Ada (console)")
    assert client.get("/api/state").json()["refused"] is None
    assert metric(client, "lookalike_publication_refused") == 0
    done, accepted, asked, _ = audit.recent(rolled.store, 9)
    assert (asked.by, asked.action, asked.outcome) == ("Ada", "accept", audit.ASKED)
    assert (accepted.by, accepted.action) == ("Ada (console)", "data-gate")
    assert accepted.detail["numbers"]["listings"] == {"live": "48", "new": "12", "bound": "at most 9 fewer"}
    assert done.outcome.startswith("done: #3 is live")


def test_only_an_operator_accepts_and_only_what_was_refused(
    client: httpx.Client, rolled: Shop, cut: Ref
) -> None:
    assert accept(client, cut, {}).status_code == 401
    headers = log_in(client)
    assert accept(client, cut, {}).status_code == 403
    for other in (rolled.index, "", "x"):
        reply = accept(client, other, headers)
        assert reply.status_code == 409
        assert "look again, and name its index" in reply.json()["detail"]
    live = live_ref.read_live(rolled.store)
    assert live is not None
    assert live.live.sequence == 2


def test_numbers_against_something_else_are_not_accepted(
    client: httpx.Client, rolled: Shop, cut: Ref
) -> None:
    publication.roll_back(rolled.store, by="somebody else", cache_dir=rolled.cache_dir)
    reply = accept(client, cut, log_in(client))
    assert reply.status_code == 409
    assert "something else is live by now" in reply.json()["detail"]


def test_the_alarm_ends_with_the_next_publication(client: httpx.Client, rolled: Shop, cut: Ref) -> None:
    assert metric(client, "lookalike_publication_refused") == 1
    mended = reindex(rolled, per_category=9).index
    publication.publish_index(rolled.store, mended, by="worker", cache_dir=rolled.cache_dir)
    assert metric(client, "lookalike_publication_refused") == 0


def test_without_the_store_the_scrape_fails_instead_of_saying_that_all_is_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    nobody_listens = S3Settings(endpoint_url="http://127.0.0.1:9", attempts=1)
    with running(open_store("s3://shop/away", nobody_listens), tmp_path) as client:
        assert client.get("/metrics").status_code == 502
