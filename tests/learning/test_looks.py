"""Where the object is, and its colours: on drawn photos whose truth is known, in torch and in the exported graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from lookalike.coding.encoder import compile_encoder
from lookalike.coding.release import ModelCard, TransformPreset
from lookalike.learning.export import export_onnx
from lookalike.learning.looks import COLOURS, Foreground, Lab, Palette, pooled
from lookalike.learning.network import HashNetwork
from lookalike.learning.transforms import plain_transform

PRESET = TransformPreset("test", 96, 96)
RED, GREEN, BLUE, SAND = (190, 30, 40), (40, 150, 60), (40, 60, 180), (205, 190, 160)


def drawn(
    colour: tuple[int, int, int], ground: tuple[int, int, int], at: tuple[int, int] = (48, 48)
) -> np.ndarray:
    """A disc of `colour` with some noise on a ground."""
    image = Image.new("RGB", (96, 96), ground)
    ImageDraw.Draw(image).ellipse([at[0] - 22, at[1] - 22, at[0] + 22, at[1] + 22], fill=colour)
    noise = np.random.default_rng(0).normal(0, 4, (96, 96, 3))
    return np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8)


def normalised(*photos: np.ndarray) -> Tensor:
    squares = torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2)
    found: Tensor = plain_transform(PRESET, torch.device("cpu"))(squares)
    return found


def palettes(*photos: np.ndarray) -> np.ndarray:
    lab = Lab(PRESET)(normalised(*photos))
    found: np.ndarray = Palette()(lab, Foreground()(lab)).numpy()
    return found


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((255, 255, 255), (100.0, 0.0, 0.0)),
        ((0, 0, 0), (0.0, 0.0, 0.0)),
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
    ],
)
def test_lab_is_cies(rgb: tuple[int, int, int], lab: tuple[float, float, float]) -> None:
    photo = np.full((96, 96, 3), rgb, np.uint8)
    assert Lab(PRESET)(normalised(photo))[0, :, 20, 20].tolist() == pytest.approx(lab, abs=0.1)


@pytest.mark.parametrize("at", [(48, 48), (38, 55)])
def test_the_object_is_told_from_its_ground(at: tuple[int, int]) -> None:
    lab = Lab(PRESET)(normalised(drawn(RED, SAND, at)))
    foreground = Foreground()(lab)[0, 0].numpy()
    y, x = np.mgrid[0 : len(foreground), 0 : len(foreground)] * 2
    inside = (x - at[0]) ** 2 + (y - at[1]) ** 2 < 18**2
    outside = (x - at[0]) ** 2 + (y - at[1]) ** 2 > 28**2
    assert foreground[inside].mean() > 0.5
    assert foreground[outside].mean() < 0.02


def test_a_palette_is_the_objects_and_not_the_grounds() -> None:
    red_on_sand, red_on_green, blue_on_sand = palettes(drawn(RED, SAND), drawn(RED, GREEN), drawn(BLUE, SAND))
    assert np.linalg.norm(red_on_sand) == pytest.approx(1, abs=1e-5)
    assert red_on_sand @ red_on_green > 0.9
    assert red_on_sand @ blue_on_sand < 0.4


def test_a_photo_of_one_colour_has_that_palette() -> None:
    """No object to tell from a ground: nothing divides by nothing."""
    plain, disc = palettes(np.full((96, 96, 3), RED, np.uint8), drawn(RED, SAND))
    assert np.isfinite(plain).all()
    assert plain @ disc > 0.9


def test_features_are_pooled_over_the_object() -> None:
    foreground = torch.zeros(1, 1, 8, 8)
    foreground[0, 0, :4, :4] = 1
    maps = torch.arange(4.0).view(1, 1, 2, 2)
    found = pooled(maps, foreground).item()
    assert found == pytest.approx((0 * 1.05 + (1 + 2 + 3) * 0.05) / (1.05 + 3 * 0.05), abs=1e-5)


@pytest.mark.parametrize("trunk", ["resnet10-w8", "efficientnet_lite0", "mobilenet_v3_small"])
def test_the_exported_graph_has_the_same_looks(trunk: str, tmp_path: Path) -> None:
    """One photo and several, though it was exported with two; a trunk without maps, too."""
    photos = np.stack([drawn(RED, SAND), drawn(BLUE, GREEN), drawn(GREEN, SAND)])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = HashNetwork(trunk, categories=3, bits=64, hash_head="split", looks=PRESET).eval()
        with torch.inference_mode():
            network.hash_head.fit(network.features(normalised(*photos)), network.category_head)
            expected = network(normalised(*photos))
    assert network.feature_count == network.category_head.in_features + COLOURS
    path = tmp_path / "model.onnx"
    export_onnx(network, PRESET, path)
    card = ModelCard(
        trunk, "test", tuple("abc"), PRESET, 64, network.feature_count, colours=COLOURS, colour_bits=8
    )
    encoder = compile_encoder(card, path, threads=1, precision="f32")
    for some in (slice(0, 1), slice(0, 3)):
        found = encoder.encode(photos[some]).features
        assert np.abs(found - expected.features[some].numpy()).max() < 1e-3


def test_bits_about_colours_see_nothing_else() -> None:
    torch.manual_seed(0)
    network = HashNetwork("resnet10-w8", categories=3, bits=64, hash_head="split", looks=PRESET)
    features = torch.rand(50, network.feature_count)
    network.hash_head.fit(features, network.category_head)
    recoloured = features.clone()
    recoloured[:, -COLOURS:] = torch.rand(50, COLOURS)
    with torch.inference_mode():
        before, after = (network.hash_head(rows) > 0.5 for rows in (features, recoloured))
        same = torch.equal(network.category_head(features), network.category_head(recoloured))
    assert torch.equal(before[:, :-8], after[:, :-8])
    assert not torch.equal(before[:, -8:], after[:, -8:])
    assert same
