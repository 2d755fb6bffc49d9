"""Hash layers and what trains them: bits that follow the categories, bits that follow the look, rates by part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lookalike.errors import TrainingError
from lookalike.learning.hash_heads import HashHead, SplitHashHead
from lookalike.learning.hashing import HASHINGS, GreedyHashing, TunedHashing, hash_objective
from lookalike.learning.loop import parameter_groups
from lookalike.learning.network import HashNetwork
from lookalike.learning.recipes import Stage

STAGE = Stage(epochs=1, rate=0.1, weight_decay=0.1)
CATEGORIES, FEATURES = 4, 32


@pytest.fixture
def clusters() -> tuple[Tensor, Tensor]:
    """Features f32 [200, 32] around four centres, and their categories."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(200) % CATEGORIES
    centres = torch.randn(CATEGORIES, FEATURES, generator=generator)
    return 3 + centres[labels] + 0.7 * torch.randn(200, FEATURES, generator=generator), labels


@pytest.mark.parametrize("kind", HASHINGS)
def test_every_objective_learns_the_categories(kind: str, clusters: tuple[Tensor, Tensor]) -> None:
    features, labels = clusters
    torch.manual_seed(0)
    head = HashHead(FEATURES, 128)
    head.centre(features)
    objective = hash_objective(kind, head, CATEGORIES, STAGE)
    before = _gap(head(features), labels)
    optimizer = torch.optim.SGD(objective.parameters(), lr=0.3, momentum=0.9)
    losses = []
    for _ in range(60):
        loss = objective(features, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    if kind == "orthogonal":  # the others need not move a bit
        assert _gap(head(features), labels) > before + 0.1
    assert (objective.scores(features).argmax(dim=1) == labels).float().mean() > 0.9


def test_greedy_scores_depend_on_signs_alone_and_still_teach(clusters: tuple[Tensor, Tensor]) -> None:
    features, labels = clusters
    objective = hash_objective("greedy", HashHead(FEATURES, 64), CATEGORIES, STAGE)
    assert isinstance(objective, GreedyHashing)
    scores = objective.scores(features)
    expected = objective.classifier(torch.sign(objective.head.linear(features)))
    assert torch.allclose(scores, expected, atol=1e-5)
    objective(features, labels).backward()
    assert objective.head.linear.weight.grad is not None
    assert objective.head.linear.weight.grad.abs().sum() > 0


def test_an_unknown_head_is_refused_by_name() -> None:
    with pytest.raises(TrainingError, match="unknown hash head 'median'"):
        hash_objective("median", HashHead(FEATURES, 64), CATEGORIES, STAGE)


def test_split_codes_put_the_category_first_and_keep_the_look(clusters: tuple[Tensor, Tensor]) -> None:
    features, labels = clusters
    torch.manual_seed(0)
    category_head = torch.nn.Linear(FEATURES, CATEGORIES)
    optimizer = torch.optim.Adam(category_head.parameters(), lr=0.05)
    for _ in range(200):
        loss = torch.nn.functional.cross_entropy(category_head(features - 3), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        category_head.bias -= 3 * category_head.weight.sum(dim=1)
    head = SplitHashHead(FEATURES, 1024, CATEGORIES)
    head.fit(features, category_head)
    bits = head(features) > 0.5
    assert bits.shape == (200, 1024)
    assert 0.3 < bits[:, 256:].float().mean() < 0.7
    plain = HashHead(FEATURES, 1024)
    plain.centre(features)
    assert _gap(head(features), labels) > _gap(plain(features), labels) + 0.05
    # Within a category, distances of the second part follow those of the features.
    mine = labels == 0
    look = torch.cdist(bits[mine, 256:].float(), bits[mine, 256:].float(), p=1).flatten()
    unit = torch.nn.functional.normalize(features[mine] - features.mean(dim=0))
    assert torch.corrcoef(torch.stack([look, -(unit @ unit.T).flatten()]))[0, 1] > 0.9


class Largest(TorchDispatchMode):
    """Inside, the most numbers that one operation makes."""

    numbers = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        found = func(*args, **kwargs or {})
        made = (each for each in tree_leaves(found) if isinstance(each, Tensor) and not each._is_view())
        self.numbers = max([self.numbers, *(each.numel() for each in made)])
        return found


@pytest.mark.parametrize("kind", ["plain", "split"])
def test_a_catalogue_of_any_size_is_centred_in_bounded_memory(kind: str) -> None:
    torch.manual_seed(0)
    features, bits = 5 + torch.randn(60_000, 8), 64
    with Largest() as largest:
        if kind == "plain":
            plain = HashHead(8, bits)
            plain.centre(features)
            layers = [(plain.linear, features)]
        else:
            split = SplitHashHead(8, bits, CATEGORIES)
            split.fit(features, torch.nn.Linear(8, CATEGORIES))
            layers = [(split.of_look, features), (split.of_category, split._probabilities(features))]
    assert largest.numbers <= bits * 20_000
    for layer, inputs in layers:
        pre = layer(inputs)
        assert pre.mean(dim=0).abs().max() < 1e-3
        assert (pre.std(dim=0) - 1).abs().max() < 1e-3


def test_a_trunk_that_learns_on_does_so_slowly() -> None:
    stage = replace(STAGE, trunk_share=0.1)
    network = HashNetwork("resnet10-w8", categories=CATEGORIES, bits=64)
    assert isinstance(network.hash_head, HashHead)
    hashing = hash_objective("sigmoid", network.hash_head, CATEGORIES, stage)
    objective = TunedHashing(network, hashing, stage, bf16=False)
    groups = {
        (group["share"], group["weight_decay"]): group["params"] for group in parameter_groups(objective, 0.1)
    }
    assert groups.keys() == {(0.1, 0.1), (0.1, 0.0), (1.0, 0.1), (1.0, 0.0)}
    slow = {id(p) for share, decay in ((0.1, 0.1), (0.1, 0.0)) for p in groups[share, decay]}
    assert slow == {id(p) for p in (*network.trunk.parameters(), *network.category_head.parameters())}
    loss = objective(torch.randn(6, 3, 32, 32), torch.arange(6) % CATEGORIES)
    loss.backward()
    assert all(p.grad is not None for p in objective.parameters())


def _gap(activations: Tensor, labels: Tensor) -> float:
    """Share of differing bits between categories, less that within."""
    signed = (activations > 0.5).float() * 2 - 1
    differing = (1 - signed @ signed.T / signed.shape[1]) / 2
    same = labels[:, None] == labels
    return (differing[~same].mean() - differing[same].mean()).item()
