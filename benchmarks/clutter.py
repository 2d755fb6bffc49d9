"""Cluttered photos: an object that is cut out of its photo by a mask and laid somewhere on a photo of something else.

Objects come from the sample's drawings (`of_sample`), or from shop photos on a plain ground (`of_catalogue`), which is
taken away from the rim inwards. Scenes are photos of another catalogue. Each photo is drawn by a seed and its own
number: the same arguments give the same photos.
"""

from __future__ import annotations

import io
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

import sample_shop.shop
from lookalike.catalogue.reading import read_catalogue
from lookalike.imaging.photos import Box

FRAMES = ((320, 240), (240, 320), (288, 288))
SHARES = (0.1, 0.6)
"""Share of the frame that the object's box takes, from and to."""
_APART = 14
"""Grey levels by which a pixel may differ from a plain ground."""
_OBJECT = (0.12, 0.9)
"""Share of a photo that an object on a plain ground takes: less is dirt, more has no ground around it."""


@dataclass(frozen=True)
class Cutout:
    """An object on nothing: its colours times its coverage, f32[h, w, 3] and f32[h, w, 1] of 0..1."""

    category: str
    product: str
    colours: npt.NDArray[np.float32]
    cover: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Cluttered:
    """A JPEG, what is to be found in it, and where that is (x, y, width, height as fractions)."""

    photo: bytes
    category: str
    product: str
    box: Box

    @property
    def share(self) -> float:
        """Of the frame, the object's box."""
        return self.box[2] * self.box[3]


def of_sample(products: int, seed: int = 0) -> Iterator[Cutout]:
    """The objects of the sample's queries."""
    for row, drawing in sample_shop.shop.asked(products, seed):
        yield _cut(row["category"], row["product"], np.asarray(drawing.colour), np.asarray(drawing.cover))


def of_catalogue(uri: str, split: str | None, other_photos: bool) -> Iterator[Cutout]:
    """The objects of a catalogue's photos that have a plain ground, of one split if it is named; `other_photos` leaves
    out the main photo of each listing."""
    catalogue = read_catalogue(uri)
    for row in catalogue.listings:
        for image in row.images[1 if other_photos else 0 :] if split in (None, row.split) else ():
            pixels = np.asarray(Image.open(io.BytesIO(catalogue.photo(image))).convert("RGB"))
            cover = _without_ground(pixels)
            if _OBJECT[0] < cover.mean() / 255 < _OBJECT[1]:
                colours = pixels * (cover[:, :, None] > 0)
                yield _cut(row.category, row.product or row.listing_id, colours, cover)


def scenes_of(uri: str, split: str | None) -> list[Image.Image]:
    """The main photos of a catalogue, in the order of their listings' ids."""
    catalogue = read_catalogue(uri)
    rows = sorted((r for r in catalogue.listings if split in (None, r.split)), key=lambda r: r.listing_id)
    return [Image.open(io.BytesIO(catalogue.photo(row.images[0]))).convert("RGB") for row in rows]


def cluttered(objects: Iterator[Cutout], scenes: Sequence[Image.Image], seed: int = 0) -> Iterator[Cluttered]:
    """Each object on a scene."""
    for number, each in enumerate(objects):
        yield _laid(each, scenes, random.Random(f"{seed}/cluttered/{number}"))


def write(photos: Sequence[Cluttered], folder: Path) -> None:
    """The photos as files, to be looked at."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, each in enumerate(photos):
        (folder / f"{number:04d}.jpg").write_bytes(each.photo)


def _cut(category: str, product: str, colours: npt.NDArray[np.uint8], cover: npt.NDArray[np.uint8]) -> Cutout:
    rows, columns = np.flatnonzero(cover.any(axis=1)), np.flatnonzero(cover.any(axis=0))
    part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Cutout(
        category,
        product,
        colours[part].astype(np.float32),
        cover[part][:, :, None].astype(np.float32) / np.float32(255),
    )


def _without_ground(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """uint8[h, w]: 0 for what has the rim's colour and hangs together with the rim, 255 for the rest."""
    rim = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    plain = np.abs(pixels.astype(np.int16) - np.median(rim, axis=0)).max(axis=2) < _APART
    ground = np.zeros_like(plain)
    ground[[0, -1]], ground[:, [0, -1]] = plain[[0, -1]], plain[:, [0, -1]]
    before = -1
    while (count := int(ground.sum())) != before:
        before = count
        for to, of in ((ground[1:], ground[:-1]), (ground[:, 1:], ground[:, :-1])):
            to |= of.copy()
            of |= to.copy()
        ground &= plain
    picture = Image.fromarray(np.where(ground, 0, 255).astype(np.uint8))
    return np.asarray(picture.filter(ImageFilter.MinFilter(3)))


def _laid(each: Cutout, scenes: Sequence[Image.Image], rng: random.Random) -> Cluttered:
    width, height = rng.choice(FRAMES)
    scene = rng.choice(scenes)
    scale = max(width / scene.width, height / scene.height)
    scene = scene.resize((max(width, round(scene.width * scale)), max(height, round(scene.height * scale))))
    left, top = rng.randint(0, scene.width - width), rng.randint(0, scene.height - height)
    frame = np.array(scene.crop((left, top, left + width, top + height)), np.float32)
    across, down = each.cover.shape[1], each.cover.shape[0]
    scale = (rng.uniform(*SHARES) * width * height / (across * down)) ** 0.5
    scale *= min(1.0, 0.98 * width / (across * scale), 0.98 * height / (down * scale))
    size = max(8, round(across * scale)), max(8, round(down * scale))
    x, y = rng.randint(0, width - size[0]), rng.randint(0, height - size[1])
    place = frame[y : y + size[1], x : x + size[0]]
    place *= 1 - _resized(each.cover, size)
    place += _resized(each.colours, size)
    out = io.BytesIO()
    Image.fromarray(frame.clip(0, 255).astype(np.uint8)).save(out, "JPEG", quality=85)
    box = (x / width, y / height, size[0] / width, size[1] / height)
    return Cluttered(out.getvalue(), each.category, each.product, box)


def _resized(values: npt.NDArray[np.float32], size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """f32[h, w, c], antialiased."""
    planes = [
        np.asarray(Image.fromarray(values[:, :, i]).resize(size, Image.Resampling.BILINEAR))
        for i in range(values.shape[2])
    ]
    return np.stack(planes, axis=2)
