"""Suspected labels: what proves most comes first, and a good label among good ones is left in peace."""

from __future__ import annotations

import numpy as np

from lookalike.catalogue.suspects import Labelled, find_suspects


def listing(number: int, category: str, photo: str = "", product: str = "") -> Labelled:
    photo = photo or f"photo {number}"
    return Labelled(f"L{number}", category, number, photo, photo.split("~")[0], product)


def prints(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (count, 16, 16, 3)).astype(np.uint8)


def test_one_photo_in_two_categories_puts_both_in_doubt() -> None:
    found = find_suspects([listing(0, "cap", "x"), listing(1, "mug", "x"), listing(2, "mug")], prints(3))
    assert [(s.listing_id, s.category, s.other, s.evidence) for s in found] == [
        ("L0", "cap", "mug", "same photo"),
        ("L1", "mug", "cap", "same photo"),
    ]


def test_the_majority_of_copies_is_believed() -> None:
    listings = [listing(i, "mug" if i else "cap", f"x~{i}") for i in range(4)]
    found = find_suspects(listings, prints(4))
    assert [(s.listing_id, s.other, s.evidence) for s in found] == [("L0", "mug", "nearly the same photo")]


def test_a_product_that_says_otherwise() -> None:
    listings = [listing(i, "mug" if i else "cap", product="p") for i in range(5)]
    listings += [listing(5, "cap", product="q"), listing(6, "mug", product="q")]  # two are no majority
    found = find_suspects(listings, prints(7))
    assert [(s.listing_id, s.other, s.evidence) for s in found] == [("L0", "mug", "same product")]


def test_a_photo_that_looks_like_another_category() -> None:
    rng = np.random.default_rng(1)
    x = np.arange(16)
    upright, lying = (np.sin(x * 1.2)[None, :], np.sin(x * 1.2)[:, None])
    pictures = []
    for i in range(60):
        wave = np.broadcast_to(upright if i < 30 else lying, (16, 16))
        pictures.append(128 + 80 * wave[..., None] + rng.normal(0, 12, (16, 16, 3)))
    photos = np.stack(pictures).clip(0, 255).astype(np.uint8)
    listings = [listing(i, "fence" if i < 30 else "stairs") for i in range(60)]
    assert find_suspects(listings, photos) == []
    listings[7] = listing(7, "stairs")
    found = find_suspects(listings, photos)
    assert [(s.listing_id, s.category, s.other, s.evidence) for s in found] == [
        ("L7", "stairs", "fence", "looks")
    ]
