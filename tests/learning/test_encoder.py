"""The torch encoder says what search's encoder says, and extraction by it makes the same kind of shards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from lookalike.coding import codes
from lookalike.coding.encoder import open_encoder
from lookalike.coding.extraction import Pace
from lookalike.coding.extraction import extract as extract_with
from lookalike.coding.shards import read_features
from lookalike.errors import ReleaseError
from lookalike.imaging.photos import load_square
from lookalike.learning.encoder import open_torch_encoder
from lookalike.learning.extraction import extract, has_gpu
from lookalike.storage.artefacts import Artefact, Ref, fetch, read_manifest
from tests.learning.test_training import FAST, Place
from tests.shop import make_listings

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def curated(place: Place) -> Ref:
    return place.curate(make_listings(12))


@pytest.fixture(scope="module")
def release(place: Place, curated: Ref) -> Artefact:
    return fetch(place.store, place.train(curated), place.root / "cache")


def test_torch_and_openvino_encode_alike(release: Artefact) -> None:
    photos = np.stack([load_square(row.photo, FAST.preset.resize) for row in make_listings(12)])
    expected = open_encoder(release, threads=1, precision="f32").encode(photos)
    exact = open_torch_encoder(release, CPU).encode(photos)
    assert np.abs(exact.activations - expected.activations).max() < 1e-3
    assert np.abs(exact.probabilities - expected.probabilities).max() < 1e-3
    half = open_torch_encoder(release, CPU, bf16=True).encode(photos)
    for encoding, agreeing in ((exact, 0.995), (half, 0.985)):
        assert (codes.unpack(encoding.codes) == codes.unpack(expected.codes)).mean() >= agreeing
        top = encoding.probabilities.argmax(axis=1)
        assert (top == expected.probabilities.argmax(axis=1)).mean() >= agreeing


def test_photos_of_another_size_are_refused(release: Artefact) -> None:
    with pytest.raises(ReleaseError, match=r"photos must be u8\[n, 40, 40, 3\], not uint8\[1, 32, 32, 3\]"):
        open_torch_encoder(release, CPU).encode(np.zeros((1, 32, 32, 3), np.uint8))


def test_weights_of_another_network_are_refused(release: Artefact, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file({"trunk.conv1.weight": torch.zeros(1)}, path)
    foreign = Artefact(release.ref, release.manifest, {**release.paths, "weights.safetensors": path})
    with pytest.raises(ReleaseError, match=r"weights\.safetensors does not fit its model card"):
        open_torch_encoder(foreign, CPU)


def test_a_gpu_under_wsl2_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "exists", lambda path: str(path) == "/dev/dxg")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert has_gpu()


def test_extraction_by_torch_covers_the_catalogue(
    place: Place, curated: Ref, release: Artefact, tmp_path: Path
) -> None:
    """Two forward passes at a time; beside it what a machine without a GPU does by itself."""
    pace = Pace(batch=16, decoders=2, encoders=2)
    store, cache = place.store, place.root / "cache"
    ids = [row.photo_id for row in make_listings(12)]
    found = {}
    for name in ("torch", "openvino"):
        if name == "torch":
            encoder = open_torch_encoder(release, CPU)
            ref = extract_with(store, curated, release.ref, cache_dir=cache, encoder=encoder, pace=pace)
        else:
            ref = extract(store, curated, release.ref, cache_dir=cache, threads=1)
        assert read_manifest(store, ref).meta["photos"] == len(ids)
        found[name] = read_features(store, ref, ids, cache)
        for info in [*store.list("codes/"), *store.list("extractions/")]:
            store.delete(info.key)
    scale = np.abs(found["openvino"]).max()
    assert np.abs(found["torch"] - found["openvino"]).max() < 0.05 * scale
