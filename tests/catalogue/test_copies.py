"""Re-posted copies are found; another colour, another thing and the next shot are not."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance

from lookalike.catalogue import copies, sketches, verdicts
from lookalike.catalogue.copies import find_copies, heads
from lookalike.catalogue.prints import Prints, add_prints
from lookalike.catalogue.verdicts import Verdicts
from lookalike.imaging.prints import content, prints_of
from lookalike.progress import Progress, silent
from lookalike.settings import S3Settings
from lookalike.storage.directory import DirectoryStore
from lookalike.storage.stores import open_store
from tests.catalogue.test_curation_s3 import s3  # noqa: F401  a fixture

WAY = "way"


def scene(seed: int, shirt: tuple[int, int, int] = (180, 60, 60)) -> Image.Image:
    """A coloured shape and a darker one with a band on a soft ground, of 240 x 300 pixels."""
    rng = np.random.default_rng(seed)
    ground = Image.fromarray(rng.integers(120, 235, (4, 3, 3), np.uint8)).resize(
        (240, 300), Image.Resampling.BICUBIC
    )
    draw = ImageDraw.Draw(ground)
    x, y, w, h = (int(v) for v in rng.integers((50, 60, 60, 60), (90, 100, 110, 120)))
    draw.ellipse((x, y, x + w, y + h), fill=shirt)
    x, y = (int(v) for v in rng.integers((20, 150), (120, 200)))
    draw.rectangle((x, y, x + 90, y + 70), fill=(40, 40, 60))
    draw.rectangle((x, y + 20, x + 90, y + 34), fill=(210, 200, 90))
    return ground


def padded(image: Image.Image) -> Image.Image:
    square = Image.new("RGB", (300, 300), "white")
    square.paste(image, (30, 0))
    return square


def framed(image: Image.Image) -> Image.Image:
    frame = Image.new("RGB", (264, 324), (200, 30, 30))
    frame.paste(image, (12, 12))
    return frame


def badged(image: Image.Image) -> Image.Image:
    copy = image.copy()
    draw = ImageDraw.Draw(copy)
    draw.rectangle((165, 10, 230, 40), fill=(220, 20, 30))
    draw.text((180, 16), "SALE", fill="white")
    return copy


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "padding": padded,
    "frame": framed,
    "crop": lambda image: image.crop((9, 12, 231, 288)),
    "one side cropped": lambda image: image.crop((9, 0, 240, 300)),
    "brightness": lambda image: ImageEnhance.Brightness(image).enhance(1.15),
    "badge": badged,
    "size": lambda image: image.resize((120, 150)),
}


class Known:
    """A store that photos are taken into, each under its number."""

    def __init__(self, folder: Path, prints: NDArray[np.uint8]) -> None:
        self.store, self.cache = DirectoryStore(folder / "store"), folder / "cache"
        self.ids = [
            hashlib.md5(b"%d" % number, usedforsecurity=False).hexdigest() for number in range(len(prints))
        ]
        add_prints(self.store, WAY, self.ids, prints)
        self.read: set[int] = set()
        """Numbers of photos whose prints were read at the last search."""

    def groups(self, numbers: Sequence[int], progress: Progress = silent) -> list[int]:
        """For each of these photos the first in the list that shows the same picture."""
        order = sorted(numbers, key=lambda number: self.ids[number])
        photo_ids = pa.array([self.ids[number] for number in order], pa.string())
        prints, ids = Prints.open(self.store, self.cache, WAY), heads(photo_ids)
        self.read = set()

        def read(rows: NDArray[np.int64]) -> NDArray[np.uint8]:
            self.read |= {order[row] for row in rows}
            return prints.read(photo_ids.take(pa.array(rows)))

        known = Verdicts.open(self.store, self.cache, WAY, ids)
        found = find_copies(ids, prints.sketches(photo_ids), read, known, progress)
        head = {number: order[row] for number, row in zip(order, found.tolist(), strict=True)}
        first: dict[int, int] = {}
        return [first.setdefault(head[number], place) for place, number in enumerate(numbers)]


def groups(folder: Path, images: Sequence[Image.Image]) -> list[int]:
    return Known(folder, np.stack([prints_of(image) for image in images])).groups(range(len(images)))


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_is_found_among_others(tmp_path: Path, kind: str) -> None:
    photos = [scene(seed) for seed in range(12)]
    assert groups(tmp_path, photos + [COPIES[kind](photo) for photo in photos]) == [*range(12), *range(12)]


def test_another_colour_of_a_part_is_no_copy(tmp_path: Path) -> None:
    photos = [scene(seed) for seed in range(6)] + [scene(seed, (60, 90, 180)) for seed in range(6)]
    assert groups(tmp_path, photos) == list(range(12))
    bands = []
    for seed in range(6):
        pixels = np.array(scene(seed))
        band = (np.abs(pixels.astype(int) - (210, 200, 90)).max(axis=2) == 0)[..., None]
        bands.append(Image.fromarray(np.where(band, np.uint8([150, 110, 220]), pixels)))
    assert groups(tmp_path / "bands", photos[:6] + bands) == list(range(12))


def test_margins_are_cut_layer_by_layer() -> None:
    pixels = np.full((200, 160, 3), 255, np.uint8)
    pixels[:10] = pixels[-10:] = 0
    pixels[:, :10] = pixels[:, -10:] = 0
    pixels[60:120, 50:100] = np.random.default_rng(0).integers(0, 255, (60, 50, 3))
    assert content(pixels) == (50, 60, 100, 120)
    assert content(np.full((50, 50, 3), 9, np.uint8)) == (0, 0, 50, 50)


def test_thousands_of_one_placeholder_cost_no_more_than_their_number(tmp_path: Path) -> None:
    """All pairs of 400 would be 80,000."""
    rng = np.random.default_rng(1)
    blank = prints_of(scene(3)).astype(int)
    prints = (blank + rng.normal(0, 1, (400, *blank.shape))).clip(0, 255).astype(np.uint8)
    ids = heads(pa.array(sorted(hashlib.md5(b"%d" % number).hexdigest() for number in range(len(prints)))))
    asked = 0

    def read(rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        nonlocal asked
        asked += len(rows)
        return prints[rows]

    known = Verdicts.open(DirectoryStore(tmp_path / "store"), tmp_path / "cache", WAY, ids)
    assert set(find_copies(ids, sketches.sketches_of(prints), read, known).tolist()) == {0}
    assert asked < 25 * len(prints)


def test_groups_follow_from_the_photos_whatever_came_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any sequence of catalogues, some searches of which were killed, finds what a search in an empty store finds."""
    monkeypatch.setattr(sketches, "BLOCK", 2)
    monkeypatch.setattr(copies, "VIEWS", 2)  # fewer ways to make up for what one misses
    monkeypatch.setattr(verdicts, "_MANY", 5)
    scenes = [scene(seed) for seed in range(24)]
    made = [*scenes, *(make(photo) for make in COPIES.values() for photo in scenes[:5])]
    placeholder = prints_of(scene(99)).astype(int)
    noise = np.random.default_rng(2).normal(0, 1, (20, *placeholder.shape))
    prints = np.stack([*map(prints_of, made), *(placeholder + noise).clip(0, 255).astype(np.uint8)])
    known = Known(tmp_path / "grown", prints)
    rng = np.random.default_rng(5)
    there = set(rng.choice(len(prints), 30, replace=False).tolist())
    for number in range(6):
        there ^= set(rng.choice(len(prints), 12, replace=False).tolist())
        numbers = sorted(there)
        if number % 2:
            with pytest.raises(KeyboardInterrupt):
                known.groups(numbers, _killed_after(1))
        found = known.groups(numbers)
        assert found == Known(tmp_path / str(number), prints).groups(numbers)
        assert set(known.groups(numbers)) == set(found)
        assert known.read == set()
    assert len(set(found)) < len(found) - 5


