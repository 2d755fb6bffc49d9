"""What search processes count, kept in the store for a month, and the pictures that the console makes of it."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest

from lookalike.console.app import with_recipes
from lookalike.console.charts import Line, chart
from lookalike.console.overview import Overview
from lookalike.console.trends import Trends
from lookalike.console.words import plain
from lookalike.errors import StoreUnavailable
from lookalike.learning.recipes import described
from lookalike.publishing import publication
from lookalike.serving.config import ServingConfig
from lookalike.storage import keys
from lookalike.storage.directory import DirectoryStore
from lookalike.traffic import BOUNDS_MS, INTERVAL_S, KEPT_DAYS, Interval, TrafficLog, TrafficReader
from tests.console.running import running
from tests.serving.running import running as serving
from tests.shop import CATEGORIES, Shop, open_shop, reindex, render

NOON = 1_800_000_000 // 86_400 * 86_400 + 43_200


class Clock:
    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Two generations, the second with more listings."""
    at = tmp_path_factory.mktemp("shop")
    shop = open_shop(DirectoryStore(at / "store"), at / "cache", per_category=6)
    for pair in (shop, reindex(shop, per_category=8)):
        publication.publish_index(shop.store, pair.index, by="test", cache_dir=shop.cache_dir)
    return shop


def answer(
    category: str = "home/vase", *, hits: int = 3, unalike: bool = False, sure: float = 0.9
) -> dict[str, Any]:
    return {
        "hits": [{}] * hits,
        "nothing_alike": unalike,
        "categories": [{"category": category, "probability": sure}],
        "likeness": 0.5,
    }


def test_two_processes_counts_are_read_together(tmp_path: Path) -> None:
    store, clock = DirectoryStore(tmp_path), Clock()
    logs = [TrafficLog(store, name, clock=clock) for name in ("a", "b")]
    for log in logs:
        log.answered(200, 0.012)
        log.found(answer(), photo=True)
        log.answered(503, 0.0)
        log.write()
    clock.now += INTERVAL_S
    logs[0].answered(200, 0.4)
    logs[0].found(answer("home/lamp", hits=0, unalike=True, sure=0.3), photo=True)
    logs[0].answered(500, 0.1)
    logs[0].write()
    first, second = TrafficReader(store).intervals(NOON - 60)
    assert (first.searches, first.refused, first.errors, first.photos) == (4, 2, 0, 2)
    assert first.categories == {"home/vase": 2}
    assert 10 < (first.quantile(0.5) or 0) <= 20
    assert (second.searches, second.errors, second.empty, second.unalike, second.unsure) == (2, 1, 1, 1, 1)
    assert second.likeness == pytest.approx(0.5)
    (hour,) = TrafficReader(store).intervals(NOON - 60, step=3600)
    assert hour.searches == 6
    assert [info.key for info in store.list(keys.TRAFFIC)] == [
        keys.traffic("2027-01-15", name) for name in ("a", "b")
    ]


def test_a_months_files_are_few_and_small_and_older_ones_go(tmp_path: Path) -> None:
    store, clock = DirectoryStore(tmp_path), Clock(NOON - 43_200)
    log = TrafficLog(store, "a", clock=clock)
    for _ in range(3 * (KEPT_DAYS + 5)):
        log.answered(200, 0.02)
        log.found(answer(), photo=False)
        log.write()
        clock.now += 86_400 / 3
    files = list(store.list(keys.TRAFFIC))
    assert len(files) <= KEPT_DAYS + 2
    assert max(info.size for info in files) < 10_000
    assert len(log._rows) <= 3
    assert sum(row.searches for row in TrafficReader(store).intervals(0)) == 3 * len(files)


def test_a_store_that_takes_nothing_is_said_once_and_loses_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Full(DirectoryStore):
        full = True

        def put(self, key: str, data: bytes, **how: Any) -> str:
            if self.full:
                raise StoreUnavailable(key, "no room")
            return super().put(key, data, **how)

    store = Full(tmp_path)
    log = TrafficLog(store, "a", clock=Clock())
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            log.answered(200, 0.01)
            log.write()
    assert len(caplog.records) == 1
    store.full = False
    log.write()
    assert [row.searches for row in TrafficReader(store).intervals(0)] == [3]


