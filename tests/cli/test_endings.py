"""How `run` ends, and which queries the demo shows."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from lookalike import steps
from lookalike.catalogue.rules import CurationConfig
from lookalike.cli import demo, showing
from lookalike.cli.output import Output
from lookalike.workplace import open_workplace
from tests.shop import Shop, make_listings


def test_run_ends_with_what_was_left_out_and_what_comes_next(
    live_shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOOKALIKE_CACHE_DIR", str(tmp_path / "cache"))
    store = tmp_path / "a store"
    shutil.copytree(live_shop.store.root, store)  # type: ignore[attr-defined]  # a directory
    rows = ["listing_id,image,category", "gone,gone.jpg,home/vase"]
    for row in make_listings(2):
        (tmp_path / f"{row.listing_id}.jpg").write_bytes(row.photo)
        rows.append(f"{row.listing_id},{row.listing_id}.jpg,{row.category}")
    (tmp_path / "listings.csv").write_text("\n".join(rows))
    place = open_workplace(str(store))
    curated = steps.curate(place, str(tmp_path / "listings.csv"), CurationConfig(min_category=1))
    refs = {"curated": curated, "release": live_shop.release, "index": live_shop.index}
    showing.show_run(Output(), place, refs, str(store))
    *_, left_out, live, next_, search, serve, evaluate = capsys.readouterr().out.splitlines()
    assert re.search(r"all that is left out: /\S+/a store/\S+\.csv$", left_out)
    assert re.match(r"live: kept 12 of 13 rows; left out 1: missing 1", live)
    assert next_ == "next:"
    assert search.startswith(f"  lookalike search photo.jpg --store '{store}' ")
    assert serve.startswith(f"  lookalike serve --store '{store}' ")
    assert evaluate.startswith("  lookalike evaluate --catalogue queries.csv")


def test_the_demo_shows_the_median_query_of_each_category() -> None:
    groups = [["a", "b", "c"], ["d"], ["e", "f"]]
    assert demo._medians(groups, [0.9, 0.1, 0.5, 0.3, 0.8, 0.2]) == [2, 3, 5]
