"""Who offers what in the sample, and the files that say so.

Every choice comes from a generator seeded by the sample's seed and a name, and every photo from one of its
own, so the same arguments give the same bytes, and a photo does not change when another is added.
"""

from __future__ import annotations

import csv
import multiprocessing
import os
import random
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from lookalike.ahead import ahead
from lookalike.progress import Progress, silent
from sample_shop.drawing import Drawing
from sample_shop.flaws import BROKEN, broken_photo, near_copy
from sample_shop.products import KINDS, SMALL_KINDS, Variant, products
from sample_shop.scenes import GROUNDS, SELLER, SHOPPER, Camera, photograph

PHOTOS_PER_VARIANT = 3
VARIANTS = 2
LATE = "catalogue"
"""The split of products that are on offer but that nobody learns from: a third of the queries, with those that curation
holds out, photograph products that no training has seen."""
_LATE_SHARE = 1 / 6
_SELLERS = 24
_THREADS = 2
_PHOTOS, _QUERY_PHOTOS = "photos", "query-photos"
_COLUMNS = (
    "listing_id", "image", "category", "title", "price", "product", "seller", "aspect_colour",
    "aspect_pattern", "aspect_material", "aspect_brand", "aspect_size", "stock", "split",
)  # fmt: skip
_BAD_ROWS = {
    "bad-price": {"price": "ask us"},
    "no-image": {"image": ""},
    "path-outside": {"image": "../../etc/passwd"},
}


@dataclass(frozen=True, slots=True)
class SamplePaths:
    """The two tables; photos lie beside them."""

    catalogue: Path
    queries: Path


@dataclass(frozen=True, slots=True)
class _Offer:
    """One row, and how its photo comes about: drawn, or made from the photo of `copy_of`."""

    listing_id: str
    variant: Variant
    category: str
    seller: str
    price: float
    size: str
    flaw: str = ""
    copy_of: str = ""
    product: bool = True
    split: str = ""

    def row(self, folder: str) -> dict[str, str]:
        rng = random.Random(self.listing_id)
        row = {
            "listing_id": self.listing_id,
            "image": f"{folder}/{self.listing_id}.jpg",
            "category": self.category,
            "title": self.variant.title,
            "price": f"{self.price:.2f}",
            "product": self.variant.product if self.product else "",
            "seller": self.seller,
            "aspect_size": self.size,
            "stock": str(rng.randint(1, 20)),
            "split": self.split,
        }
        row |= {f"aspect_{name}": value for name, value in self.variant.aspects.items()}
        return row | _BAD_ROWS.get(self.flaw, {})


def write_sample(
    directory: Path,
    *,
    products: int = 12,
    seed: int = 0,
    progress: Progress = silent,
    pool: Executor | None = None,
) -> SamplePaths:
    """Draw the sample under `directory`; `products` per leaf category, of six photos each and one query
    photo.

    The tables are written last. With the default, 1,385 listings and 216 queries, 15 MB and some 20 s of one core,
    on two threads: Pillow and NumPy draw mostly without the interpreter's lock. A `pool` of processes (`drawers`) draws
    wholly without.
    """
    rng = random.Random(f"{seed}/shop")
    offers = _offers(products, seed, rng)
    queries = list(_queries(products, seed))
    (directory / _PHOTOS).mkdir(parents=True, exist_ok=True)
    (directory / _QUERY_PHOTOS).mkdir(exist_ok=True)
    drawn = [offer for offer in offers if not offer.copy_of]

    photos = drawn + queries
    draw = partial(_draw, directory, seed)
    done = 0
    for drawn_now in ahead(draw, _by_variant(photos), threads=_THREADS, depth=8, name="draw", pool=pool):
        done += drawn_now
        progress("sample", done, len(photos))
    for offer in offers:
        if offer.copy_of:
            original = (directory / _PHOTOS / f"{offer.copy_of}.jpg").read_bytes()
            if offer.flaw == "near-copy":
                original = near_copy(original, random.Random(offer.listing_id))
            _write(directory / _PHOTOS / f"{offer.listing_id}.jpg", original)
    paths = SamplePaths(directory / "catalogue.csv", directory / "queries.csv")
    rows = [offer.row(_PHOTOS) for offer in offers]
    _write_table(paths.catalogue, _COLUMNS, [*rows, rows[0] | {"title": "offered twice"}])
    query_columns = [
        name for name in _COLUMNS if name not in ("price", "seller", "aspect_size", "stock", "split")
    ]
    _write_table(paths.queries, query_columns, (offer.row(_QUERY_PHOTOS) for offer in queries))
    flawed = ({"listing_id": offer.listing_id, "flaw": offer.flaw} for offer in offers if offer.flaw)
    _write_table(directory / "planted.csv", ("listing_id", "flaw"), flawed)
    return paths


def drawers() -> Executor:
    """Processes that draw for `write_sample`. For programs whose main module may be imported again."""
    return ProcessPoolExecutor(_THREADS, multiprocessing.get_context("spawn"), _follow_the_parent)


def _follow_the_parent() -> None:
    """Leave Ctrl-C to it, let its other work go first, and end when it ends, however it does."""
    os.nice(10)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_it() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_it, daemon=True).start()


