"""A front over HTTP, its rankers, and what happens when something is published, damaged, or asked by a stranger."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from lookalike.errors import SettingsError
from lookalike.index.segment import segment_name
from lookalike.serving import holdings
from lookalike.serving.config import ServingConfig
from lookalike.serving.description import openapi
from lookalike.serving.holdings import Holdings, Part
from lookalike.serving.metrics import Metrics
from lookalike.sharding.fleet import FleetConfig
from lookalike.storage.artefacts import Ref, read_manifest
from lookalike.storage.directory import DirectoryStore
from lookalike.storage.objects import ObjectStore
from tests.serving.running import FarStore, Running, eventually, running
from tests.sharding.conftest import SHARDS, go_live, in_shards
from tests.sharding.running import Ranker, rankers
from tests.shop import Shop, follow, render

PARTS = [f"{part}/{SHARDS}" for part in range(SHARDS)]
VASE = render("home/vase", 5)


@contextmanager
def front(
    shop: Shop, fleet: list[Ranker], *, index: Ref | None = None, deadline: float = 5
) -> Iterator[Running]:
    urls = tuple(ranker.wire.url for ranker in fleet)
    fleet_config = FleetConfig(urls, deadline_seconds=deadline, poll_seconds=0.05, open_seconds=3)
    config = ServingConfig(index=index, poll_seconds=0.05, notice_seconds=0, rankers=fleet_config)
    with running(shop.store, shop.cache_dir, config, wait=False) as process:
        yield process


def _timeless(reply: dict[str, Any]) -> dict[str, Any]:
    """A reply without what follows from when it was made: of its `query_id` the end and the signature."""
    kept = (reply["query_id"] or "")[12:-24]
    return {name: said for name, said in reply.items() if name != "milliseconds"} | {"query_id": kept}


def test_a_front_answers_as_a_process_that_holds_the_index(town: Shop) -> None:
    with (
        rankers(town.store, town.cache_dir, PARTS) as fleet,
        front(town, fleet) as sharded,
        running(town.store, town.cache_dir) as whole,
    ):
        sharded.until_ready()
        for path in "/v1/catalogue", "/v1/listings/3-005":
            assert sharded.client.get(path).json() == whole.client.get(path).json()
        assert sharded.client.get("/v1/listings/nobody").status_code == 404
        for target in "/v1/search?k=30&price=6..", "/v1/search?listing_id=3-005":
            body = b"" if "listing_id" in target else VASE
            ours, theirs = (p.client.post(target, content=body).json() for p in (sharded, whole))
            assert _timeless(ours) == _timeless(theirs)
            assert "partial" not in ours
        assert sharded.client.post("/v1/search?listing_id=nobody").status_code == 404
        for aspects, status in ("brand=Acme", 200), ("brand=Nobody", 200), ("brnad=Acme", 400):
            ours, theirs = (
                p.client.post("/v1/search", params={"aspects": aspects}, content=VASE)
                for p in (sharded, whole)
            )
            assert (ours.status_code, theirs.status_code) == (status, status)
            assert ours.json().get("detail") == theirs.json().get("detail")
        assert 'lookalike_index_bytes{state="mapped"} 0.0' in sharded.client.get("/metrics").text


def test_front_and_rankers_go_to_a_delta_together(town: Shop) -> None:
    """Rankers fetch the delta's files alone; a reply of either generation is that of a process that holds all of it."""
    first, _, *rest = town.listings
    moved = replace(first, category="home/vase", photo=render("home/vase", 31), price=None)
    after = follow(town, (moved, *rest))
    store = Counting(town.store.root)  # type: ignore[attr-defined]
    with (
        rankers(store, town.cache_dir / "rankers", PARTS) as fleet,
        front(town, fleet) as sharded,
    ):
        sharded.until_ready()
        before = dict(store.downloads)
        go_live(after)
        eventually(lambda: sharded.client.get("/readyz").json()["delta"] == str(after.index))
        fetched = {key.partition("/")[0] for key in store.downloads.keys() - before.keys()}
        assert fetched == {"deltas"}
        with running(town.store, town.cache_dir / "whole") as whole:
            for path in "/v1/catalogue", f"/v1/listings/{first.listing_id}":
                assert sharded.client.get(path).json() == whole.client.get(path).json()
            for target in "/v1/search?k=30", f"/v1/search?listing_id={first.listing_id}":
                body = b"" if "listing_id" in target else VASE
                ours, theirs = (p.client.post(target, content=body).json() for p in (sharded, whole))
                del ours["milliseconds"], theirs["milliseconds"]
                assert ours == theirs
                assert ours["delta"] == str(after.index)
        sold = town.listings[1].listing_id
        assert sharded.client.get(f"/v1/listings/{sold}").status_code == 404