def test_a_damaged_file_is_passed_over(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    log = TrafficLog(store, "a", clock=Clock())
    log.answered(200, 0.01)
    log.write()
    store.put(keys.traffic("2027-01-15", "b"), b"PAR1 of no use")
    assert [row.searches for row in TrafficReader(store).intervals(0)] == [1]


def test_a_search_process_keeps_its_counts(shop: Shop) -> None:
    with serving(shop.store, shop.cache_dir, ServingConfig(index=shop.index, notice_seconds=0)) as process:
        for _ in range(3):
            assert process.client.post("/v1/search", content=render("home/vase", 5)).status_code == 200
        process.client.post("/v1/search?listing_id=3-005&price=..0")
        process.client.post("/v1/search?k=none")
    (row,) = TrafficReader(shop.store).intervals(0, step=86_400)
    assert (row.searches, row.photos, row.empty, sum(row.times)) == (4, 3, 1, 4)
    assert row.categories == {"home/vase": 4}


def test_time_within_a_class_is_spread_evenly() -> None:
    row = Interval(0)
    assert row.quantile(0.5) is None
    row.times[BOUNDS_MS.index(100)] = 10
    assert row.quantile(0.5) == pytest.approx(87.5)


def test_the_four_pictures_of_a_day_and_a_month(shop: Shop) -> None:
    live = Overview(shop.store).live()
    assert live is not None
    clock = Clock(Overview(shop.store).published()[-1]["at"] + 7200)
    log = TrafficLog(shop.store, "pictures", clock=clock)
    for hours, category in ((40, "home/lamp"), (1, "home/vase"), (0, "home/vase")):
        clock.now -= 3600 * hours
        for _ in range(5):
            log.answered(200, 0.03)
            log.found(answer(category, hits=hours), photo=True)
        log.write()
        clock.now += 3600 * hours
    store = shop.store
    store.put(keys.measures(shop.release.id), json.dumps({"product first": 0.75, "mAP": 0.5}).encode())
    found = Trends(Overview(store), clock=clock).of("24h")
    searches, answers, inventory, quality = found["pictures"]
    for one in (searches, answers, inventory):
        ElementTree.fromstring(one["svg"])
    assert "searches in all" in [entry["name"] for entry in searches["legend"]]
    assert inventory["legend"][0]["value"] == f"{8 * len(CATEGORIES)}"
    assert inventory["legend"][2]["value"] == "2 hours"
    assert inventory["svg"].count('class="event"') == 2
    assert "product first 0.750" in quality["svg"]
    assert {"name": "product first", "css": "m0", "value": "75.0%"} in quality["legend"]
    (top, *_) = found["categories"]
    assert (top["name"], top["was"], top["moved"]) == ("home/vase", 0.0, "up")
    assert found["store"]["bytes"] == sum(info.size for info in store.list(""))
    assert len(Trends(Overview(store), clock=clock).of("30d")["pictures"]) == 4


def test_the_page_asks_for_a_day_or_a_month(shop: Shop) -> None:
    with running(shop.store, shop.cache_dir) as client:
        assert client.get("/api/trends").json()["span"] == "24h"
        assert client.get("/api/trends?span=30d").json()["span"] == "30d"
        wrong: httpx.Response = client.get("/api/trends?span=1y")
        assert (wrong.status_code, wrong.json()["detail"]) == (400, "span is one of 24h, 30d")
        assert client.get("/api/runs/0/logs").status_code == 401


def test_a_chart_leaves_gaps_and_is_empty_without_values() -> None:
    assert chart("t", 0, 86_400, [Line("a", "line", "m0", [(0, None)])]) == ""
    points = [(0.0, 1.0), (3600.0, 2.0), (7200.0, None), (9000.0, 3.0)]
    picture = ElementTree.fromstring(chart("<t>", 0, 86_400, [Line("a", "line", "m0", points)]))
    lines = [e for e in picture.iter() if e.tag.endswith("polyline")]
    assert [len(e.attrib["points"].split()) for e in lines] == [2]
    assert len([e for e in picture.iter() if e.tag.endswith("circle")]) == 1


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("Flow run infrastructure exited with non-zero status code 137.", "ran out of memory"),
        ("Flow run encountered an exception: DataGateError: too few", "too few"),
        ("lookalike.errors.QualityGateError: top-1 0.9 -> 0.5", "top-1 0.9 -> 0.5"),
        ("ModuleNotFoundError: No module named 'torch'", "A package is missing: torch"),
        ("Job failed: ImagePullBackOff", "image cannot be fetched"),
    ],
)
def test_what_a_runs_end_means_is_said_in_plain_words(message: str, said: str) -> None:
    assert said in plain(message)
    assert "Flow run" not in plain(message)


def test_retrain_offers_the_live_recipe_and_says_what_each_needs() -> None:
    field = {"enum": ["auto", "frozen", "tiny"], "default": "auto"}
    offered = with_recipes(field, {"recipe": "frozen"})
    assert offered["default"] == "frozen"
    assert offered["choices"]["frozen"] == described()["frozen"]
    assert with_recipes(field, None)["default"] == "auto"
    assert with_recipes(field, {"recipe": "of an older version"})["default"] == "auto"
