"""The recipe `paper`: none of our departures, and a toy of it trains the whole way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import safetensors.torch
import torch

from lookalike.learning.hash_heads import HashHead
from lookalike.learning.hashing import PaperHashing, ViewedHashing, hash_objective
from lookalike.learning.identity import identity
from lookalike.learning.loop import optimizer_of
from lookalike.learning.network import HashNetwork
from lookalike.learning.recipes import Recipe, paper
from lookalike.learning.trunks import build_trunk
from lookalike.storage.artefacts import fetch
from tests.learning.test_training import Place
from tests.shop import make_listings


def toy() -> Recipe:
    recipe = paper()
    return replace(
        recipe,
        trunk="resnet10-w8-he",
        preset=replace(recipe.preset, resize=40, crop=32),
        category_stage=replace(recipe.category_stage, epochs=3, batch=32, rate=0.05),
        hash_stage=replace(recipe.hash_stage, epochs=2, batch=32),
        bits=256,
    )


def test_a_toy_of_it_trains_both_stages_on_new_views(tmp_path: Path) -> None:
    """In the hash stage the trunk stays as it is, its norms' statistics too."""
    place = Place(tmp_path)
    curated = place.curate(make_listings(12))
    recipe = toy()
    ref = place.train(curated, recipe)
    shorter = place.train(curated, replace(recipe, hash_stage=replace(recipe.hash_stage, epochs=0)))
    both, category = (
        safetensors.torch.load_file(fetch(place.store, each, tmp_path / "cache").path("weights.safetensors"))
        for each in (ref, shorter)
    )
    trunk = [name for name in both if name.startswith(("trunk.", "category_head."))]
    assert len(trunk) > 20
    assert all(torch.equal(both[name], category[name]) for name in trunk)
    assert not torch.equal(both["hash_head.linear.weight"], category["hash_head.linear.weight"])


def test_none_of_the_departures_of_training_is_in_it() -> None:
    recipe = paper()
    augmentation = identity(recipe)["augmentation"]
    for off in ("brightness", "contrast", "saturation", "tint", "grey", "blur", "erase"):
        assert off not in augmentation
    assert augmentation["whole_pixels"]
    assert (recipe.category_stage.warmup_epochs, recipe.category_stage.label_smoothing) == (0.0, 0.0)
    (group, *_) = optimizer_of(
        hash_objective("paper", HashHead(8, 64), 3, recipe.hash_stage), recipe.hash_stage
    ).param_groups
    assert group["nesterov"] is False
    assert build_trunk("resnet50-he")[0].layer1[0].bn3.weight.min() == 1
    assert build_trunk("resnet50")[0].layer1[0].bn3.weight.max() == 0


def test_its_classifier_sees_the_activations_themselves() -> None:
    head = HashHead(8, 64)
    hashing = hash_objective("paper", head, 3, paper().hash_stage)
    assert isinstance(hashing, PaperHashing)
    features = torch.randn(5, 8)
    assert torch.equal(hashing.scores(features), hashing.classifier(torch.sigmoid(head.linear(features))))
    network = HashNetwork("resnet10-w8", categories=3, bits=64, hash_head="paper")
    assert isinstance(network.hash_head, HashHead)
    viewed = ViewedHashing(
        network,
        hash_objective("paper", network.hash_head, 3, paper().hash_stage),
        paper().hash_stage,
        bf16=False,
    )
    viewed.train()
    assert not network.trunk.training
    viewed(torch.randn(2, 3, 32, 32), torch.tensor([0, 1])).backward()
    assert all(p.grad is None for p in network.trunk.parameters())
