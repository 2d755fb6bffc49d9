"""What the page is told about the store, and the picture of quality."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from lookalike.console.overview import Overview, ReleaseQuality, headline
from lookalike.console.plot import quality_plot
from lookalike.publishing import publication
from lookalike.storage.directory import DirectoryStore
from tests.shop import CATEGORIES, open_shop, reindex


def test_the_live_pair_its_categories_and_where_a_roll_back_leads(tmp_path: Path) -> None:
    shop = open_shop(DirectoryStore(tmp_path / "store"), tmp_path / "cache", per_category=6)
    overview = Overview(shop.store)
    assert overview.live() is None
    publication.publish_index(shop.store, shop.index, by="ada", cache_dir=shop.cache_dir)
    first = overview.live()
    assert first is not None
    assert (first["release"], first["index"], first["by"]) == (shop.release.id, shop.index.id, "ada")
    assert first["back"] is None
    assert first["age_s"] < 60
    later = reindex(shop, per_category=8)
    publication.publish_index(shop.store, later.index, by="ada", cache_dir=shop.cache_dir)
    live = overview.live()
    assert live is not None
    assert live["listings"] == 8 * len(CATEGORIES)
    assert {row["name"]: row["listings"] for row in live["categories"]} == dict.fromkeys(CATEGORIES, 8)
    assert live["back"]["index"] == shop.index.id
    assert [record["sequence"] for record in live["history"]] == [2, 1]
    assert [(r.id, r.live) for r in overview.releases()][-1] == (shop.release.id, True)


def quality(name: str, live: bool = False, **measures: float) -> ReleaseQuality:
    return ReleaseQuality(name, "2026-01-02T03:04:05+00:00", "small_cpu", measures, live)


def test_the_plot_has_a_point_for_every_measure_of_every_release() -> None:
    releases = [
        quality("a" * 16, top=0.7, mAP=0.5),
        quality("b" * 16, top=0.8),
        quality("<&>", True, top=0.9, mAP=1.0),
    ]
    picture = ElementTree.fromstring(quality_plot(releases))
    dots = [e for e in picture.iter() if e.tag.endswith("circle")]
    assert len(dots) == 5
    heights = {dot[0].text: float(dot.attrib["cy"]) for dot in dots}
    assert (
        heights["mAP 1.000, release <&>"]
        < heights["top 0.900, release <&>"]
        < heights[f"mAP 0.500, release {'a' * 16}"]
    )
    assert all(0 < float(dot.attrib["cx"]) < 600 and 0 < float(dot.attrib["cy"]) < 240 for dot in dots)
    assert sum("live" in e.attrib.get("class", "") for e in picture.iter()) == 2


def test_without_measures_there_is_no_plot() -> None:
    assert quality_plot([]) == ""
    assert quality_plot([quality("a")]) == ""


def test_the_headline_takes_what_people_know_by_name() -> None:
    metrics = {"top1": 0.5, "code_mAP": 0.25, "photos_trained": 3}
    assert headline(metrics) == {"category top-1": 0.5, "mAP of codes": 0.25}
