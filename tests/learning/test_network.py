"""The network: one pass, three outputs; a hash layer that starts balanced."""

from __future__ import annotations

import torch

from lookalike.learning.hash_heads import HashHead
from lookalike.learning.network import HashNetwork


def test_one_pass_gives_logits_activations_and_features() -> None:
    network = HashNetwork("resnet10-w8", categories=5, bits=64).eval()
    outputs = network(torch.randn(3, 3, 48, 48))
    assert [tuple(value.shape) for value in outputs] == [(3, 5), (3, 64), (3, 64)]
    assert (outputs.activations > 0).all()
    assert (outputs.activations < 1).all()
    assert torch.equal(network.category_head(outputs.features), outputs.logits)


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