def _draw(directory: Path, seed: int, offers: Sequence[_Offer]) -> int:
    """Write the photos of these; how many."""
    for offer in offers:
        photo: bytes | None = _photo(offer, seed, SELLER if offer.seller else SHOPPER)
        if photo and offer.flaw in BROKEN:
            photo = broken_photo(offer.flaw, photo, random.Random(offer.listing_id))
        folder = _PHOTOS if offer.seller else _QUERY_PHOTOS
        _write(directory / folder / f"{offer.listing_id}.jpg", photo)
    return len(offers)


def _offers(count: int, seed: int, rng: random.Random) -> list[_Offer]:
    """Every listing of the catalogue in the order of its rows."""
    drawn: list[_Offer] = []
    for kind in KINDS:
        for variants in products(kind, count, VARIANTS, seed):
            drawn += [_offer(variant, rng) for variant in variants for _ in range(PHOTOS_PER_VARIANT)]
    for kind, photos in SMALL_KINDS:
        drawn += [_offer(variants[0], rng) for variants in products(kind, photos, 1, seed)]
    rng.shuffle(drawn)
    offers = [replace(offer, listing_id=f"L{number:05d}") for number, offer in enumerate(drawn, 1)]
    learnable = {kind.category for kind in KINDS}
    sound = [number for number, offer in enumerate(offers) if offer.category in learnable]
    scale = min(1.0, len(sound) / 1000)  # a smaller sample has fewer flaws of each kind
    chosen = iter(rng.sample(sound, len(sound)))

    for flaw, number in (BROKEN | dict.fromkeys(_BAD_ROWS, 1)).items():
        for _ in range(max(1, round(number * scale))):
            at = next(chosen)
            offers[at] = replace(offers[at], flaw=flaw)
    for _ in range(max(2, round(18 * scale))):
        at = next(chosen)
        offers[at] = replace(offers[at], flaw="wrong-label", category=_other(offers[at].category, rng))
    for flaw, number in {"exact-copy": 40, "near-copy": 25, "copy-in-other-category": 4}.items():
        for _ in range(max(2, round(number * scale))):
            offers.append(_copy(offers[next(chosen)], flaw, f"L{len(offers) + 1:05d}", rng))
    late = _late_products(count, seed)
    return [replace(o, split=LATE) if o.variant.product in late else o for o in offers]


def _by_variant(offers: Iterable[_Offer]) -> list[list[_Offer]]:
    """Offers of one variant together: its surface is made once for them."""
    found: dict[tuple[str, str], list[_Offer]] = {}
    for offer in offers:
        found.setdefault((offer.variant.product, offer.variant.colour), []).append(offer)
    return list(found.values())


def _late_products(count: int, seed: int) -> set[str]:
    """Of each kind a sixth of its products; with the fifth of the rest that curation holds out, a third is new."""
    found: set[str] = set()
    for kind in KINDS:
        names = [variants[0].product for variants in products(kind, count, VARIANTS, seed)]
        found.update(random.Random(f"{seed}/late/{kind.category}").sample(names, round(count * _LATE_SHARE)))
    return found


def _offer(variant: Variant, rng: random.Random) -> _Offer:
    seller = f"seller-{min(_SELLERS, int(rng.paretovariate(0.7))):02d}"
    sizes = variant.kind.sizes
    start = rng.randrange(len(sizes)) if sizes else 0
    size = "|".join(sizes[start : start + rng.randint(1, 3)])
    price = round(variant.price * rng.uniform(0.85, 1.1), 2)
    return _Offer("", variant, variant.kind.category, seller, price, size)


def _copy(offer: _Offer, flaw: str, listing_id: str, rng: random.Random) -> _Offer:
    """Another seller's listing with the same photo, who does not know the product's code."""
    other = _offer(offer.variant, rng)
    category = _other(offer.category, rng) if flaw == "copy-in-other-category" else offer.category
    return replace(
        other, listing_id=listing_id, category=category, flaw=flaw, copy_of=offer.listing_id, product=False
    )


def _other(category: str, rng: random.Random) -> str:
    return rng.choice([kind.category for kind in KINDS if kind.category != category])


def _queries(count: int, seed: int) -> Iterator[_Offer]:
    number = 0
    for kind in KINDS:
        for variants in products(kind, count, VARIANTS, seed):
            number += 1
            variant = random.Random(f"{seed}/query/{number}").choice(variants)
            yield _Offer(f"Q{number:04d}", variant, kind.category, "", 0, "")


def asked(products: int = 12, seed: int = 0) -> Iterator[tuple[dict[str, str], Drawing]]:
    """The row of each query of the sample, without its photo, and what lies on that photo: the object on nothing."""
    for offer in _queries(products, seed):
        yield offer.row(_QUERY_PHOTOS), offer.variant.drawn(f"{seed}/{offer.listing_id}/pose")


def _photo(offer: _Offer, seed: int, camera: Camera) -> bytes:
    """Sellers have a favourite place for their photos; shoppers have not."""
    name = f"{seed}/{offer.listing_id}"
    favourites = random.Random(f"{seed}/{offer.seller}").sample(GROUNDS, 2)
    rng = random.Random(f"{name}/ground")
    ground = rng.choice(GROUNDS if camera is SHOPPER or rng.random() < 0.3 else favourites)
    return photograph(offer.variant.drawn(f"{name}/pose"), ground, camera, f"{name}/photo")


def _write(path: Path, data: bytes | None) -> None:
    if data is None:
        path.unlink(missing_ok=True)
    elif (
        not path.is_file() or path.read_bytes() != data
    ):  # one that is touched would be read again by the next curation
        path.write_bytes(data)


def _write_table(path: Path, columns: Sequence[str], rows: Iterable[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
