"""Curation of whole catalogues: the generated sample with its planted flaws, and a real one."""

from __future__ import annotations

import csv
import json
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from lookalike.catalogue.curation import CurationConfig, curate
from lookalike.catalogue.snapshot import CuratedSnapshot
from lookalike.storage.directory import DirectoryStore
from sample_shop import write_sample
from tests.catalogue.test_curation import by_id, reasons


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CuratedSnapshot]:
    folder = tmp_path_factory.mktemp("sample")
    paths = write_sample(folder / "shop", products=1, seed=1)
    store = DirectoryStore(folder / "store")
    ref = curate(store, str(paths.catalogue), CurationConfig(min_category=3), cache_dir=folder / "cache")
    return folder / "shop", CuratedSnapshot.open(store, ref, folder / "cache")


def test_every_planted_flaw_of_the_sample_is_found(sample: tuple[Path, CuratedSnapshot]) -> None:
    shop, snapshot = sample
    with (shop / "planted.csv").open(newline="") as file:
        planted = {row["listing_id"]: row["flaw"] for row in csv.DictReader(file)}
    found = reasons(snapshot)
    reason = {
        "text": "not a photo", "empty": "not a photo", "truncated": "truncated", "tiny": "tiny", "blank": "blank",
        "strip": "extreme shape", "missing": "missing", "no-image": "no image",
        "path-outside": "outside the catalogue",
    }  # fmt: skip
    kept, listings = {k: v for k, v in planted.items() if v not in reason}, by_id(snapshot)
    assert {x: found[x] for x, flaw in planted.items() if flaw in reason} == {
        x: reason[flaw] for x, flaw in planted.items() if flaw in reason
    }
    unpriced = {x for x, flaw in planted.items() if flaw == "bad-price"}
    assert {listings[x]["price"] for x in unpriced} == {None}
    assert snapshot.artefact.manifest.meta["unclear"] == {"price": len(unpriced)}
    suspects = {row["listing_id"] for row in snapshot.report["rows"]["suspects"]}
    wrong = {x for x, flaw in kept.items() if flaw in ("wrong-label", "copy-in-other-category")}
    assert wrong <= suspects
    shared = Counter(row["group"] for row in listings.values())
    for listing_id, flaw in kept.items():
        if flaw in ("exact-copy", "near-copy"):
            assert shared[listings[listing_id]["group"]] >= 2


def test_no_held_out_photo_of_the_sample_is_learnt_from(sample: tuple[Path, CuratedSnapshot]) -> None:
    _, snapshot = sample
    sides = defaultdict(set)
    for row in snapshot.listings.to_pylist():
        sides[row["group"]].add(row["split"])
    assert all(len(found) == 1 for found in sides.values())
    assert {"train", "val", "test"} == set(snapshot.report["splits"])


def test_the_report_adds_up_and_the_page_needs_nothing_else(sample: tuple[Path, CuratedSnapshot]) -> None:
    _, snapshot = sample
    report = snapshot.report
    assert report["kept"]["listings"] == len(snapshot.listings) == sum(report["splits"].values())
    assert report["kept"]["photos"] == len(snapshot.photos)
    assert report["tally"]["kept_rows"] + report["left_out"]["listings"] == report["catalogue"]["rows"]
    assert sum(report["left_out"]["by_reason"].values()) == report["left_out"]["listings"]
    assert sum(entry["listings"] for entry in report["categories"]) == len(snapshot.listings)
    assert report["catalogue"]["ignored_columns"] == ["stock"]
    entry = snapshot.artefact.manifest.file("report.html")
    page = (sample[0].parent / "store" / entry.key).read_text()
    assert page.startswith("<!doctype html>")
    for needed in ("prefers-color-scheme:dark", "data:image/webp;base64,", "same product", "blank", "L00"):
        assert needed in page
    for outside in ("http://", "https://", "<script", "src=/"):
        assert outside not in page


def test_a_real_catalogue(tmp_path: Path, sample_data: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    ref = curate(store, str(sample_data / "luma" / "listings.csv"), cache_dir=tmp_path / "cache")
    snapshot = CuratedSnapshot.open(store, ref, tmp_path / "cache")
    assert len(snapshot.listings) == 391
    assert snapshot.report["splits"] == {"train": 347, "val": 44}
    assert json.loads(snapshot.artefact.path("report.json").read_text())["kept"]["products"] == 155
    assert "luma/gear" in {entry["category"] for entry in snapshot.report["categories"]}