def test_what_was_judged_in_other_company_links_no_photos_that_are_not_neighbours(tmp_path: Path) -> None:
    prints = np.stack([prints_of(scene(seed)) for seed in range(12)])
    known = Known(tmp_path, prints)
    ids = heads(pa.array(sorted(known.ids)))
    told = Verdicts.open(known.store, known.cache, WAY, ids)
    told.add(np.array([[0, 1], [4, 9]]), np.ones(2, bool))
    told.store()
    assert known.groups(range(12)) == list(range(12))


def _killed_after(views: int) -> Progress:
    def progress(stage: str, done: int, total: int, note: str = "") -> None:
        if done == views:
            raise KeyboardInterrupt

    return progress


def test_a_new_photo_is_held_against_its_like_alone(tmp_path: Path) -> None:
    scenes = [scene(seed) for seed in range(60)]
    known = Known(tmp_path, np.stack([*map(prints_of, scenes), prints_of(badged(scenes[7]))]))
    known.groups(range(60))
    assert known.groups(range(61))[60] == 7
    assert {7, 60} <= known.read
    assert len(known.read) < 15


def test_few_of_a_sheet_are_read_by_range(tmp_path: Path, s3: S3Settings) -> None:  # noqa: F811
    prints = np.random.default_rng(3).integers(0, 255, (40, 2, 32, 32, 3), np.uint8)
    ids = [hashlib.md5(b"%d" % number, usedforsecurity=False).hexdigest() for number in range(40)]
    store = open_store("s3://shop/prints", s3)
    add_prints(store, WAY, ids, prints)
    known = Prints.open(store, tmp_path, WAY)
    asked = pa.array([ids[9], "0" * 32, ids[4]], pa.string())
    assert (known.read(asked) == np.stack([prints[9], np.zeros_like(prints[0]), prints[4]])).all()
    assert list(tmp_path.rglob("*.bin")) == []
    assert (known.read(pa.array(ids, pa.string())) == prints).all()
    assert len(list(tmp_path.rglob("*.bin"))) == 1


@pytest.mark.parametrize("count", [0, 1, 2])
def test_hardly_any_photos(tmp_path: Path, count: int) -> None:
    prints = np.zeros((count, 2, 32, 32, 3), np.uint8)
    assert Known(tmp_path, prints).groups(range(count)) == list(range(count))
