"""The network: one pass, three outputs; trunks by name; a hash layer that starts balanced."""

from __future__ import annotations

import pytest
import torch

from lookalike.errors import TrainingError
from lookalike.learning.hash_heads import HashHead
from lookalike.learning.network import HashNetwork, build_trunk


def test_one_pass_gives_logits_activations_and_features() -> None:
    network = HashNetwork("resnet10-w8", categories=5, bits=64).eval()
    outputs = network(torch.randn(3, 3, 48, 48))
    assert [tuple(value.shape) for value in outputs] == [(3, 5), (3, 64), (3, 64)]
    assert (outputs.activations > 0).all()
    assert (outputs.activations < 1).all()
    assert torch.equal(network.category_head(outputs.features), outputs.logits)


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


@pytest.mark.parametrize("name", ["resnet19", "vgg16", "resnet18-32", "", "resnet18-w"])
def test_an_unknown_trunk_is_refused_by_name(name: str) -> None:
    with pytest.raises(TrainingError, match="unknown trunk"):
        build_trunk(name)


def test_a_centred_hash_head_splits_the_photos_at_every_bit() -> None:
    features = torch.rand(200, 32, generator=torch.Generator().manual_seed(0)) + 3  # positive, far from zero
    head = HashHead(32, 256)
    head.centre(features)
    pre = head.linear(features)
    assert torch.allclose(pre.mean(dim=0), torch.zeros(256), atol=1e-3)
    assert torch.allclose(pre.std(dim=0), torch.ones(256), atol=1e-3)
    ones = (head(features) > 0.5).float().mean(dim=0)
    assert ones.min() > 0.3
    assert ones.max() < 0.7