class Counting(FarStore):
    """Notes each object that leaves the store as a file."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.downloads: dict[str, Path] = {}

    def download(self, key: str, path: Path) -> None:
        self.downloads[key] = path
        super().download(key, path)


def test_a_bare_process_answers_without_photos(town: Shop) -> None:
    config = ServingConfig(index=town.index, bare=True, notice_seconds=0)
    with running(town.store, town.cache_dir, config) as process:
        hits = process.client.post("/v1/search?k=3", content=VASE).json()["hits"]
        assert all(hit["title"].startswith("Vase") for hit in hits)
        assert process.client.get(f"/v1/photos/{hits[0]['photo_id']}").status_code == 404
        assert process.client.get("/v1/listings/3-005").json()["title"] == "Vase no. 5"


def test_a_reply_without_a_shard_says_so(town: Shop) -> None:
    with rankers(town.store, town.cache_dir, PARTS) as fleet, front(town, fleet) as process:
        process.until_ready()
        fleet[1].wire.cut()
        reply = process.client.post("/v1/search?k=3", content=VASE)
        assert reply.status_code == 200
        assert reply.json()["partial"] == {"missing_shards": [1]}
        assert len(reply.json()["hits"]) == 3
        schema = openapi()["components"]["schemas"]["Answer"]
        assert set(reply.json()) <= set(schema["properties"])
        assert process.client.get("/readyz").status_code == 200, "most of the index is better than none"


def test_searches_wait_for_rankers_side_by_side(town: Shop) -> None:
    """One slow shard holds up the searches that it is asked for, not those that come after."""
    with rankers(town.store, town.cache_dir, PARTS) as fleet, front(town, fleet, deadline=60) as process:
        process.until_ready()
        fleet[1].wire.clog()
        done: list[int] = []

        def search() -> None:
            reply = httpx.post(f"http://127.0.0.1:{process.port}/v1/search?k=3", content=VASE, timeout=100)
            done.append(reply.status_code)

        waiting = threading.Thread(target=search)
        waiting.start()
        batches = process.service.metrics.batch_queries
        eventually(lambda: batches._sum.get() == 1)
        second = threading.Thread(target=search)
        second.start()
        eventually(lambda: batches._sum.get() == 2, 30)  # taken while the first still waits
        assert not done
        fleet[1].wire.clear()
        waiting.join()
        second.join()
        assert done == [200, 200]


@dataclass
class Asker:
    """A client that never pauses, and what it got: (status, index, prefix of the first hit, partial)."""

    port: int
    replies: list[tuple[int, str, str, bool]] = field(default_factory=list)

    def ask_until(self, stop: threading.Event) -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=20) as client:
            while not stop.is_set():
                reply = client.post("/v1/search?k=3", content=VASE)
                body = reply.json()
                first = body["hits"][0]["listing_id"][0] if body.get("hits") else ""
                self.replies.append((reply.status_code, body.get("index", ""), first, "partial" in body))


def test_rankers_and_front_change_over_without_a_failed_or_mixed_reply(
    town: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holdings, "NAMED_SECONDS", 1.0)
    newer = in_shards(town, per_category=10, prefix="b")
    belongs = {str(town.index): "3", str(newer.index): "b"}
    stop = threading.Event()
    with rankers(town.store, town.cache_dir, PARTS) as fleet, front(town, fleet) as process:
        process.until_ready()
        asker = Asker(process.port)
        thread = threading.Thread(target=asker.ask_until, args=(stop,))
        thread.start()
        try:
            eventually(lambda: len(asker.replies) > 10)
            go_live(newer)
            process.until_serving(newer.index)
            seen = len(asker.replies)
            eventually(lambda: len(asker.replies) > seen + 10)
        finally:
            stop.set()
            thread.join()
        assert {(status, partial) for status, _, _, partial in asker.replies} == {(200, False)}
        assert {(index, first) for _, index, first, _ in asker.replies} == set(belongs.items())
        held = fleet[0].service.lifecycle.state
        eventually(lambda: list(held()["held"]) == [str(newer.index)])


def test_a_front_that_stays_behind_keeps_its_index(town: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holdings, "NAMED_SECONDS", 1.0)
    newer = in_shards(town, per_category=10, prefix="b")
    with (
        rankers(town.store, town.cache_dir, PARTS) as fleet,
        front(town, fleet, index=town.index) as behind,
    ):
        behind.until_ready()
        go_live(newer)
        with front(town, fleet, index=newer.index) as ahead:
            ahead.until_ready()
            for process, index in (behind, town.index), (ahead, newer.index):
                reply = process.client.post("/v1/search?k=3", content=VASE).json()
                assert (reply["index"], "partial" in reply) == (str(index), False)


def test_a_damaged_shard_is_refused_by_its_ranker_and_the_old_answers_go_on(town: Shop) -> None:
    newer = in_shards(town, per_category=10, prefix="b")
    name = segment_name(1, SHARDS)
    damage(town.store, newer.index, name)
    with rankers(town.store, town.cache_dir, PARTS) as fleet, front(town, fleet) as process:
        process.until_ready()
        go_live(newer)
        eventually(lambda: "refused" in process.client.get("/readyz").json())
        refused = process.client.get("/readyz").json()["refused"]
        assert refused["index"] == str(newer.index)
        assert "segment-001-of-003" in refused["reason"], "whatever else is not held yet"
        assert refused["damaged"], "waiting does not help"
        reply = process.client.post("/v1/search?k=3", content=VASE).json()
        assert (reply["index"], "partial" in reply) == (str(town.index), False)


def damage(store: ObjectStore, ref: Ref, name: str) -> None:
    path = store.local_path(read_manifest(store, ref).file(name).key)
    assert path is not None
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()
    path.write_bytes(data)


def test_a_ranker_fetches_its_own_segments_only_and_removes_them_again(town: Shop, tmp_path: Path) -> None:
    store = FarStore(tmp_path / "store")
    cache = tmp_path / "far"
    mine = Holdings(store, Part(1, SHARDS), ServingConfig(), Metrics(), cache_dir=cache, threads=1)
    mine.check()
    assert mine.readiness()[0]
    assert mine.state()["held"] == {str(town.index): [1]}
    (fetched,) = cache.rglob("segment-*")
    assert fetched.name.startswith("segment-001-of-003")
    assert mine.memory().mapped == fetched.stat().st_size
    newer = in_shards(town, per_category=10, prefix="b")
    go_live(newer)
    mine.check()
    assert list(mine.state()["held"]) == [str(newer.index)]
    assert not fetched.exists()


def test_a_ranker_removes_what_it_fetched_of_a_refused_index(town: Shop, tmp_path: Path) -> None:
    cache = tmp_path / "far"
    mine = Holdings(
        FarStore(tmp_path / "store"),
        Part(0, 1),
        ServingConfig(),
        Metrics(),
        cache_dir=cache,
        threads=1,
    )
    mine.check()
    held = set(cache.rglob("segment-*"))
    newer = in_shards(town, per_category=10, prefix="b")
    damage(town.store, newer.index, segment_name(1, SHARDS))
    go_live(newer)
    mine.check()
    assert str(newer.index) in mine.state()["refused"]
    assert set(cache.rglob("segment-*")) > held, "the shard before the damaged one, for another try"
    go_live(town)
    mine.check()
    assert set(cache.rglob("segment-*")) == held


def test_a_ranker_without_anything_live_is_not_ready(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    empty = Holdings(store, Part(0, 1), ServingConfig(), Metrics(), cache_dir=tmp_path, threads=1)
    empty.check()
    ready, body = empty.readiness()
    assert not ready
    assert body["reasons"] == ["nothing has been published yet"]


def test_strangers_questions_are_refused(town: Shop) -> None:
    with rankers(town.store, town.cache_dir, ["0/3"]) as (ranker,):
        client = httpx.Client(base_url=f"http://127.0.0.1:{ranker.port}", timeout=60)
        eventually(lambda: client.get("/readyz").status_code == 200)
        ours = f"index={town.index}&shard=0"
        other = Ref(town.index.kind, town.index.id, "0" * 64)
        assert client.get(f"/v1/summary?index={other}&shard=0").status_code == 409
        assert client.get(f"/v1/summary?index={town.index}&shard=1").status_code == 409, "a twin's"
        assert client.get("/v1/summary?index=nonsense&shard=0").status_code == 400
        assert client.get(f"/v1/summary?index={town.index}&shard=-1").status_code == 400
        for body in b"", b"nonsense", b"\xff" * 1000:
            assert client.post(f"/v1/nearest?{ours}", content=body).status_code == 400
        assert client.get("/livez").status_code == 200
        assert "lookalike_ready 1.0" in client.get("/metrics").text
        client.close()


@pytest.mark.parametrize(
    ("text", "shards"),
    [("0/3", [0, 3, 6]), ("2/3", [2, 5]), ("0/1", list(range(8))), ("ordinal/3", [1, 4, 7])],
)
def test_a_part_is_every_nth_shard(text: str, shards: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "lookalike-ranker-4")
    assert list(Part.parse(text).shards(8)) == shards


@pytest.mark.parametrize("text", ["3/3", "1", "a/3", "1/0", "-1/3", "1/3/5"])
def test_a_part_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="--part"):
        Part.parse(text)


@pytest.mark.parametrize(
    "url", ["https://ranker:8001", "ranker:8001", "http://ranker", "http://ranker:8001/x"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="http://host:port"):
        FleetConfig((url,))
