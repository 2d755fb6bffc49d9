"""Codes for the benchmark of the scan: uniform, or those of a trained network, grown to any number of rows.

A catalogue has too few listings of one category for a benchmark of a million. A row is grown from a real photo and two
others of its ten nearest neighbours in the same category: their pooled features are mixed in random proportions
(Dirichlet), and the release's own hash head turns the mixture into a code. So codes vary from row to row as the
network makes them vary; `bits` instead takes every bit from one of two neighbours at random, which breaks the ties
between bits and is the harder case for sketches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from benchmarks.hashings import Sample, fit
from benchmarks.quality import newest, read_task
from lookalike.catalogue.snapshot import CuratedSnapshot
from lookalike.coding.codes import pack
from lookalike.coding.release import ModelCard
from lookalike.coding.shards import read_features
from lookalike.learning.hash_heads import build_head
from lookalike.storage.artefacts import Ref, fetch, read_manifest
from lookalike.storage.objects import ObjectStore

OWN = "own"
"""The hash layer of the release itself."""
FITTED = 10_000
"""Photos that another hash layer is trained on, at most."""
QUERIES = 32
NEIGHBOURS = 10
_CHUNK = 8192

Codes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Network:
    """Pooled features of one category's photos, and the hash head over them."""

    name: str
    features: Floats
    """float32[photos, d]"""
    bits: int
    codes: Callable[[Floats], Codes]
    """float32[n, d] -> uint8[n, bits / 8]"""


def uniform(rows: int, seed: int, bits: int = 4096) -> tuple[Codes, Codes]:
    """Rows and queries without any structure: no sketch can help."""
    rng = np.random.default_rng(seed)
    codes = aligned(rows, bits // 8)
    for start in range(0, rows, _CHUNK):
        part = codes[start : start + _CHUNK]
        part[:] = rng.integers(0, 256, part.shape, np.uint8)
    return codes, rng.integers(0, 256, (QUERIES, bits // 8), np.uint8)


def factors(count: int, seed: int, bits: int = 4096) -> Network:
    """A made-up category of `count` degrees of freedom: every bit is a side of a random plane in so many dimensions."""
    rng = np.random.default_rng(seed)
    planes, offsets = rng.normal(size=(count, bits)), rng.normal(size=bits)
    photos = rng.normal(size=(4000, count)).astype(np.float32)
    return Network(
        f"{count} factors", photos, bits, lambda some: np.packbits(some @ planes > offsets, axis=1)
    )


def grown(
    network: Network, rows: int, seed: int, mix: Literal["features", "bits"] = "features"
) -> tuple[Codes, Codes]:
    """Rows grown from all but `QUERIES` photos of the category, and the codes of those as queries."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(network.features))
    queries, base = network.features[order[:QUERIES]], network.features[order[QUERIES:]]
    base_codes = network.codes(base)
    squares = (base * base).sum(axis=1)
    near = np.empty((len(base), NEIGHBOURS + 1), np.int64)
    for start in range(0, len(base), 1024):
        distances = squares - 2 * base[start : start + 1024] @ base.T
        near[start : start + 1024] = np.argpartition(distances, NEIGHBOURS, axis=1)[:, : NEIGHBOURS + 1]
    codes = aligned(rows, network.bits // 8)
    for start in range(0, rows, _CHUNK):
        part = codes[start : start + _CHUNK]
        photos = near[rng.integers(0, len(base), len(part))]
        if mix == "features":
            chosen = np.take_along_axis(photos, rng.integers(0, NEIGHBOURS + 1, (len(part), 3)), axis=1)
            shares = rng.dirichlet(np.ones(3), len(part)).astype(np.float32)
            part[:] = network.codes((base[chosen] * shares[:, :, None]).sum(axis=1))
        else:
            pair = np.take_along_axis(photos, rng.integers(0, NEIGHBOURS + 1, (len(part), 2)), axis=1)
            mask = rng.integers(0, 256, part.shape, np.uint8)
            part[:] = (base_codes[pair[:, 0]] & mask) | (base_codes[pair[:, 1]] & ~mask)
    return codes, network.codes(queries)


def from_store(name: str, store: ObjectStore, cache: Path, head: str = OWN) -> Network:
    """The newest extraction of a store: the category with the most photos.

    `head` names a hash layer of `benchmarks.hashings` to be trained on the store's features instead of the release's.
    """
    extraction = newest(store)
    manifest = read_manifest(store, extraction)
    release = fetch(store, Ref.parse(manifest.meta["release"]), cache, ["model.json", "weights.safetensors"])
    listings = CuratedSnapshot.open(store, Ref.parse(manifest.inputs["curated"]), cache).listings
    category = dict(zip(listings["photo_id"].to_pylist(), listings["category"].to_pylist(), strict=True))
    largest = Counter(category.values()).most_common(1)[0][0]
    photos = sorted(photo for photo, of in category.items() if of == largest)
    card = ModelCard.read(release.path("model.json"))
    if head == OWN:
        codes = head_codes(card, release.path("weights.safetensors"))
    else:
        task = read_task(store, extraction, "val", 1, cache)
        drawn = task.gallery.some(FITTED, 0)
        codes = fit(head, Sample(drawn.features, drawn.labels, task.category_head), card.bits, seed=0)
    features = read_features(store, extraction, photos, cache)
    return Network(f"{name} {largest}, {head} head", features, card.bits, codes)


def head_codes(card: ModelCard, weights: Path) -> Callable[[Floats], Codes]:
    """The release's own way from features to codes."""
    import torch
    from safetensors.torch import load_file

    prefix = "hash_head."
    state = {key.removeprefix(prefix): v for key, v in load_file(weights).items() if key.startswith(prefix)}
    head = build_head(card.hash_head, card.features, card.bits, len(card.categories))
    head.load_state_dict(state)
    thresholds = card.threshold_array

    def codes(features: Floats) -> Codes:
        with torch.inference_mode():
            activations: Floats = head(torch.from_numpy(features)).numpy()
        return pack(activations, thresholds)

    return codes


def aligned(rows: int, width: int) -> Codes:
    """uint8[rows, width] on a cache line, as a segment has them."""
    space = np.empty(rows * width + 64, np.uint8)
    start = -space.ctypes.data % 64
    return space[start : start + rows * width].reshape(rows, width)
