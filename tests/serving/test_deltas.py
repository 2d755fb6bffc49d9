"""A search process goes from delta to delta: it fetches what it lacks, keeps what it has, and answers as it should."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lookalike.index.builder import build
from lookalike.publishing import publication
from lookalike.publishing.live_ref import read_live, roll_back
from lookalike.serving.config import ServingConfig
from lookalike.storage.artefacts import Kind, read_manifest
from tests.serving.running import FarStore, Running, eventually, running
from tests.shop import Listing, Shop, follow, go_live, open_shop, reindex, render


class Counting(FarStore):
    """Counts the bytes of each object that leaves the store as a file."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.downloaded: dict[str, int] = {}

    def download(self, key: str, path: Path) -> None:
        super().download(key, path)
        self.downloaded[key] = self.downloaded.get(key, 0) + 1


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made = open_shop(Counting(tmp_path / "store"), tmp_path / "cache", per_category=12)
    go_live(made)
    return made


def cheaper(row: Listing) -> Listing:
    return replace(row, price=1.5, title="On sale")


def changed(shop: Shop) -> Shop:
    """One listing cheaper, one of another category and photo, one sold, one new; live."""
    first, second, _third, *rest = shop.listings
    moved = replace(second, category="shoes/boot", photo=render("shoes/boot", 3), title=None)
    new = replace(
        rest[0], listing_id="9-new", photo=render("home/vase", 31), category="home/vase", title="Fresh"
    )
    return follow(shop, (cheaper(first), moved, *rest, new))


def until(process: Running, shop: Shop) -> None:
    eventually(lambda: process.client.get("/readyz").json()["delta"] == str(shop.index))


def search(process: Running, target: str, body: bytes = b"") -> dict[str, Any]:
    reply = process.client.post(f"/v1/search?{target}", content=body)
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()
    del answer["milliseconds"], answer["query_id"]  # the second says when it ends
    for measured in (answer, *answer["hits"]):  # likeness is measured when a base is built, and stays with it
        for name in ("likeness", "alike", "nothing_alike"):
            measured.pop(name, None)
    return answer


def test_it_follows_a_delta_and_answers_as_a_full_build(shop: Shop, tmp_path: Path) -> None:
    first, second, third = (row.listing_id for row in shop.listings[:3])
    after = changed(shop)
    assert after.index.kind is Kind.DELTA
    state = read_manifest(shop.store, after.index).inputs
    with running(shop.store, tmp_path / "pod") as process:
        downloaded = dict(shop.store.downloaded)  # type: ignore[attr-defined]
        go_live(after)
        until(process, after)
        fetched = {k for k, n in shop.store.downloaded.items() if n > downloaded.get(k, 0)}  # type: ignore[attr-defined]
        assert {key.partition("/")[0] for key in fetched} == {"deltas"}, "nothing is fetched that was there"
        assert process.client.get("/readyz").json()["index"] == str(shop.index)
        asked = [
            ("k=9", render("home/vase", 31)),
            ("k=9&price=..2", render(CHEAP, 0)),
            (f"listing_id={second}", b""),
        ]
        by_delta = [search(process, *each) for each in asked]
        pages = [process.client.get(f"/v1/listings/{name}") for name in (first, second, third, "9-new")]
        assert [page.status_code for page in pages] == [200, 200, 404, 200]
        assert [page.json().get("title") for page in pages if page.status_code == 200] == [
            "On sale",
            None,
            "Fresh",
        ]
        photo = next(row.photo_id for row in after.listings if row.listing_id == "9-new")
        assert process.client.get(f"/v1/photos/{photo}?side=96").status_code == 200
        catalogue = process.client.get("/v1/catalogue").json()
    extraction = state["extraction"]
    whole = build(
        shop.store, after.curated, type(shop.index).parse(extraction), shards=2, cache_dir=shop.cache_dir
    )
    go_live(replace(after, index=whole))
    with running(shop.store, tmp_path / "other") as process:
        for answer, each in zip(by_delta, asked, strict=True):
            built = search(process, *each)
            assert built | {"index": "", "delta": ""} == answer | {"index": "", "delta": ""}
        built = process.client.get("/v1/catalogue").json()
        assert built | {"index": "", "delta": ""} == catalogue | {"index": "", "delta": ""}


CHEAP = "clothing/tops/shirt"


def test_a_roll_back_takes_the_delta_away_again(shop: Shop, tmp_path: Path) -> None:
    after = changed(shop)
    with running(shop.store, tmp_path / "pod") as process:
        go_live(after)
        until(process, after)
        live = read_live(shop.store)
        assert live is not None
        live = roll_back(shop.store, by="test", expected=live)
        assert live.rejection(after.index)
        assert not live.rejection(shop.index)
        eventually(lambda: process.client.get("/readyz").json()["delta"] is None)
        assert process.client.get(f"/v1/listings/{shop.listings[0].listing_id}").json()["title"] != "On sale"
    assert "rejected" in publication.why_not(replace(live, hold=None), after.release, shop.index, after.index)


def test_a_process_of_one_base_follows_its_deltas_alone(shop: Shop, tmp_path: Path) -> None:
    """As pods do, whose template names the base: the next base comes with the next template."""
    config = ServingConfig(index=shop.index, poll_seconds=0.05, notice_seconds=0)
    with running(shop.store, tmp_path / "pod", config) as process:
        after = changed(shop)
        go_live(after)
        until(process, after)
        go_live(reindex(shop, per_category=6))
        later = process.service.lifecycle
        later.check()
        assert later.snapshot.tip == after.index
    with running(shop.store, tmp_path / "pod", config) as process:
        assert process.client.get("/readyz").json()["delta"] is None, (
            "deltas over another base are none of ours"
        )


def test_a_damaged_delta_is_refused_and_the_one_before_serves(shop: Shop, tmp_path: Path) -> None:
    after = changed(shop)
    entry = read_manifest(shop.store, after.index).file("tombstones.parquet")
    shop.store.put(entry.key, b"x" * entry.size)
    with running(shop.store, tmp_path / "pod") as process:
        go_live(after)
        eventually(lambda: "refused" in process.client.get("/readyz").json())
        refused = process.client.get("/readyz").json()
        assert refused["ready"]
        assert refused["refused"]["damaged"]
        assert refused["refused"]["index"] == str(shop.index)
        assert refused["refused"]["delta"] == str(after.index)
        assert search(process, "k=3", render("home/vase", 3))["delta"] is None
