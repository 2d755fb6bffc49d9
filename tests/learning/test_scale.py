"""What bounds the memory of a training of very many photos: sums instead of logits, samples instead of all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lookalike.learning import outputs as module
from lookalike.learning.dataset import Examples, TrainingData
from lookalike.learning.distributed import Ranks
from lookalike.learning.feed import for_ranks
from lookalike.learning.network import HashNetwork
from lookalike.learning.outputs import PhotoOutputs
from lookalike.learning.recipes import Stage, ebay_resnet50, tiny
from lookalike.learning.squares import MappedSquares
from lookalike.progress import silent

COUNT, CATEGORIES = 300, 5


@pytest.fixture
def outputs() -> PhotoOutputs:
    random = np.random.default_rng(0)
    recipe = replace(tiny(), bits=64)
    squares = random.integers(0, 256, (COUNT, 40, 40, 3), dtype=np.uint8)
    at = np.arange(COUNT)
    examples = Examples(at, at, random.integers(0, CATEGORIES, COUNT))
    names = tuple(f"category {i}" for i in range(CATEGORIES))
    data = TrainingData(
        names, examples, examples.some(at[: COUNT // 2]), MappedSquares(squares), "made up", ()
    )
    torch.manual_seed(0)
    network = HashNetwork(recipe.trunk, categories=CATEGORIES, bits=recipe.bits)
    return PhotoOutputs(recipe, data, network, Ranks(), silent, bf16=False)


def test_a_score_by_sums_is_that_of_all_logits(outputs: PhotoOutputs) -> None:
    examples = outputs.data.train
    logits = outputs.plain(examples, None, names=("logits",))["logits"]
    truth = torch.from_numpy(examples.labels)
    loss, top1 = outputs.score(examples, outputs.network.category_head)
    assert loss == pytest.approx(torch.nn.functional.cross_entropy(logits, truth).item(), abs=1e-5)
    assert top1 == (logits.argmax(dim=1) == truth).double().mean().item()
    features = outputs.plain(examples, None, names=("features",))["features"]
    assert outputs.score(examples, outputs.network.category_head, features) == pytest.approx((loss, top1))


def test_ranks_add_up_to_the_score_of_one(outputs: PhotoOutputs) -> None:
    """Each of two ranks scores its batches; here the sums of one are added to those of the other."""
    sums: list[torch.Tensor] = []

    class Half(Ranks):
        def add_up(self, tensor: torch.Tensor) -> torch.Tensor:
            sums.append(tensor)
            return tensor

    for rank in range(2):
        outputs.ranks = Half(rank, 2)
        outputs.score(outputs.data.train, outputs.network.category_head)
    outputs.ranks = Ranks()
    loss, top1 = outputs.score(outputs.data.train, outputs.network.category_head)
    added = (sums[0] + sums[1]).tolist()
    assert added[2] == COUNT
    assert all(0 < part[2] < COUNT for part in sums), "each rank has some of the photos"
    assert (added[0] / COUNT, added[1] / COUNT) == pytest.approx((loss, top1))


def test_very_many_photos_are_sampled(outputs: PhotoOutputs, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = outputs.sampled()
    assert len(whole) == COUNT
    monkeypatch.setattr(module, "_CENTRED", 100)
    monkeypatch.setattr(module, "_FITTED", 120)
    part = outputs.sampled()
    assert len(part) == 100
    assert torch.equal(part, outputs.sampled()), "by the seed"
    rows = (whole[:, None] == part[None]).all(dim=2).nonzero()[:, 0]
    assert len(set(rows.tolist())) == 100
    measured = outputs.measured([], features=True)
    assert (len(measured.data.train), len(measured.data.validation)) == (120, 100)
    assert measured.photos == COUNT
    assert measured.training["features"].shape[0] == 120
    assert measured.validation["logits"].shape == (100, CATEGORIES)


def test_a_batch_for_each_rank_takes_the_rate_with_it() -> None:
    stage = Stage(epochs=1, rate=0.1, batch=64, rank_batch=32)
    for world, batch, rate in ((1, 32, 0.05), (2, 64, 0.1), (8, 256, 0.4)):
        found = for_ranks(stage, Ranks(world=world))
        assert (found.batch, found.rate) == (batch, pytest.approx(rate))
    shared = replace(stage, rank_batch=0)
    assert for_ranks(shared, Ranks(world=8)) == shared
    assert for_ranks(ebay_resnet50().category_stage, Ranks(world=32)).batch == 32 * 256
