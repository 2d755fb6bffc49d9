"""Training: a curated snapshot in, a release out; the same after a kill; a clear stop where it cannot go on."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from lookalike.coding import codes
from lookalike.coding.encoder import open_encoder
from lookalike.coding.release import ModelCard
from lookalike.errors import CorruptObject, TrainingError
from lookalike.imaging.photos import load_square
from lookalike.learning.identity import configurations
from lookalike.learning.network import HashNetwork
from lookalike.learning.recipes import Recipe, tiny
from lookalike.learning.training import train
from lookalike.learning.training import trained as finished
from lookalike.learning.transforms import plain_transform
from lookalike.storage import keys
from lookalike.storage.artefacts import ArtefactWriter, Kind, Ref, fetch, read_manifest
from lookalike.storage.directory import DirectoryStore
from tests.shop import CATEGORIES, Listing, make_listings, write_curated

FAST = replace(tiny(), category_stage=replace(tiny().category_stage, epochs=3), bits=256)


@dataclasses.dataclass(frozen=True)
class Place:
    """A store with one curated snapshot, and a cache."""

    root: Path

    @property
    def store(self) -> DirectoryStore:
        return DirectoryStore(self.root / "store")

    def curate(self, listings: Sequence[Listing]) -> Ref:
        work = self.root / "work"
        work.mkdir(parents=True, exist_ok=True)
        return write_curated(self.store, tuple(listings), work)

    def train(self, curated: Ref, recipe: Recipe = FAST) -> Ref:
        return train(self.store, curated, recipe, cache_dir=self.root / "cache", threads=1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, Ref, Ref]:
    place = Place(tmp_path_factory.mktemp("trained"))
    curated = place.curate(make_listings(20))
    return place, curated, place.train(curated)


def test_a_release_holds_what_the_contract_says(trained: tuple[Place, Ref, Ref]) -> None:
    place, curated, ref = trained
    release = fetch(place.store, ref, place.root / "cache")
    card = ModelCard.read(release.path("model.json"))
    assert card.categories == CATEGORIES
    assert (card.bits, card.recipe, card.preset, card.data_digest) == (256, "tiny", FAST.preset, str(curated))
    assert set(card.aspects) == {"brand", "mark", "material"}
    assert 0.05 <= card.temperature <= 20
    assert {"top1", "top5", "code_mAP", "feature_mAP"} <= card.metrics.keys()
    weights = safetensors.torch.load_file(release.path("weights.safetensors"))
    assert weights["hash_head.linear.weight"].shape == (256, card.features)
    assert not any(name.startswith("hash_classifier") for name in weights)
    assert release.path("curves.png").read_bytes().startswith(b"\x89PNG")
    assert {file.name for file in release.manifest.files} >= {"aspects/trees.npz", "model.onnx"}


def test_metrics_are_one_json_line_per_epoch(trained: tuple[Place, Ref, Ref]) -> None:
    place, _, ref = trained
    lines = fetch(place.store, ref, place.root / "cache").path("metrics.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    assert [(entry["stage"], entry["epoch"]) for entry in entries] == [
        *(("category", epoch) for epoch in (1, 2, 3)),
        *(("hash", epoch) for epoch in (1, 2, 3)),
    ]
    assert entries[2]["loss"] < entries[0]["loss"]
    assert entries[5]["loss"] < entries[3]["loss"]


def test_colours_are_learned(trained: tuple[Place, Ref, Ref]) -> None:
    """Six categories, each of one colour: a network that trains at all tells them apart far above chance."""
    place, _, ref = trained
    encoder = open_encoder(fetch(place.store, ref, place.root / "cache"), threads=1, precision="f32")
    fresh = make_listings(30)[20:]
    found = encoder.encode(np.stack([load_square(row.photo, FAST.preset.resize) for row in fresh]))
    truth = [CATEGORIES.index(row.category) for row in fresh]
    assert (found.probabilities.argmax(axis=1) == truth).mean() > 0.5


def test_a_finished_training_is_found_again(trained: tuple[Place, Ref, Ref]) -> None:
    place, curated, ref = trained
    before = sorted(info.key for info in place.store.list())
    assert place.train(curated) == ref
    assert sorted(info.key for info in place.store.list()) == before
    assert not [key for key in before if key.startswith("checkpoints/")]


def test_photos_decoded_for_every_batch_train_the_same_release(
    trained: tuple[Place, Ref, Ref], tmp_path: Path
) -> None:
    _, _, expected = trained
    place = Place(tmp_path)
    curated = place.curate(make_listings(20))
    found = train(place.store, curated, FAST, cache_dir=tmp_path / "cache", threads=1, decoding="always")
    assert found == expected
    assert not list((tmp_path / "cache").glob("squares/*"))


def test_only_a_trunk_that_is_tuned_changes_in_the_hash_stage(trained: tuple[Place, Ref, Ref]) -> None:
    place, curated, ref = trained
    stage = replace(FAST.hash_stage, epochs=1, trunk_share=0.1)
    tuned = place.train(curated, replace(FAST, hash_stage=stage, hash_head="orthogonal"))
    split = place.train(curated, replace(FAST, hash_head="split"))
    frozen, slow, untrained = (
        safetensors.torch.load_file(
            fetch(place.store, each, place.root / "cache").path("weights.safetensors")
        )
        for each in (ref, tuned, split)
    )
    name = "trunk.layer4.0.conv2.weight"
    assert torch.equal(frozen[name], untrained[name])
    assert 0 < (slow[name] - frozen[name]).abs().max() < 0.1
    assert {key for key in untrained if key.startswith("hash_head.of_")} == {
        f"hash_head.{part}.{kind}" for part in ("of_category", "of_look") for kind in ("weight", "bias")
    }


def test_another_seed_is_another_release(trained: tuple[Place, Ref, Ref]) -> None:
    place, curated, ref = trained
    assert finished(place.store, curated, replace(FAST, seed=1)) is None
    assert finished(place.store, curated, FAST) == ref


def test_a_recipe_with_another_name_finds_the_finished_training(trained: tuple[Place, Ref, Ref]) -> None:
    place, curated, ref = trained
    assert place.train(curated, replace(FAST, name="renamed")) == ref


def test_what_is_no_part_of_the_identity_changes_no_byte(
    trained: tuple[Place, Ref, Ref], tmp_path: Path
) -> None:
    """The trunk is frozen and the rates follow a cosine: fields about anything else are told apart by nothing."""
    place = Place(tmp_path)
    unused = {"patience": 9, "lowered_to": 0.7, "rounds": 5}
    other = replace(
        FAST,
        category_stage=replace(FAST.category_stage, views=9, trunk_share=0.5, **unused),
        hash_stage=replace(FAST.hash_stage, sizes=((0.5, 24),), **unused),
    )
    assert place.train(place.curate(make_listings(20)), other) == trained[2]


def test_a_training_that_version_0_1_finished_is_found(tmp_path: Path) -> None:
    place = Place(tmp_path)
    curated = place.curate(make_listings(2))
    recipe = json.loads(json.dumps(dataclasses.asdict(FAST)))
    for later in ("weights", "frozen", "looks", "aspects", "variants"):
        del recipe[later]  # version 0.1 had no such field
    for stage in ("category_stage", "hash_stage"):
        for later in (
            "optimizer",
            "plain_momentum",
            "head_factor",
            "held",
            "layer_decay",
            "thawing",
            "rank_batch",
        ):
            del recipe[stage][later]
    del recipe["augmentation"]["whole_pixels"]
    config = {"format": 1, "recipe": recipe}
    writer = ArtefactWriter(place.store, Kind.RELEASE, inputs={"curated": str(curated)}, config=config)
    earlier = writer.commit()
    assert place.train(curated) == earlier
    assert finished(place.store, curated, FAST) == earlier
    assert finished(place.store, curated, replace(FAST, name="renamed")) is None


_RUN = """
import os, signal, sys
from pathlib import Path
from lookalike.storage.artefacts import Ref
from tests.learning.test_training import FAST, Place, train

