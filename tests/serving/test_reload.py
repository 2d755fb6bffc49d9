"""Index and model change under eight clients that never stop asking: no request fails, no reply mixes releases."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np

from lookalike.serving.config import ServingConfig
from lookalike.storage.directory import DirectoryStore
from tests.serving.running import eventually, running
from tests.shop import follow, go_live, open_shop, reindex, render, write_release

CLIENTS = 8
STEADY_SECONDS = 1.0


@dataclass
class Seen:
    """What the clients got: (status, release, index, first listing's prefix, seconds, when)."""

    replies: list[tuple[int, str, str, str, float, float]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def of(self, index: str) -> bool:
        """Whether a reply has come from this index."""
        return any(reply[2] == index for reply in self.replies)


def ask_until(stop: threading.Event, port: int, seen: Seen) -> None:
    body = render("home/vase", 3)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
        while not stop.is_set():
            started = time.monotonic()
            try:
                reply = client.post("/v1/search?k=3", content=body)
                answer = reply.json()
                first = answer["hits"][0]["listing_id"][0] if answer.get("hits") else ""
                record = (reply.status_code, answer.get("release", ""), answer.get("index", ""), first)
                seen.replies.append((*record, time.monotonic() - started, started))
            except (httpx.HTTPError, ValueError) as error:
                seen.errors.append(repr(error))


def test_two_indexes_and_a_model_are_swapped_without_a_failed_request(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    a = open_shop(store, tmp_path / "cache", per_category=8, prefix="a")
    b = reindex(a, per_category=10, prefix="b")
    c = reindex(a, per_category=6, prefix="c")
    other = write_release(store, a.listings, tmp_path / "cache", seed=7, side=128)
    d = reindex(a, per_category=9, prefix="d", release=other)
    pairs = {str(s.index): (str(s.release), s.listings[0].listing_id[0]) for s in (a, b, c, d)}
    go_live(a)
    seen, stop = Seen(), threading.Event()
    with running(store, tmp_path / "cache", ServingConfig(poll_seconds=0.05, notice_seconds=0)) as process:
        clients = [
            threading.Thread(target=ask_until, args=(stop, process.port, seen)) for _ in range(CLIENTS)
        ]
        for client in clients:
            client.start()
        try:
            time.sleep(STEADY_SECONDS)
            swaps_began = time.monotonic()
            for following in (b, c, d):
                go_live(following)
                process.until_serving(following.index)
                eventually(lambda index=str(following.index): seen.of(index))
        finally:
            stop.set()
            for client in clients:
                client.join()
    assert not seen.errors
    assert {reply[0] for reply in seen.replies} == {200}
    assert {reply[2] for reply in seen.replies} == set(pairs), "every snapshot was answered from"
    mixed = [reply for reply in seen.replies if pairs[reply[2]] != (reply[1], reply[3])]
    assert not mixed, "release, index and hits of a reply belong together"
    steady, during = (
        np.percentile([r[4] for r in seen.replies if (r[5] >= swaps_began) == swapping], 99)
        for swapping in (False, True)
    )
    print(
        f"p99 steady {steady * 1e3:.0f} ms, while swapping {during * 1e3:.0f} ms, {len(seen.replies)} requests"
    )
    assert during < 5, "swapping must not stop answering"


def test_deltas_are_swapped_without_a_failed_request(tmp_path: Path) -> None:
    shop = open_shop(DirectoryStore(tmp_path / "store"), tmp_path / "cache", per_category=10)
    go_live(shop)
    seen, stop = Seen(), threading.Event()
    with running(
        shop.store, tmp_path / "cache", ServingConfig(poll_seconds=0.05, notice_seconds=0)
    ) as process:
        clients = [
            threading.Thread(target=ask_until, args=(stop, process.port, seen)) for _ in range(CLIENTS)
        ]
        for client in clients:
            client.start()
        try:
            latest = shop
            for sold in range(3):
                latest = follow(latest, latest.listings[1:])
                go_live(latest)
                eventually(lambda tip=str(latest.index): process.client.get("/readyz").json()["delta"] == tip)
                answered = len(seen.replies) + CLIENTS
                eventually(lambda count=answered: len(seen.replies) > count)
                assert process.client.get(f"/v1/listings/{shop.listings[sold].listing_id}").status_code == 404
        finally:
            stop.set()
            for client in clients:
                client.join()
    assert not seen.errors
    assert {reply[0] for reply in seen.replies} == {200}
    assert {reply[2] for reply in seen.replies} == {str(shop.index)}, "the base stays"
