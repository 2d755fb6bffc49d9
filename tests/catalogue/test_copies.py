"""Re-posted copies are found; another colour, another thing and the next shot are not."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance

from lookalike.catalogue.copies import find_copies
from lookalike.catalogue.duplicates import components
from lookalike.imaging.prints import content, prints_of


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


def groups(images: list[Image.Image]) -> list[int]:
    return components(len(images), find_copies(np.stack([prints_of(image) for image in images]))).tolist()


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_is_found_among_others(kind: str) -> None:
    photos = [scene(seed) for seed in range(12)]
    assert groups(photos + [COPIES[kind](photo) for photo in photos]) == [*range(12), *range(12)]


def test_another_colour_of_a_part_is_no_copy() -> None:
    photos = [scene(seed) for seed in range(6)] + [scene(seed, (60, 90, 180)) for seed in range(6)]
    assert groups(photos) == list(range(12))
    bands = []
    for seed in range(6):
        pixels = np.array(scene(seed))
        band = (np.abs(pixels.astype(int) - (210, 200, 90)).max(axis=2) == 0)[..., None]
        bands.append(Image.fromarray(np.where(band, np.uint8([150, 110, 220]), pixels)))
    assert groups(photos[:6] + bands) == list(range(12))


def test_margins_are_cut_layer_by_layer() -> None:
    pixels = np.full((200, 160, 3), 255, np.uint8)
    pixels[:10] = pixels[-10:] = 0
    pixels[:, :10] = pixels[:, -10:] = 0
    pixels[60:120, 50:100] = np.random.default_rng(0).integers(0, 255, (60, 50, 3))
    assert content(pixels) == (50, 60, 100, 120)
    assert content(np.full((50, 50, 3), 9, np.uint8)) == (0, 0, 50, 50)


def test_thousands_of_one_placeholder_cost_no_more_than_their_number() -> None:
    """All pairs of 10,000 would be 50 million."""
    rng = np.random.default_rng(1)
    blank = prints_of(scene(3)).astype(int)
    prints = (blank + rng.normal(0, 1, (10_000, *blank.shape))).clip(0, 255).astype(np.uint8)
    started = time.process_time()
    links = find_copies(prints)
    assert len(links) < 130_000
    assert set(components(len(prints), links).tolist()) == {0}
    assert time.process_time() - started < 60


def test_nothing_and_one_photo_have_no_links() -> None:
    for count in (0, 1):
        assert find_copies(np.zeros((count, 2, 32, 32, 3), np.uint8)).shape == (0, 2)
