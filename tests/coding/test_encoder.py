"""The encoder: what it gives, on any batch, from any thread; and releases that it refuses."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from lookalike.coding import codes
from lookalike.coding.encoder import OpenVinoEncoder, compile_encoder, encoding_of, open_encoder
from lookalike.coding.release import ModelCard, TransformPreset
from lookalike.errors import ReleaseError
from lookalike.imaging.photos import load_square
from lookalike.storage.artefacts import Artefact, fetch
from tests.shop import Shop


@pytest.fixture(scope="module")
def release(shop: Shop) -> Artefact:
    return fetch(shop.store, shop.release, shop.cache_dir)


@pytest.fixture(scope="module")
def encoder(release: Artefact) -> OpenVinoEncoder:
    return open_encoder(release, threads=1, precision="f32")


@pytest.fixture(scope="module")
def photos(shop: Shop, encoder: OpenVinoEncoder) -> np.ndarray:
    side = encoder.card.preset.resize
    return np.stack([load_square(row.photo, side) for row in shop.listings[:9]])


def test_an_encoding_has_a_row_per_photo(encoder: OpenVinoEncoder, photos: np.ndarray) -> None:
    found, card = encoder.encode(photos), encoder.card
    assert found.probabilities.shape == (9, len(card.categories))
    assert found.probabilities.sum(axis=1) == pytest.approx(1)
    assert found.activations.shape == (9, card.bits)
    assert found.features.shape == (9, card.features)
    assert np.array_equal(found.codes, codes.pack(found.activations))


def test_a_photo_is_encoded_alike_in_any_batch(encoder: OpenVinoEncoder, photos: np.ndarray) -> None:
    together = encoder.encode(photos)
    for at in (0, 4, 8):
        alone = encoder.encode(photos[at : at + 1])
        assert np.array_equal(alone.codes[0], together.codes[at])
        assert alone.features[0] == pytest.approx(together.features[at], abs=1e-4)


def test_many_photos_are_encoded_a_few_at_a_time(encoder: OpenVinoEncoder, photos: np.ndarray) -> None:
    """The runtime keeps memory for the most that it ever got at a time."""
    few = [encoder.encode(photos[start : start + 4]) for start in (0, 4, 8)]
    together = encoder.encode(photos)
    for name in ("probabilities", "activations", "features", "codes", "regions"):
        assert np.array_equal(getattr(together, name), np.concatenate([getattr(each, name) for each in few]))


def test_a_signal_finds_the_process_alive_after_another_thread_dropped_the_encoder(release: Artefact) -> None:
    """OpenVINO's plugin owns the memory that handlers of the opening thread run on."""
    script = """
import os, signal, sys, threading
from pathlib import Path
from lookalike.coding.encoder import compile_encoder
from lookalike.coding.release import ModelCard
card, graph = Path(sys.argv[1]), Path(sys.argv[2])
held = [compile_encoder(ModelCard.read(card), graph, threads=1)]
dropping = threading.Thread(target=held.clear)
dropping.start()
dropping.join()
signal.signal(signal.SIGTERM, lambda *_: print("handled"))
os.kill(os.getpid(), signal.SIGTERM)
"""
    files = [release.path(name) for name in ("model.json", "model.onnx")]
    command = [sys.executable, "-c", script, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


def test_threads_may_share_an_encoder(encoder: OpenVinoEncoder, photos: np.ndarray) -> None:
    expected = [encoder.encode(photo[None]).codes for photo in photos]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda photo: encoder.encode(photo[None]).codes, np.tile(photos, (5, 1, 1, 1))))
    assert all(np.array_equal(code, expected[i % len(expected)]) for i, code in enumerate(found))


def test_temperature_and_thresholds_of_the_card_are_used() -> None:
    card = ModelCard("t", "t", ("a", "b"), TransformPreset("t", 32, 32), bits=8, features=1)
    warm = dataclasses.replace(card, temperature=2.0, thresholds=(0.1,) * 4 + (0.9,) * 4)
    logits, activations = np.array([[2.0, 0.0]]), np.full((1, 8), 0.5)
    plain, found = (encoding_of(each, logits, activations, np.zeros((1, 1))) for each in (card, warm))
    assert plain.probabilities[0, 0] == pytest.approx(1 / (1 + np.exp(-2)))
    assert found.probabilities[0, 0] == pytest.approx(1 / (1 + np.exp(-1)))
    assert plain.codes.tolist() == [[0]]
    assert found.codes.tolist() == [[0b11110000]]


@pytest.mark.parametrize("shape", [(64, 64, 3), (1, 32, 32, 3), (1, 3, 64, 64)])
def test_photos_of_another_shape_are_refused(encoder: OpenVinoEncoder, shape: tuple[int, ...]) -> None:
    with pytest.raises(ReleaseError, match="photos must be u8"):
        encoder.encode(np.zeros(shape, np.uint8))


def test_a_file_that_is_no_graph_is_named(encoder: OpenVinoEncoder, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no graph")
    with pytest.raises(ReleaseError, match=r"model\.onnx cannot be run"):
        compile_encoder(encoder.card, path)


def test_a_graph_that_does_not_fit_its_card_is_refused(release: Artefact, encoder: OpenVinoEncoder) -> None:
    wrong = dataclasses.replace(encoder.card, bits=encoder.card.bits * 2)
    with pytest.raises(ReleaseError, match="says otherwise"):
        compile_encoder(wrong, release.path("model.onnx"), threads=1)
