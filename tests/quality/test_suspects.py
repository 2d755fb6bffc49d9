"""Wrong labels and poor photos that a trained model points out."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from lookalike import steps
from lookalike.catalogue.excluding import read_excluded
from lookalike.catalogue.rules import CurationConfig
from lookalike.coding.extraction import extract
from lookalike.errors import SettingsError
from lookalike.imaging.photos import load_square
from lookalike.quality import doubts, faults
from lookalike.quality.suspects import Suspect, write_suspects
from lookalike.workplace import open_workplace
from tests import shop as shops
from tests.catalogue.conftest import Shop, photo


def clusters(count: int = 600, width: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Features of five categories, as a network has them: not negative, each category with its own."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 5, count)
    centres = rng.uniform(0, 2, (5, width))
    return np.maximum(centres[labels] + rng.normal(0, 0.6, (count, width)), 0).astype(np.float32), labels


def judged(features: np.ndarray, labels: np.ndarray, things: np.ndarray) -> doubts.Doubts:
    blocks = [(rows, features[rows]) for rows in np.array_split(np.arange(len(labels)), 4)]
    return doubts.find_doubts(lambda: blocks, labels, things, 5)


def test_planted_labels_are_doubted_and_others_are_not() -> None:
    features, labels = clusters()
    wrong = np.random.default_rng(1).choice(len(labels), 40, replace=False)
    stated = labels.copy()
    stated[wrong] = (labels[wrong] + 1) % 5
    said = judged(features, stated, np.arange(len(labels)))
    doubted = np.flatnonzero(said.margin > doubts.CLEARLY)
    assert len({*doubted} & {*wrong}) >= 36
    assert len({*doubted} - {*wrong}) <= 4
    assert (said.best[wrong] == labels[wrong]).mean() > 0.9


def test_copies_do_not_vouch_for_one_another() -> None:
    features, labels = clusters()
    stated, things = labels.copy(), np.arange(len(labels))
    copies = np.flatnonzero(labels == 0)[:60]
    features[copies] = features[copies[0]]
    stated[copies] = 1
    assert (judged(features, stated, things).margin[copies] < doubts.CLEARLY).all(), (
        "each has learned the others"
    )
    things[copies] = things[copies[0]]
    assert (judged(features, stated, things).margin[copies] > doubts.CLEARLY).all()


def test_a_photo_that_is_like_no_other_is_odd() -> None:
    features, labels = clusters()
    features[7] = np.random.default_rng(9).exponential(1, 40) ** 3
    said = judged(features, labels, np.arange(len(labels)))
    assert said.distance.argmax() == 7
    assert said.distance[7] > 2 * doubts.ALONE
    assert (said.distance > doubts.ALONE).sum() < 10


def test_blurred_and_dark_photos_are_told_by_their_pixels() -> None:
    sharp = Image.fromarray(load_square(photo(5, 300, 300), faults.SIDE))
    edges = sharp.copy()
    edges.paste((250, 250, 250), (60, 60, 160, 120))
    assert faults.sharpness(np.asarray(edges)) > 0.3
    blurred = edges.filter(ImageFilter.GaussianBlur(4))
    assert faults.sharpness(np.asarray(blurred)) < faults.BLURRED
    plain = Image.new("RGB", (224, 224), (240, 240, 240))
    plain.paste((200, 30, 30), (80, 80, 140, 140))
    assert faults.sharpness(np.asarray(plain)) > faults.BLURRED, "plain, and sharp"
    dark = np.asarray(edges) // 6
    assert faults.lightness(dark) < faults.DARK < faults.lightness(np.asarray(edges))


def test_the_list_goes_back_into_exclude(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a catalogue with three wrong labels, a dark photo and a copy to the list, and from the list to ids."""
    monkeypatch.setenv("LOOKALIKE_CACHE_DIR", str(tmp_path / "cache"))
    wares = shops.make_listings(30)
    place = open_workplace(str(tmp_path / "store"))
    release = shops.write_release(place.store, wares, tmp_path)
    shop = Shop(tmp_path)
    kinds = {f"{x.listing_id}": x for x in wares}
    planted = {"0-004": "home/vase", "2-010": "shoes/boot", "=1-006": "home/lamp"}
    rows, photos = [], {}
    for name, ware in kinds.items():
        shown = f"={name}" if name == "1-006" else name
        rows.append(
            {"listing_id": shown, "category": planted.get(shown, ware.category), "image": f"{name}.jpg"}
        )
        photos[f"{name}.jpg"] = ware.photo
    night = np.asarray(Image.open(shop_file(tmp_path, wares[40].photo)).convert("RGB")) // 9
    Image.fromarray(night).save(tmp_path / "night.png")
    rows.append({"listing_id": "night", "category": "home/lamp", "image": "night.png"})
    photos["night.png"] = (tmp_path / "night.png").read_bytes()
    shop.write(rows, photos)
    curated = steps.curate(
        place, str(shop.folder / "catalogue.csv"), CurationConfig(min_category=1, find_copies=False)
    )
    extraction = extract(place.store, curated, release, cache_dir=tmp_path / "cache")
    found = steps.suspects(place, extraction)
    assert {x.listing_id for x in found if x.kind == "label"} - {"night"} == {*planted}
    assert {x.listing_id: x.rather for x in found if x.kind == "label"}["0-004"] == kinds["0-004"].category
    assert [x.listing_id for x in found if x.kind == "dark"] == ["night"]
    only = steps.suspects(place, extraction, kinds={"dark"})
    assert {x.kind for x in only} == {"dark"}
    with pytest.raises(SettingsError, match="blur"):
        steps.suspects(place, extraction, kinds={"blur"})

    path = tmp_path / "suspects.csv"
    write_suspects(path, [x for x in found if x.listing_id in planted])
    with path.open(encoding="utf-8-sig", newline="") as file:
        table = list(csv.DictReader(file))
    assert "'=1-006" in {row["listing_id"] for row in table}, "no formula"
    for row in table:
        row["keep"] = "fine" if row["listing_id"] == "2-010" else ""
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    assert read_excluded(place.store, str(path), tmp_path) == ("0-004", "=1-006")


def shop_file(folder: Path, data: bytes) -> Path:
    (folder / "one.jpg").write_bytes(data)
    return folder / "one.jpg"


def test_copies_name_their_first(tmp_path: Path) -> None:
    suspect = Suspect("b", "copies", "x", "a", 3.0, "", "p", "")
    write_suspects(tmp_path / "s.csv", [suspect])
    assert (tmp_path / "s.csv").read_text("utf-8-sig").splitlines()[1] == "b,copies,x,a,3.0,,p,,"
