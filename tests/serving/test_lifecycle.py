"""What a search process serves, when it is ready, and that a bad snapshot never takes the place of a good one."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from lookalike.coding.encoder import open_encoder
from lookalike.coding.extraction import extract
from lookalike.errors import ReleaseError, ServiceBusy
from lookalike.index.builder import build
from lookalike.publishing.live_ref import publish, read_live, roll_back
from lookalike.ranking.request import Query, SearchRequest
from lookalike.ranking.search import open_searcher
from lookalike.serving.batching import SearchQueue
from lookalike.serving.config import ServingConfig
from lookalike.serving.copies import Copies
from lookalike.serving.decoding import DecodingTurns
from lookalike.serving.lifecycle import Lifecycle
from lookalike.serving.metrics import Metrics
from lookalike.serving.snapshot import open_snapshot
from lookalike.storage.artefacts import Artefact, ArtefactWriter, Kind, Ref, fetch, read_manifest
from lookalike.storage.directory import DirectoryStore
from lookalike.storage.objects import ObjectStore
from tests.serving.running import FarStore, eventually, running
from tests.shop import Shop, open_shop, reindex, render, write_release

VASE = render("home/vase", 5)


@dataclass(frozen=True)
class Town:
    """A store of its own with a small shop and a second index of it."""

    shop: Shop
    larger: Shop

    @property
    def store(self) -> ObjectStore:
        return self.shop.store

    def publish(self, shop: Shop) -> None:
        publish(self.store, shop.release, shop.index, by="test", expected=read_live(self.store))


@pytest.fixture
def town(tmp_path: Path) -> Town:
    shop = open_shop(DirectoryStore(tmp_path / "store"), tmp_path / "cache", per_category=8)
    return Town(shop, reindex(shop, per_category=10))


def test_a_process_becomes_ready_when_something_is_published(town: Town) -> None:
    with running(town.store, town.shop.cache_dir, wait=False) as process:
        assert process.client.get("/livez").status_code == 200
        eventually(lambda: "nothing has been published" in process.client.get("/readyz").text)
        refused = process.client.post("/v1/search", content=VASE)
        assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
        town.publish(town.shop)
        process.until_ready()
        assert process.client.post("/v1/search", content=VASE).status_code == 200


def test_aspect_models_are_ready_before_the_first_photo(shop: Shop) -> None:
    snapshot = open_snapshot(
        Copies(shop.store, shop.cache_dir), shop.release, shop.index, ServingConfig(), threads=1
    )
    assert snapshot.searcher.aspects.models
    assert "_trees" in vars(snapshot.searcher.aspects), "joined, and walked once"


def test_the_live_ref_is_followed_forwards_and_back(town: Town) -> None:
    town.publish(town.shop)
    with running(town.store, town.shop.cache_dir) as process:
        assert process.client.get("/v1/catalogue").json()["listings"] == 48
        town.publish(town.larger)
        process.until_serving(town.larger.index)
        assert process.client.get("/v1/catalogue").json()["listings"] == 60
        live = read_live(town.store)
        assert live is not None
        assert "hold" not in process.client.get("/readyz").json()
        back = roll_back(town.store, by="ada@shop", expected=live, why="not for strangers")
        process.until_serving(town.shop.index)
        reply = process.client.get("/readyz")
        assert (reply.status_code, reply.json()["hold"]) == (200, {"rollback": 3, "since": back.live.at})
        assert "ada" not in reply.text
        assert "strangers" not in reply.text
        assert process.client.get("/v1/catalogue").json()["listings"] == 48


def test_a_pinned_process_stays_where_it_is(town: Town) -> None:
    town.publish(town.larger)
    config = ServingConfig(index=town.shop.index, poll_seconds=0.05, notice_seconds=0)
    with running(town.store, town.shop.cache_dir, config) as process:
        time.sleep(0.2)
        assert process.client.get("/readyz").json()["index"] == str(town.shop.index)


def test_a_damaged_new_snapshot_is_refused_and_the_old_one_goes_on(town: Town) -> None:
    town.publish(town.shop)
    with running(town.store, town.shop.cache_dir) as process:
        damage(town.store, town.larger.index)
        town.publish(town.larger)
        eventually(lambda: "refused" in process.client.get("/readyz").json())
        body = process.client.get("/readyz").json()
        assert body["ready"]
        assert body["index"] == str(town.shop.index)
        assert body["refused"]["index"] == str(town.larger.index)
        assert "digest" in body["refused"]["reason"]
        assert body["refused"]["damaged"], "waiting does not help"
        assert process.client.post("/v1/search", content=VASE).status_code == 200
        assert 'loads_total{result="refused"} 1.0' in process.client.get("/metrics").text
        town.publish(town.shop)
        eventually(lambda: "refused" not in process.client.get("/readyz").json())


def follower(store: ObjectStore, cache_dir: Path) -> Lifecycle:
    """What follows the live ref whenever it is told to `check`."""
    return Lifecycle(store, ServingConfig(poll_seconds=1e-6), Metrics(), cache_dir=cache_dir, threads=1)


def files_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def served_files(*shops: Shop) -> set[str]:
    """The keys of all files that serving these takes."""
    manifests = [read_manifest(s.store, ref) for s in shops for ref in (s.release, s.index, s.curated)]
    left = ("report.json", "photos-", "listing")  # titles stand in the index
    return {e.key for manifest in manifests for e in manifest.files if not e.name.startswith(left)}


def test_fetched_files_are_those_of_the_snapshot_served_and_the_one_before(
    town: Town, tmp_path: Path
) -> None:
    cache = tmp_path / "far"
    process = follower(FarStore(tmp_path / "store"), cache)
    third = reindex(town.shop, per_category=6, prefix="c")
    for published, kept in (
        (town.shop, (town.shop,)),
        (town.larger, (town.shop, town.larger)),
        (third, (town.larger, third)),
        (town.shop, (third, town.shop)),
    ):
        town.publish(published)
        process.check()
        assert process.readiness()[1]["index"] == str(published.index)
        assert files_below(cache) == served_files(*kept)


def test_the_files_of_a_refused_pair_wait_for_another_try_and_no_longer(town: Town, tmp_path: Path) -> None:
    cache = tmp_path / "far"
    process = follower(FarStore(tmp_path / "store"), cache)
    town.publish(town.shop)
    process.check()
    before = files_below(cache)
    damage(town.store, town.larger.curated, "photos.parquet")
    town.publish(town.larger)
    for _ in range(2):
        process.check()
        assert "/curated/" in process.readiness()[1]["refused"]["reason"]
        assert {e.key for e in read_manifest(town.store, town.larger.index).files} <= files_below(cache)
    town.publish(town.shop)
    process.check()
    assert "refused" not in process.readiness()[1]
    assert files_below(cache) == before


def test_no_file_of_a_store_on_this_machine_is_ever_removed(town: Town, tmp_path: Path) -> None:
    third = reindex(town.shop, per_category=6, prefix="c")
    damage(town.store, third.curated, "photos.parquet")
    stored = files_below(tmp_path / "store")
    process = follower(town.store, tmp_path / "store")
    for published in (town.shop, town.larger, third, town.shop, town.larger):
        town.publish(published)
        process.check()
    assert process.readiness()[1]["index"] == str(town.larger.index)
    assert stored <= files_below(tmp_path / "store")


def damage(store: ObjectStore, ref: Ref, name: str | None = None) -> None:
    """Flip one byte of a file of an artefact, of a segment if none is named, in place."""
    entry = next(e for e in read_manifest(store, ref).files if (e.name == name if name else e.size > 1000))
    path = store.local_path(entry.key)
    assert path is not None
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()
    path.write_bytes(data)


def test_an_index_that_another_model_made_is_found_out_by_its_photos(town: Town) -> None:
    """Its manifest claims the right release; the codes in it tell."""
    shop = town.shop
    stranger = write_release(shop.store, shop.listings, shop.cache_dir, seed=5)
    foreign = reindex(shop, per_category=8, release=stranger)
    copies, config = Copies(shop.store, shop.cache_dir), ServingConfig()
    with pytest.raises(ReleaseError, match="built for"):
        open_snapshot(copies, shop.release, foreign.index, config, threads=1)
    posing = pose_as(shop, fetch(shop.store, stranger, shop.cache_dir))
    with pytest.raises(ReleaseError, match="of the bits agree"):
        open_snapshot(copies, posing.release, posing.index, config, threads=1)


def pose_as(shop: Shop, stranger: Artefact) -> Shop:
    """A release with the stranger's network whose extraction was made with the shop's network."""
    writer = ArtefactWriter(shop.store, Kind.RELEASE, inputs={"posing": stranger.ref.digest}, config={})
    for entry in stranger.manifest.files:
        writer.add(entry.name, stranger.path(entry.name))
    release = writer.commit()
    encoder = open_encoder(fetch(shop.store, shop.release, shop.cache_dir), threads=1)
    extraction = extract(shop.store, shop.curated, release, cache_dir=shop.cache_dir, encoder=encoder)
    index = build(shop.store, shop.curated, extraction, cache_dir=shop.cache_dir)
    return Shop(shop.store, shop.cache_dir, shop.listings, shop.curated, release, index)


def test_a_draining_process_says_so_and_still_answers(town: Town) -> None:
    town.publish(town.shop)
    with running(town.store, town.shop.cache_dir) as process:
        process.service.lifecycle.drain()
        reply = process.client.get("/readyz")
        assert (reply.status_code, reply.json()["reasons"]) == (503, ["draining"])
        assert process.client.post("/v1/search", content=VASE).status_code == 200


def test_a_full_queue_refuses_at_once(town: Town) -> None:
    queue = SearchQueue(2, 1, Metrics(), DecodingTurns(1, 1, Metrics()))
    queue.admit()
    queue.admit()
    with pytest.raises(ServiceBusy) as refused:
        queue.admit()
    assert refused.value.retry_after >= 1
    queue.leave()
    queue.admit()


def test_the_crowd_of_one_client_shuts_nobody_else_out() -> None:
    queue = SearchQueue(8, 1, Metrics(), DecodingTurns(1, 1, Metrics()))

    def admitted(client: str, asked: int) -> int:
        taken = 0
        for _ in range(asked):
            with suppress(ServiceBusy):
                queue.admit(client)
                taken += 1
        return taken

    assert admitted("crowd", 100) == 8
    assert admitted("shopper", 100) == 4, "half, as one of two"
    assert admitted("third", 100) == 2
    others = sum(admitted(f"address {i}", 2) for i in range(100))
    assert others == 2, "however many come, at most twice the limit"
    for _ in range(8):
        queue.leave("crowd")
    assert admitted("crowd", 1) == 1


def test_a_crowd_beyond_the_queue_gets_503_and_the_rest_right_answers(town: Town) -> None:
    town.publish(town.shop)
    config = ServingConfig(poll_seconds=0.05, notice_seconds=0, queue_limit=2)
    with running(town.store, town.shop.cache_dir, config) as process:
        expected = process.client.post("/v1/search", content=VASE).json()["hits"]
        with ThreadPoolExecutor(16) as pool:
            replies = list(pool.map(lambda _: process.client.post("/v1/search", content=VASE), range(60)))
        assert {reply.status_code for reply in replies} <= {200, 503}
        answered = [reply.json()["hits"] for reply in replies if reply.status_code == 200]
        assert answered
        assert all(hits == expected for hits in answered)
        assert all("retry-after" in reply.headers for reply in replies if reply.status_code == 503)


def test_a_search_past_its_deadline_is_refused_before_it_is_decoded_and_after(town: Town) -> None:
    decoded = []

    def slowly(until: float) -> Query:
        decoded.append(until)
        eventually(lambda: time.monotonic() > until)
        return Query(SearchRequest(), listing_id="3-005")

    async def ask() -> None:
        queue = SearchQueue(2, 1, Metrics(), DecodingTurns(1, 1, Metrics()))
        queue.start()
        files = (fetch(town.store, ref, town.shop.cache_dir) for ref in (town.shop.release, town.shop.index))
        searcher = open_searcher(*files, threads=1)
        try:
            assert (await queue.search(searcher, lambda: slowly(0), time.monotonic() + 100)).hits
            soon, gone = time.monotonic() + 2, time.monotonic() - 1
            for deadline in soon, gone:
                with pytest.raises(ServiceBusy, match="deadline"):
                    await queue.search(searcher, lambda until=deadline: slowly(until), deadline)
            assert decoded == [0, soon], "what is late already is not decoded"
        finally:
            queue.stop()

    asyncio.run(ask())


def test_sigterm_gives_notice_finishes_and_ends(town: Town) -> None:
    """The real process: as `lookalike serve` runs it."""
    town.publish(town.shop)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = (
        "from pathlib import Path; from lookalike import serving; "
        f"serving.run({town.store.uri!r}, port={port}, threads=1, cache_dir=Path({str(town.shop.cache_dir)!r}), "
        "config=serving.ServingConfig(notice_seconds=0.5))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            eventually(lambda: answers(client), 60)
            process.send_signal(signal.SIGTERM)
            eventually(lambda: client.get("/readyz").status_code == 503)
            last = client.post("/v1/search", content=VASE)
            assert last.status_code == 200, "it still answers while draining"
            assert last.headers["connection"] == "close", "so that no later request meets the end"
        assert process.wait(20) == 0
        assert process.stderr is not None
        assert "draining" in process.stderr.read()
    finally:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False
