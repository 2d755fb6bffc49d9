"""The quality benchmark runs to the end on little data, and Fashion-MNIST becomes a catalogue."""

from __future__ import annotations

import csv
import gzip
import json
import struct
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import fashion_mnist, quality
from lookalike.coding import codes
from lookalike.coding.extraction import extract
from lookalike.learning.recipes import tiny
from lookalike.learning.training import train
from lookalike.storage.directory import DirectoryStore
from tests.shop import make_listings, write_curated


def test_it_compares_codes_of_a_small_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, cache = DirectoryStore(tmp_path / "store"), tmp_path / "cache"
    work = tmp_path / "work"
    work.mkdir()
    curated = write_curated(store, tuple(make_listings(20)), work)
    stage = replace(tiny().category_stage, epochs=3)
    recipe = replace(tiny(), category_stage=stage, bits=128, hash_head="split")
    release = train(store, curated, recipe, cache_dir=cache, threads=1)
    extract(store, curated, release, cache_dir=cache, threads=1)
    command = f"quality --store {tmp_path}/store --queries train --seeds 2 --epochs 2 --rows 5000 --bits 64"
    command += f" --json {tmp_path}/found.json --plot {tmp_path}/found.svg"
    monkeypatch.setattr(sys, "argv", command.split())
    quality.main()
    report = json.loads((tmp_path / "found.json").read_text())
    values = {entry["name"]: entry["value"] for entry in report["results"]}
    for method in ("LSH 64", "LSH, medians 64", "PCA 64", "ITQ 64", "signs 64", "sigmoid 64", "split 64"):
        assert 0 < values[f"{method}: mAP"] <= 1
        assert 0 <= values[f"{method}: features kept"] <= 1
    assert values["floats, centred: features kept"] == 1
    assert values["LSH 64: ± mAP"] >= 0
    assert values["codes 64: one query"] > 0
    assert (tmp_path / "found.svg").read_text().startswith("<?xml")


def test_distances_are_those_of_the_oracle() -> None:
    rng = np.random.default_rng(0)
    queries, gallery = rng.integers(0, 256, (3, 32), np.uint8), rng.integers(0, 256, (5000, 32), np.uint8)
    expected = np.stack([codes.hamming(query, gallery) for query in queries])
    assert (quality.hamming(queries, gallery) == expected).all()


def test_fashion_mnist_keeps_its_split(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for stem, count in (("train", 40), ("t10k", 10)):
        for kind, values in (
            ("images-idx3", rng.integers(0, 256, (count, 28, 28), np.uint8)),
            ("labels-idx1", np.arange(count, dtype=np.uint8) % 10),
        ):
            head = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
            (tmp_path / f"{stem}-{kind}-ubyte.gz").write_bytes(gzip.compress(head + values.tobytes()))
    listings = fashion_mnist.convert(tmp_path, tmp_path / "catalogue")
    rows = list(csv.DictReader(listings.read_text().splitlines()))
    assert [row["split"] for row in rows] == ["train"] * 36 + ["val"] * 4 + ["test"] * 10
    assert rows[41]["category"] == fashion_mnist.CATEGORIES[1]
    photo = np.asarray(Image.open(listings.parent / rows[7]["image"]))
    assert (photo == fashion_mnist.read_idx(tmp_path / "train-images-idx3-ubyte.gz")[7]).all()


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "odd.gz"
    path.write_bytes(gzip.compress(struct.pack(">HBBI", 0, 8, 1, 5) + b"abc"))
    with pytest.raises(ValueError, match="holds 3 bytes"):
        fashion_mnist.read_idx(path)