root, curated, calls = Path(sys.argv[1]), Ref.parse(sys.argv[2]), int(sys.argv[3])
place, count = Place(root), 0

def progress(stage, done, total, note=""):
    global count
    count += stage in ("train categories", "train hash head")
    if count == calls:
        os.kill(os.getpid(), signal.SIGKILL)

train(place.store, curated, FAST, cache_dir=root / "cache", threads=1, progress=progress)
"""
_UNDISTURBED = -1


def _run(place: Place, curated: Ref, calls: int) -> int:
    """Train in a process of its own, killed at its `calls`-th step; its exit status."""
    command = [sys.executable, "-c", _RUN, str(place.root), str(curated), str(calls)]
    return subprocess.run(command, cwd=Path(__file__).parents[2], timeout=280, check=False).returncode


def test_a_run_killed_at_any_step_ends_with_the_same_bytes(tmp_path: Path) -> None:
    """Killed in the trunk's stage and in the hash head's: the same reference, so the same weights and metrics.

    All in processes of their own: what other tests leave in this one must not decide.
    """
    places = [Place(tmp_path / name) for name in ("undisturbed", "killed")]
    curated = [place.curate(make_listings(20)) for place in places]
    assert curated[0] == curated[1]
    assert _run(places[0], curated[0], _UNDISTURBED) == 0
    for calls in (6, 9):
        assert _run(places[1], curated[1], calls) == -signal.SIGKILL
        assert not list(places[1].store.list("releases/"))
    assert list(places[1].store.list("checkpoints/"))
    assert _run(places[1], curated[1], _UNDISTURBED) == 0
    references = [finished(place.store, curated[0], FAST) for place in places]
    files = [
        read_manifest(place.store, ref).files for place, ref in zip(places, references, strict=True) if ref
    ]
    assert files[0] == files[1]
    assert references[0] == references[1]


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    place = Place(tmp_path)
    curated = place.curate(make_listings(6))
    (config, _) = configurations(FAST)
    writer = ArtefactWriter(place.store, Kind.RELEASE, inputs={"curated": str(curated)}, config=config)
    key = keys.checkpoints(writer.id) + "state.pt"
    place.store.put(key, b"not a checkpoint")
    with pytest.raises(CorruptObject, match="delete it to train from the start"):
        place.train(curated)


def test_one_category_is_nothing_to_learn(tmp_path: Path) -> None:
    place = Place(tmp_path)
    curated = place.curate([row for row in make_listings(8) if row.category == CATEGORIES[0]])
    with pytest.raises(TrainingError, match="at least two leaf categories"):
        place.train(curated)


def test_a_loss_that_is_not_a_number_stops_at_once(tmp_path: Path) -> None:
    place = Place(tmp_path)
    curated = place.curate(make_listings(8))
    wild = replace(FAST, category_stage=replace(FAST.category_stage, rate=1e30, warmup_epochs=0.0))
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) in epoch \d+, step \d+"):
        place.train(curated, wild)
    assert not list(place.store.list("releases/"))


def test_codes_of_the_exported_graph_are_the_networks(trained: tuple[Place, Ref, Ref]) -> None:
    """OpenVINO against the weights themselves: at least 99.5 % of the bits, and the same category."""
    place, _, ref = trained
    release = fetch(place.store, ref, place.root / "cache")
    card = ModelCard.read(release.path("model.json"))
    network = HashNetwork(card.architecture, categories=len(card.categories), bits=card.bits).eval()
    network.load_state_dict(safetensors.torch.load_file(release.path("weights.safetensors")))
    photos = np.stack([load_square(row.photo, card.preset.resize) for row in make_listings(20)])
    with torch.inference_mode():
        outputs = network(plain_transform(card.preset)(torch.from_numpy(photos).permute(0, 3, 1, 2)))
    expected = codes.unpack(codes.pack(outputs.activations.numpy()))
    exact = open_encoder(release, threads=1, precision="f32").encode(photos)
    assert (exact.probabilities.argmax(axis=1) == outputs.logits.argmax(dim=1).numpy()).mean() >= 0.995
    assert np.abs(exact.activations - outputs.activations.numpy()).max() < 1e-3
    for encoding in (exact, open_encoder(release, threads=1).encode(photos)):
        assert (codes.unpack(encoding.codes) == expected).mean() >= 0.995
