"""Which parts of a frame are like the catalogue, in torch and in the exported graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812  torch's own usage

from lookalike.coding.encoder import compile_encoder
from lookalike.coding.release import ModelCard, TransformPreset
from lookalike.learning.export import Graph, export_onnx
from lookalike.learning.looks import COLOURS
from lookalike.learning.network import HashNetwork
from lookalike.learning.regions import Regions

PRESET = TransformPreset("test", 96, 96)


def test_cells_like_some_category_stand_out() -> None:
    features = torch.eye(6)[:2].repeat_interleave(5, dim=0)
    regions = Regions.of(features, torch.arange(10) // 5)
    maps = torch.zeros(1, 6, 5, 5)
    maps[:, 5] = 1  # like nothing that is sold
    maps[0, :, 1, 1] = 3 * torch.eye(6)[0]
    maps[0, :, 3, 3] = 3 * torch.eye(6)[1]
    found = regions(maps)[0]
    assert found.shape == (5, 5)
    assert found[1, 1] > 0.8
    assert found[3, 3] > 0.8
    assert found[0, 4] == 0


def test_many_categories_are_joined_to_few_means() -> None:
    torch.manual_seed(0)
    features = F.normalize(torch.rand(300, 8))
    regions = Regions.of(features, torch.arange(300))
    assert regions.means.shape == (64, 8, 1, 1)
    assert torch.equal(regions.means, Regions.of(features, torch.arange(300)).means)
    assert (features @ regions.means[:, :, 0, 0].T).amax(dim=1).mean() > 0.95


def test_the_exported_graph_says_the_same(tmp_path: Path) -> None:
    photos = np.random.default_rng(0).integers(0, 256, (3, 96, 96, 3), np.uint8)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = HashNetwork("resnet10-w8", categories=3, bits=64, looks=PRESET).eval()
    width = network.feature_count - COLOURS
    regions = Regions.of(torch.rand(9, width), torch.arange(9) % 3)
    path = tmp_path / "model.onnx"
    export_onnx(network, PRESET, path, regions)
    card = ModelCard("resnet10-w8", "test", tuple("abc"), PRESET, 64, network.feature_count, colours=COLOURS)
    found = compile_encoder(card, path, threads=1, precision="f32").encode(photos)
    pixels = torch.from_numpy(photos).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (PRESET.mean, PRESET.std))
    with torch.inference_mode():
        features, maps = network.trunk.look((pixels - mean) / std)
        assert maps is not None
        expected = regions(maps).numpy()
    assert found.regions.shape == expected.shape
    assert np.abs(found.regions - expected).max() < 1e-3
    assert np.abs(found.features - features.numpy()).mean() < 1e-3
    graph = Graph(network, PRESET, Regions.blank(3, width))
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(1)
        trained = HashNetwork("resnet10-w8", categories=3, bits=64, looks=PRESET).eval()
    graph.write(tmp_path / "trained.onnx", trained, regions)
    graph.write(tmp_path / "again.onnx", network, regions)
    assert (
        (tmp_path / "again.onnx").read_bytes()
        == path.read_bytes()
        != (tmp_path / "trained.onnx").read_bytes()
    )
    assert graph.is_of(trained, regions)
    assert not graph.is_of(trained, Regions.blank(2, width))
    assert not graph.is_of(trained)
    assert not [name for name in network.state_dict() if "means" in name], (
        "weights of releases stay as they were"
    )
