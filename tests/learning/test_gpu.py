"""On a GPU: training never waits, learns, stops and goes on; its codes are those that search computes on a CPU."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lookalike.coding import codes
from lookalike.coding.encoder import open_encoder
from lookalike.errors import TrainingStopped
from lookalike.imaging.photos import load_square
from lookalike.learning.augmentation import Augmentation
from lookalike.learning.checkpoint import Checkpoints
from lookalike.learning.dataset import Examples, TrainingData
from lookalike.learning.distributed import Ranks
from lookalike.learning.encoder import open_torch_encoder
from lookalike.learning.feed import Feed
from lookalike.learning.loop import Loop, Run
from lookalike.learning.network import HashNetwork
from lookalike.learning.objective import CategoryObjective
from lookalike.learning.recipes import Recipe
from lookalike.learning.squares import MappedSquares
from lookalike.learning.training import train
from lookalike.storage.artefacts import Ref, fetch
from lookalike.storage.directory import DirectoryStore
from tests.learning.test_training import FAST, Place
from tests.shop import make_listings

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
RECIPE = replace(FAST, bf16=True, category_stage=replace(FAST.category_stage, batch=16))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, Ref]:
    place = Place(tmp_path_factory.mktemp("gpu"))
    return place, place.train(place.curate(make_listings(20)), RECIPE)


def losses(place: Place, release: Ref) -> list[float]:
    lines = fetch(place.store, release, place.root / "cache").path("metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def test_codes_of_the_gpu_are_those_of_search(trained: tuple[Place, Ref]) -> None:
    place, ref = trained
    release = fetch(place.store, ref, place.root / "cache")
    photos = np.stack([load_square(row.photo, RECIPE.preset.resize) for row in make_listings(20)])
    on_gpu = open_torch_encoder(release).encode(photos)
    on_cpu = open_encoder(release, threads=1, precision="f32").encode(photos)
    assert (codes.unpack(on_gpu.codes) == codes.unpack(on_cpu.codes)).mean() >= 0.985
    assert (on_gpu.probabilities.argmax(axis=1) == on_cpu.probabilities.argmax(axis=1)).mean() >= 0.985


@pytest.mark.parametrize("compiled", [False, True])
def test_a_stopped_run_ends_at_the_undisturbed_runs_loss(
    trained: tuple[Place, Ref], tmp_path_factory: pytest.TempPathFactory, compiled: bool
) -> None:
    """To rounding: the order of sums on a GPU is not fixed."""
    place = Place(tmp_path_factory.mktemp("stopped"))
    curated, seen = place.curate(make_listings(20)), 0

    def stop(stage: str, done: int, total: int, note: str = "") -> None:
        nonlocal seen
        seen += stage.startswith("train ")
        if seen == 8:
            os.kill(os.getpid(), signal.SIGTERM)

    def run(recipe: Recipe, **options: object) -> Ref:
        cache = place.root / "cache"
        return train(place.store, curated, recipe, cache_dir=cache, compiled=compiled, **options)  # type: ignore[arg-type]

    with pytest.raises(TrainingStopped):
        run(RECIPE, progress=stop)
    assert losses(place, run(RECIPE)) == pytest.approx(losses(*trained), rel=0.1)


def test_within_an_epoch_the_cpu_waits_for_nothing_but_the_report_of_the_step_before(tmp_path: Path) -> None:
    """Torch raises wherever else it would wait; what the report waits for is an event, which it lets pass."""
    device = torch.device("cuda", 0)
    stage = replace(RECIPE.category_stage, epochs=1, mixup=0.2, label_smoothing=0.1)
    recipe = replace(RECIPE, category_stage=stage, augmentation=Augmentation(blur=0.5))
    photos = np.random.default_rng(0).integers(0, 256, (96, 40, 40, 3)).astype(np.uint8)
    examples = Examples(np.arange(96), np.arange(96), np.arange(96) % 5)
    data = TrainingData(tuple("abcde"), examples, examples, MappedSquares(photos), "", ())
    network = HashNetwork(recipe.trunk, categories=5, bits=64).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    watched = 0

    def progress(name: str, done: int, total: int, note: str = "") -> None:
        """The first steps choose algorithms and make the optimizer's state; after the last, a checkpoint is read."""
        nonlocal watched
        inside = 2 <= done < total
        watched += inside
        torch.cuda.set_sync_debug_mode("error" if inside else "default")

    ranks = Ranks(device=device)
    feed = Feed(recipe, stage, data, ranks, number=1)
    loop = Loop(
        Run(network, Checkpoints(DirectoryStore(tmp_path), "gpu"), ranks, 0, progress),
        stage,
        CategoryObjective(network, stage, bf16=True),
        number=1,
        key="category",
        name="train",
        batches=feed.batches,
        steps=feed.steps,
        photos=feed.photos,
        validate=lambda: (0.0, 0.0),
    )
    try:
        loop.train(None)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert watched == feed.steps - 2
