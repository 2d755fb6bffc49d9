"""What shoppers see and click: sent to the real server, written to the store, and read by the evaluation."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lookalike.client import Client
from lookalike.errors import CorruptObject, StoreUnavailable
from lookalike.quality import events as quality
from lookalike.quality.events import SCHEMA, fit_blend, read_events, report
from lookalike.serving import keys
from lookalike.serving.access import AccessConfig
from lookalike.serving.config import ServingConfig
from lookalike.serving.events import EventLog, EventsConfig
from lookalike.serving.metrics import Metrics
from lookalike.storage.directory import DirectoryStore
from tests.serving.running import Running, eventually, running
from tests.serving.test_api import conforms
from tests.shop import Shop, own_store, render

PHOTO = render("home/vase", 4)


class Away(DirectoryStore):
    """A store that cannot be written to while `away`."""

    away = False

    def put(self, key: str, data: bytes, **condition: Any) -> str:
        if self.away:
            raise StoreUnavailable(key, "the store is away")
        return super().put(key, data, **condition)


@pytest.fixture
def store(shop: Shop, tmp_path: Path) -> Away:
    """The shop's artefacts, with events of its own."""
    return Away(own_store(shop, tmp_path / "store"))


def config_of(shop: Shop, **events: Any) -> ServingConfig:
    return ServingConfig(index=shop.index, notice_seconds=0, events=EventsConfig(**{"share": 1.0} | events))


@pytest.fixture
def process(shop: Shop, store: Away) -> Iterator[Running]:
    with running(store, shop.cache_dir, config_of(shop, flush_seconds=0.05)) as process:
        yield process


def search(client: httpx.Client, **parameters: Any) -> dict[str, Any]:
    reply = client.post("/v1/search", params={"k": 5} | parameters, content=PHOTO)
    assert reply.status_code == 200, reply.text
    body: dict[str, Any] = reply.json()
    conforms(body, "Answer")
    return body


def event(answer: dict[str, Any], place: int, kind: str, *, offset: int = 0) -> dict[str, Any]:
    hit = answer["hits"][place]
    return {
        "event": kind, "answer_id": answer["answer_id"], "listing_id": hit["listing_id"],
        "rank": place + 1 + offset,
    }  # fmt: skip


def send(client: httpx.Client, *events: dict[str, Any]) -> httpx.Response:
    return client.post("/v1/events", content=json.dumps({"events": list(events)}))


def test_what_was_seen_and_clicked_is_reported_by_rank_and_blend(process: Running, store: Away) -> None:
    first, second = search(process.client), search(process.client, alpha=0.5, offset=5)
    assert "explain" not in first
    assert "explain" not in first["hits"][0]
    seen = [event(first, place, "impression") for place in range(3)]
    seen += [event(second, 0, "impression", offset=5)]
    reply = send(process.client, *seen, event(first, 1, "click"), event(second, 4, "click", offset=5))
    assert (reply.status_code, reply.json()) == (202, {"kept": 6})
    send(process.client, event(first, 1, "click"))  # twice, as people do
    send(process.client, {"event": "click", "answer_id": "x" * 22, "listing_id": "forged", "rank": 1})
    eventually(lambda: report(store)["unmatched_events"] == 1)
    found = report(store)
    assert (found["answers"], found["answers_seen"], found["answers_clicked"]) == (2, 2, 2)
    assert {rank: (rate["shown"], rate["clicked"]) for rank, rate in found["by_rank"].items()} == {
        "1": (1, 0), "2": (1, 1), "3": (1, 0), "6": (1, 0), "10": (1, 1),
    }  # fmt: skip
    assert found["by_blend"]["0.75"]["shown"] == 3
    assert found["by_blend"]["0.5"]["clicked"] == 1
    assert found["blend"] == {"pairs": 2, "needed": 200, "best": None}


def test_the_python_client_sends_them(process: Running, store: Away) -> None:
    client = Client(f"http://127.0.0.1:{process.port}")
    answer = client.search(PHOTO, k=3, offset=2)
    assert client.send_events(answer, [("impression", 0), ("click", 2)], offset=2) == 2
    eventually(lambda: report(store)["by_rank"].keys() == {"3", "5"})


