"""Near duplicates: found exactly within the bits, confirmed by looks, grouped."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from lookalike.catalogue.duplicates import components, near_pairs


def flipped(value: int, bits: list[int]) -> int:
    for bit in bits:
        value ^= 1 << bit
    return value


@pytest.mark.parametrize("max_bits", [0, 1, 3, 6, 10])
def test_all_within_the_bits_are_linked_and_no_others(max_bits: int) -> None:
    rng = np.random.default_rng(max_bits)
    hashes = rng.integers(0, 2**64, 300, np.uint64)
    near = [
        flipped(int(h), rng.choice(64, rng.integers(0, 13), replace=False).tolist()) for h in hashes[:200]
    ]
    hashes = np.concatenate([hashes, np.array(near, np.uint64), hashes[:5]])
    alike = np.full((len(hashes), 16, 16, 3), 100, np.uint8)
    found = near_pairs(hashes, alike, max_bits, 1.0)
    distance = np.bitwise_count(hashes[:, None] ^ hashes[None, :])
    expected = np.argwhere(np.triu(distance <= max_bits, 1))
    assert np.array_equal(components(len(hashes), found), components(len(hashes), expected))
    assert {tuple(pair) for pair in found.tolist()} <= {tuple(pair) for pair in expected.tolist()}
    assert len(found) == len(hashes) - len({*components(len(hashes), found).tolist()})  # a spanning tree
    assert found.tolist() == sorted(found.tolist())
    assert len(found) >= 5


def test_thousands_of_copies_take_little_memory() -> None:
    count = 5_000
    rng = np.random.default_rng(0)
    hashes = np.array(
        [flipped(77, rng.choice(64, 2, replace=False).tolist()) for _ in range(count)], np.uint64
    )
    prints = np.full((count, 16, 16, 3), 100, np.uint8)
    tracemalloc.start()
    found = near_pairs(hashes, prints, 6, 8.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == count - 1
    assert set(components(count, found).tolist()) == {0}
    assert peak < 400e6


def test_the_same_hash_is_not_enough_when_the_photos_look_different() -> None:
    rng = np.random.default_rng(0)
    photo = rng.integers(40, 200, (16, 16, 3)).astype(np.uint8)
    other = rng.integers(40, 200, (16, 16, 3)).astype(np.uint8)
    prints = np.stack([photo, photo + 9, other])  # the second is brighter, as a copy may be
    found = near_pairs(np.array([5, 5, 5], np.uint64), prints, 6, 8.0)
    assert found.tolist() == [[0, 1]]


def test_nothing_and_one_photo_have_no_pairs() -> None:
    for count in (0, 1):
        prints = np.zeros((count, 16, 16, 3), np.uint8)
        assert near_pairs(np.zeros(count, np.uint64), prints, 6, 8.0).shape == (0, 2)


def test_components_are_named_by_their_smallest_node() -> None:
    pairs = np.array([[4, 2], [2, 3], [0, 5]])
    assert components(7, pairs).tolist() == [0, 1, 2, 2, 2, 0, 6]
    assert components(3, np.zeros((0, 2), np.int64)).tolist() == [0, 1, 2]
