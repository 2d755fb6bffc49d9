"""What clutter costs: objects on photos of other things, asked as they are, with a perfect box, and by automatic box.

    make demo ARGS=--once
    python -m benchmarks.cluttered --store .demo/store --scenes grocery/listings.csv --split test
    python -m benchmarks.cluttered --store luma-store --objects luma/listings.csv --scenes grocery/listings.csv

Objects take 10 to 60 % of the frame, anywhere in it (`clutter`). The perfect box is the object's own, and gets the
margin of a drawn one. Counted are the likeliest category (top-1) and whether the first hit is of the product, for all
photos and by the share of the frame that the object takes. Photos and their order follow from the seed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean

import lookalike
from benchmarks.clutter import SHARES, Cluttered, cluttered, of_catalogue, of_sample, scenes_of, write
from benchmarks.report import Entry, machine
from benchmarks.report import write as report
from lookalike.imaging.photos import Box
from lookalike.results import Results

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
WAYS: Mapping[str, Callable[[Cluttered], Box | None]] = {
    "whole photo": lambda _: WHOLE,
    "perfect box": lambda each: each.box,
    "automatic box": lambda _: None,
}
BY_SHARE = ((SHARES[0], 0.25), (0.25, 0.4), (0.4, SHARES[1]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", required=True, help="its live release and index are asked")
    parser.add_argument(
        "--objects", default="sample", help="a catalogue on plain grounds; the sample's by default"
    )
    parser.add_argument("--other-photos", action="store_true", help="of its listings not the main photo")
    parser.add_argument("--scenes", required=True, help="a catalogue whose photos are the scenes")
    parser.add_argument("--split", default=None, help="of the scenes")
    parser.add_argument("--products", type=int, default=12, help="of each kind of the sample")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=None, help="a folder for the photos")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    before = machine()
    objects = (
        of_sample(options.products)
        if options.objects == "sample"
        else of_catalogue(options.objects, None, options.other_photos)
    )
    photos = list(cluttered(objects, scenes_of(options.scenes, options.split), options.seed))
    if options.keep:
        write(photos, options.keep)
    shop = lookalike.open(options.store)
    found = {name: measure(shop, photos, box) for name, box in WAYS.items()}
    report(options.json, before, [e for name, each in found.items() for e in entries(name, photos, each)])


def measure(
    shop: lookalike.Shop, photos: Sequence[Cluttered], box: Callable[[Cluttered], Box | None]
) -> list[tuple[bool, bool, float]]:
    """Of each photo whether the likeliest category and the first hit's product are right, and the milliseconds."""
    return [_asked(shop, each, box(each)) for each in photos]


def _asked(shop: lookalike.Shop, each: Cluttered, box: Box | None) -> tuple[bool, bool, float]:
    started = time.perf_counter()
    answer: Results = shop.search(each.photo, k=1, box=box)
    took = 1000 * (time.perf_counter() - started)
    return (
        answer.categories[0].category == each.category,
        bool(answer) and answer[0].group == each.product,
        took,
    )


def entries(name: str, photos: Sequence[Cluttered], found: Sequence[tuple[bool, bool, float]]) -> list[Entry]:
    made = []
    for low, high in (SHARES, *BY_SHARE):
        some = [f for p, f in zip(photos, found, strict=True) if low <= p.share <= high]
        where = f"{name}, {low:.0%} to {high:.0%} of the frame ({len(some)})"
        for what, i in (("top-1", 0), ("product first", 1)):
            if some:
                made.append(Entry(f"{where}: {what}", 100 * mean(f[i] for f in some), "%", "higher"))
    made.append(
        Entry(f"{name}: a search", mean(f[2] for f in found), "ms", "lower", peer="whole photo: a search")
    )
    return made


if __name__ == "__main__":
    main()
