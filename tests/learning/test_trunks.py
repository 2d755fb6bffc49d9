"""Trunks by name: ours and torchvision's, each with its width, and each the same network once it is exported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lookalike.coding.encoder import compile_encoder
from lookalike.coding.release import ModelCard, TransformPreset
from lookalike.errors import TrainingError
from lookalike.learning.export import export_onnx
from lookalike.learning.network import HashNetwork
from lookalike.learning.transforms import plain_transform
from lookalike.learning.trunks import build_trunk, check_size

PRESET = TransformPreset("test", 72, 64)


@pytest.mark.parametrize("side", [32, 40, 97])
def test_photos_of_any_size_give_the_same_width_of_features(side: int) -> None:
    trunk, width = build_trunk("resnet10-w16")
    assert trunk.eval()(torch.zeros(1, 3, side, side)).shape == (1, width)
    assert width == 128


def test_plain_names_are_torchvisions_networks() -> None:
    """So that torchvision's published weights fit."""
    from torchvision.models import resnet18, resnet50

    for name, theirs in (("resnet18", resnet18), ("resnet50", resnet50)):
        expected = {
            key: value.shape for key, value in theirs().state_dict().items() if not key.startswith("fc.")
        }
        assert {key: value.shape for key, value in build_trunk(name)[0].state_dict().items()} == expected


def test_a_narrower_trunk_has_the_same_layers() -> None:
    narrow, full = build_trunk("resnet18-w16")[0].state_dict(), build_trunk("resnet18")[0].state_dict()
    assert narrow.keys() == full.keys()
    assert all(narrow[key].shape[0] * 4 == full[key].shape[0] for key in narrow if narrow[key].ndim == 4)


@pytest.mark.parametrize(
    "name", ["resnet19", "inception_v3", "resnet18-32", "", "resnet18-w", "squeezenet1_1"]
)
def test_an_unknown_trunk_is_refused_by_name(name: str) -> None:
    with pytest.raises(TrainingError, match="unknown trunk"):
        build_trunk(name)


@pytest.mark.parametrize(
    ("name", "width"),
    [("mobilenet_v3_small", 1024), ("regnet_y_400mf", 440), ("shufflenet_v2_x0_5", 1024), ("swin_t", 768)],
)
def test_torchvisions_classifiers_lose_their_last_layer(name: str, width: int) -> None:
    trunk, found = build_trunk(name)
    assert found == width
    with torch.inference_mode():
        assert trunk.eval()(torch.zeros(2, 3, 64, 64)).shape == (2, width)


def test_a_trunk_of_one_size_says_so() -> None:
    trunk, width = build_trunk("vit_b_16")
    assert width == 768
    with pytest.raises(TrainingError, match="vit_b_16 cannot take photos of 112 pixels"):
        check_size(trunk, "vit_b_16", 112)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "efficientnet_b0"])
def test_an_exported_trunk_gives_on_openvino_what_it_gives_on_torch(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = HashNetwork(name, categories=5, bits=64)
    rng = np.random.default_rng(0)
    photos = rng.integers(0, 256, (6, 72, 72, 3)).astype(np.uint8)
    seen = plain_transform(PRESET)(torch.from_numpy(photos).permute(0, 3, 1, 2))
    with torch.no_grad():
        network.train()(seen)  # statistics of real photos, or all features vanish
        expected = network.eval()(seen)
    card = ModelCard(name, "test", tuple("abcde"), PRESET, 64, network.feature_count)
    overwriting = [getattr(each, "inplace", None) for each in network.modules()]
    export_onnx(network, PRESET, tmp_path / "model.onnx")
    assert [getattr(each, "inplace", None) for each in network.modules()] == overwriting
    assert any(overwriting)
    found = compile_encoder(card, tmp_path / "model.onnx", threads=1, precision="f32").encode(photos)
    scale = expected.features.abs().max().item()
    np.testing.assert_allclose(found.features, expected.features.numpy(), atol=1e-3 * scale)
    np.testing.assert_allclose(found.activations, expected.activations.numpy(), atol=1e-3)
