"""Copies that curation finds, and things that it must not take for copies, on real photos.

    python -m benchmarks.duplicates --data DIR [--json FILE]

`DIR` holds `luma/` and `clothing/` with `listings.csv` and photos. Of 80 photos of each, copies are made (seed 1),
saved as JPEG of quality 70 to 90: padded to a square, framed, cropped by 4 % of each side, brightened by 15 %,
with a badge. Two photos of luma are wrongly merged where
product or colour differ and the data does not name them as one photo
(`near_group`). 300 photos of clothing are re-posted, padded to a square; a split by groups must leave no twin of a
held-out listing in training. 10,000 noisy copies of one photo stand for a placeholder.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import random
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
from PIL import Image, ImageDraw, ImageEnhance, ImageFont

from benchmarks.report import Entry, machine, write
from lookalike.catalogue.copies import find_copies, heads
from lookalike.catalogue.sketches import sketches_of
from lookalike.catalogue.verdicts import Verdicts
from lookalike.imaging.prints import prints_of
from lookalike.storage.directory import DirectoryStore

COPIED = 80
FOUND = 76
"""Of 80, at least."""
REPOSTED = 300
_COLOURS = [(0, 0, 0), (200, 30, 30), (255, 255, 255), (30, 80, 200)]


def padded(image: Image.Image, rng: random.Random) -> Image.Image:
    side = max(image.size) if image.width != image.height else round(1.2 * image.width)
    square = Image.new(
        "RGB", (side, side), rng.choice([(255, 255, 255), (255, 255, 255), (0, 0, 0), (240, 240, 240)])
    )
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def framed(image: Image.Image, rng: random.Random) -> Image.Image:
    wide = round(max(image.size) * rng.choice([0.03, 0.05, 0.08]))
    frame = Image.new("RGB", (image.width + 2 * wide, image.height + 2 * wide), rng.choice(_COLOURS))
    frame.paste(image, (wide, wide))
    return frame


def cropped(image: Image.Image, rng: random.Random) -> Image.Image:
    shares = [0.04] * 4 if rng.random() < 0.6 else [rng.uniform(0, 0.04) for _ in range(4)]
    left, top, right, bottom = (round(s * n) for s, n in zip(shares, image.size * 2, strict=True))
    return image.crop((left, top, image.width - right, image.height - bottom))


def brightened(image: Image.Image, rng: random.Random) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(1.15)


def badged(image: Image.Image, rng: random.Random) -> Image.Image:
    copy = image.copy()
    draw = ImageDraw.Draw(copy)
    wide, high = round(copy.width * rng.uniform(0.18, 0.32)), round(copy.height * rng.uniform(0.08, 0.2))
    x = rng.choice([round(0.03 * copy.width), copy.width - wide])
    y = rng.choice([round(0.03 * copy.height), copy.height - high])
    shape = draw.rectangle if rng.random() < 0.6 else draw.ellipse
    shape(
        (x, y, x + wide, y + high),
        fill=rng.choice([(220, 20, 30), (250, 200, 0), (0, 120, 60), (20, 20, 20)]),
    )
    font = ImageFont.load_default(size=max(10, high // 2))
    draw.text((x + 0.15 * wide, y + 0.25 * high), "SALE", fill="white", font=font)
    return copy


KINDS = {"padding": padded, "frame": framed, "crop": cropped, "brightness": brightened, "badge": badged}


def saved(image: Image.Image, rng: random.Random) -> np.ndarray:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=rng.choice([70, 80, 90]))
    return prints_of(Image.open(out).convert("RGB"))


def grouped(prints: np.ndarray) -> np.ndarray:
    """The first photo of each one's group, found in an empty store."""
    ids = heads(
        pa.array(
            sorted(hashlib.md5(b"%d" % n, usedforsecurity=False).hexdigest() for n in range(len(prints)))
        )
    )
    with TemporaryDirectory() as folder:
        verdicts = Verdicts.open(DirectoryStore(Path(folder) / "store"), Path(folder), "way", ids)
        return find_copies(ids, sketches_of(prints), prints.__getitem__, verdicts)


def measure(folder: Path) -> list[Entry]:
    with (folder / "listings.csv").open() as file:
        rows = list({row["image"]: row for row in csv.DictReader(file)}.values())
    photos = [Image.open(folder / row["image"]).convert("RGB") for row in rows]
    rng = random.Random(1)
    chosen = rng.sample(range(len(photos)), COPIED)
    prints = [prints_of(photo) for photo in photos]
    copies = [saved(make(photos[n], rng), rng) for make in KINDS.values() for n in chosen]
    started = time.process_time()
    groups = grouped(np.stack([*prints, *copies]))
    seconds = time.process_time() - started
    found = (groups[len(prints) :].reshape(len(KINDS), COPIED) == groups[chosen]).sum(axis=1)
    name = folder.name
    results = [
        Entry(f"{name}: copies found of {COPIED}, {kind}", float(n), "copies", "higher", FOUND)
        for kind, n in zip(KINDS, found, strict=True)
    ]
    results.append(Entry(f"{name}: cpu seconds of {len(prints) + len(copies)} photos", seconds, "s", "lower"))
    if "product" in rows[0]:
        wrong = sum(
            groups[i] == groups[j]
            and (rows[i]["product"], rows[i]["aspect_color"]) != (rows[j]["product"], rows[j]["aspect_color"])
            and not (rows[i]["near_group"] and rows[i]["near_group"] == rows[j]["near_group"])
            for i in range(len(rows))
            for j in range(i)
        )
        results.append(Entry(f"{name}: wrongly merged variants", float(wrong), "pairs", "lower", 0))
    else:
        again = random.Random(2).sample(range(len(photos)), REPOSTED)
        posted = [saved(padded(photos[n], rng), rng) for n in again]
        groups = grouped(np.stack([*prints, *posted]))
        missed = sum(groups[len(prints) + place] != groups[n] for place, n in enumerate(again))
        most = Entry(
            f"{name}: of {REPOSTED} padded re-posts, not tied to their photo",
            float(missed),
            "posts",
            "lower",
            3,
        )
        results.append(most)
    return results


def placeholders(photo: Image.Image) -> list[Entry]:
    noise = np.random.default_rng(1).normal(0, 3, (10_000, 2, 32, 32, 3)).astype(np.float32)
    prints = (prints_of(photo) + noise).clip(0, 255).astype(np.uint8)
    del noise
    started = time.process_time()
    grouped(prints)
    return [Entry("10,000 copies of one photo, cpu seconds", time.process_time() - started, "s", "lower", 30)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found: list[Entry] = []
    for name in ("luma", "clothing"):
        found += measure(options.data / name)
    with Image.open(next((options.data / "luma" / "images").iterdir())) as photo:
        found += placeholders(photo.convert("RGB"))
    write(options.json, machine(), found)


if __name__ == "__main__":
    main()