def test_files_hold_nothing_about_who_asked(process: Running, store: Away) -> None:
    answer = search(process.client, explain=True)
    assert answer["hits"][0]["explain"]["appearance"] == 1
    send(process.client, event(answer, 0, "click"))
    eventually(lambda: sum(table.num_rows for table in read_events(store)) == 6)
    table = pa.concat_tables(read_events(store))
    assert table.schema == SCHEMA
    assert set(table["answer_id"].to_pylist()) == {answer["answer_id"]}
    assert {at.second for at in table["minute"].to_pylist()} == {0}
    with_more = event(answer, 0, "click") | {"user": "somebody@example.com"}
    refused = send(process.client, with_more)
    assert refused.status_code == 400
    assert "answer_id, event, listing_id, rank and nothing else" in refused.json()["detail"]


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{}", b"[]", b'{"events": []}', b'{"events": [1]}', b"\xff",
        json.dumps({"events": [{"event": "look", "answer_id": "x" * 22, "listing_id": "a", "rank": 1}]}).encode(),
        json.dumps({"events": [{"event": "click", "answer_id": "x", "listing_id": "a", "rank": 1}]}).encode(),
        json.dumps({"events": [{"event": "click", "answer_id": "x" * 22, "listing_id": "", "rank": 1}]}).encode(),
        json.dumps({"events": [{"event": "click", "answer_id": "x" * 22, "listing_id": "a", "rank": 0}]}).encode(),
        json.dumps({"events": [{"event": "click", "answer_id": "x" * 22, "listing_id": "a", "rank": True}]}).encode(),
    ],
)  # fmt: skip
def test_what_is_no_event_is_refused(process: Running, body: bytes) -> None:
    reply = process.client.post("/v1/events", content=body)
    assert (reply.status_code, reply.json()["type"]) == (400, "urn:lookalike:problem:query")
    assert process.client.post("/v1/events", content=b" " * 300_000).status_code == 413


def test_the_last_events_are_written_when_the_process_ends(shop: Shop, store: Away) -> None:
    with running(store, shop.cache_dir, config_of(shop, flush_seconds=3600)) as process:
        send(process.client, event(search(process.client), 0, "click"))
        assert list(store.list("events/")) == []
    assert report(store)["answers_clicked"] == 1


def test_a_store_that_is_away_costs_no_search_and_no_event(shop: Shop, store: Away) -> None:
    with running(store, shop.cache_dir, config_of(shop, flush_seconds=0.05, buffer=12)) as process:
        store.away = True
        answers = [search(process.client) for _ in range(4)]
        reply = send(process.client, event(answers[0], 0, "click"))
        assert (reply.status_code, reply.json()["kept"]) == (202, 0)
        metrics = process.client.get("/metrics").text
        assert 'lookalike_events_total{result="kept"} 12.0' in metrics
        assert 'lookalike_events_total{result="dropped"} 9.0' in metrics
        store.away = False
    assert sum(table.num_rows for table in read_events(store)) == 12


def test_only_a_share_is_kept_and_by_default_none(shop: Shop, store: Away) -> None:
    log = EventLog(store, EventsConfig(share=0.25), Metrics())
    assert 150 < sum(log.sampled() for _ in range(1000)) < 350
    with running(store, shop.cache_dir, config_of(shop, share=0.0)) as process:
        answer = search(process.client)
        assert answer["answer_id"] is None
        reply = send(process.client, event(answer | {"answer_id": "x" * 22}, 0, "click"))
        assert (reply.status_code, reply.json()) == (202, {"kept": 0})
    assert list(store.list("events/")) == []


def test_events_need_a_key_of_their_own_scope(shop: Shop, store: Away, tmp_path: Path) -> None:
    searching, telling = keys.new_key(), keys.new_key()
    file = tmp_path / "keys.txt"
    file.write_text(
        keys.line_of(searching, "a", ("search",)) + "\n" + keys.line_of(telling, "b", ("events",)) + "\n"
    )
    access = AccessConfig(keys_file=file, public=("search", "page", "photos"))
    config = dataclasses.replace(config_of(shop), access=access)
    click = {"event": "click", "answer_id": "x" * 22, "listing_id": "a", "rank": 1}
    with running(store, shop.cache_dir, config) as process:
        for key, status in (("", 401), (searching, 403), (telling, 202)):
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            reply = process.client.post("/v1/events", json={"events": [click]}, headers=headers)
            assert reply.status_code == status


def test_the_fit_finds_the_blend_that_clicks_follow() -> None:
    rng = np.random.default_rng(5)
    ahead = rng.normal(size=(4000, 2))
    liked = 0.3 * ahead[:, 0] + 0.7 * ahead[:, 1] + rng.normal(scale=0.05, size=4000)
    ahead *= np.sign(liked)[:, None]
    found = fit_blend(np.column_stack([ahead, np.full(4000, 0.75)]))
    assert found["best"] == pytest.approx(0.3, abs=0.05)
    assert found["then"] > 0.95 > found["now"]
    assert 0 < found["gain_from"] < found["gain_to"]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.put("events/2026-01-02/120000-ab.parquet", b"none")
    with pytest.raises(CorruptObject, match=r"events/2026-01-02/120000-ab\.parquet"):
        report(store)
    other = tmp_path / "other.parquet"
    pq.write_table(pa.table({"kind": ["click"]}), other)
    store.put("events/2026-01-02/120000-ab.parquet", other.read_bytes())
    with pytest.raises(CorruptObject):
        list(quality.read_events(store))
