"""How fast each layer of a trunk learns: held, slower from the top down, or one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lookalike.learning.checkpoint import Checkpoints
from lookalike.learning.distributed import Ranks
from lookalike.learning.layers import is_decayed, layers_of
from lookalike.learning.loop import Loop, Run, parameter_groups
from lookalike.learning.network import HashNetwork
from lookalike.learning.objective import CategoryObjective
from lookalike.learning.recipes import Stage
from lookalike.learning.trunks import build_trunk
from lookalike.storage.directory import DirectoryStore

STAGE = Stage(epochs=1, rate=0.1, batch=4, warmup_epochs=0.0)
STEPS = 4


@pytest.mark.parametrize(
    ("trunk", "count", "first", "last"),
    [
        ("efficientnet_lite0", 18, "stem.conv.weight", "head.conv.weight"),
        ("resnet18", 9, "conv1.weight", "layer4.1.conv1.weight"),
        ("vit_b_16", 14, "class_token", "encoder.ln.weight"),
    ],
)
def test_every_parameter_is_in_one_layer_from_stem_to_top(
    trunk: str, count: int, first: str, last: str
) -> None:
    with torch.device("meta"):
        module = build_trunk(trunk)[0]
    layers = layers_of(module)
    assert (len(layers), layers[0][0], layers[-1][0]) == (count, first, last)
    names = [name for layer in layers for name in layer]
    assert sorted(names) == sorted(name for name, _ in module.named_parameters())


def test_only_kernels_and_matrices_decay() -> None:
    with torch.device("meta"):
        module = build_trunk("vit_b_16")[0]
    spared = {name for name, p in module.named_parameters() if not is_decayed(name, p.ndim)}
    assert {"class_token", "encoder.pos_embedding", "encoder.ln.weight", "conv_proj.bias"} <= spared
    assert not any(name.endswith(("conv_proj.weight", "out_proj.weight")) for name in spared)
    assert not is_decayed("trunk.features.1.0.layer_scale", 3)


def test_lower_layers_learn_more_slowly_and_the_head_faster() -> None:
    network = HashNetwork("resnet10-w8", categories=3, bits=64)
    objective = CategoryObjective(network, replace(STAGE, layer_decay=0.5, head_factor=5.0), bf16=False)
    share = {id(p): group["share"] for group in parameter_groups(objective, 0.0) for p in group["params"]}
    trunk = dict(network.trunk.named_parameters())
    found = [share[id(trunk[names[0]])] for names in layers_of(network.trunk)]
    assert found == [0.5**5, 0.5**4, 0.5**3, 0.5**2, 0.5]
    assert share[id(network.category_head.weight)] == 5.0


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_layers_begin_from_the_top_and_held_ones_never(optimizer: str, tmp_path: Path) -> None:
    """Of five layers the first is held, and the others begin a step after one another."""
    torch.manual_seed(0)
    network = HashNetwork("resnet10-w8", categories=3, bits=64)
    for block in (module for module in network.trunk.modules() if hasattr(module, "bn2")):
        torch.nn.init.ones_(block.bn2.weight)  # at 0, as they begin, what is below has no gradient
    stage = replace(STAGE, held=0.2, thawing=5 / STEPS, optimizer=optimizer, rate=0.01, policy="plateau")
    layers = [names[0] for names in layers_of(network.trunk)]
    weights = dict(network.trunk.named_parameters())
    before = {name: weights[name].detach().clone() for name in layers}
    mean = network.trunk.bn1.running_mean.clone()
    moved: list[list[bool]] = []

    def batches(epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        for _ in range(STEPS):
            yield torch.randn(4, 3, 32, 32), torch.arange(4) % 3
            moved.append([not torch.equal(weights[name], before[name]) for name in layers])

    Loop(
        Run(network, Checkpoints(DirectoryStore(tmp_path), "x"), Ranks(), 0, lambda *_: None),
        stage,
        CategoryObjective(network, stage, bf16=False),
        number=1,
        key="category",
        name="test",
        batches=batches,
        steps=STEPS,
        photos=4,
        validate=lambda: (0.0, 0.0),
    ).train(None)
    moved.append([not torch.equal(weights[name], before[name]) for name in layers])
    assert moved[-4:] == [
        [False, False, False, False, False],
        [False, False, False, False, True],
        [False, False, False, True, True],
        [False, False, True, True, True],
    ]
    assert torch.equal(network.trunk.bn1.running_mean, mean)
