"""What curation does to one photo: CPU time to decode, shrink and describe it, and the bytes that are stored.

    python -m benchmarks.preparing FOLDER --side 1600 --json preparing.json

Some photos of FOLDER, drawn by a seed, are enlarged (Lanczos) to a longer side of `--side` pixels and saved as JPEG of
quality 88: so large as shops have them, and with as much in them as the photos at hand. With `--side 0` they are taken
as they are.
"""

from __future__ import annotations

import argparse
import io
import random
import time
from pathlib import Path

from PIL import Image

from benchmarks.report import Entry, machine, write
from lookalike.catalogue.rules import CurationConfig
from lookalike.imaging.photos import prepare


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="with JPEGs in it, or below it")
    parser.add_argument("--photos", type=int, default=20)
    parser.add_argument("--side", type=int, default=1600, help="pixels of the longer side; 0: as they are")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = sorted(options.folder.rglob("*.jpg"))
    chosen = random.Random(2).sample(found, min(options.photos, len(found)))
    if not chosen:
        parser.error(f"no .jpg below {options.folder}")
    photos = [enlarged(path, options.side) if options.side else path.read_bytes() for path in chosen]
    write(options.json, machine(), measure(photos), folder=options.folder.name, side=options.side)


def enlarged(path: Path, side: int) -> bytes:
    """The photo with a longer side of so many pixels, as JPEG."""
    with Image.open(path) as image:
        scale = side / max(image.size)
        size = (round(image.width * scale), round(image.height * scale))
        out = io.BytesIO()
        image.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(out, "JPEG", quality=88)
    return out.getvalue()


def measure(photos: list[bytes]) -> list[Entry]:
    config, count = CurationConfig(), len(photos)
    sizes = {"keep_side": config.keep_side, "shrunk_side": config.shrunk_side}
    prepare(photos[0], **sizes)
    began = time.process_time()
    prepared = [prepare(data, **sizes) for data in photos]
    seconds = time.process_time() - began
    pixels = sum(photo.info.width * photo.info.height for photo in prepared)
    return [
        Entry("CPU time of a photo", seconds / count * 1e3, "ms", "lower"),
        Entry("megapixels of a photo", pixels / count / 1e6, "MP", "lower"),
        Entry("bytes of a photo", sum(map(len, photos)) / count, "B", "lower"),
        Entry("bytes that are stored", sum(len(photo.stored) for photo in prepared) / count, "B", "lower"),
    ]


if __name__ == "__main__":
    main()
