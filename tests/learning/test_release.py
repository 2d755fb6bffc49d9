"""What a finished training is measured by, and held against, before its release is written."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.modules.module import register_module_forward_hook

from lookalike.learning import outputs
from lookalike.learning.hash_heads import HashHead
from lookalike.learning.release import agreeing_top1
from lookalike.learning.training import train
from lookalike.storage.artefacts import read_manifest
from tests.learning.test_training import FAST, Place
from tests.shop import make_listings

ONE_EPOCH = replace(
    FAST, category_stage=replace(FAST.category_stage, epochs=1), hash_stage=replace(FAST.hash_stage, epochs=1)
)


@dataclass
class Observed:
    """A training with too many photos to rank them, by what progress calls its parts."""

    hashed: set[str] = field(default_factory=set)
    """Where the hash layer was run."""
    tf32: dict[str, set[bool]] = field(default_factory=lambda: defaultdict(set))
    """Whether cuDNN was allowed it."""
    metrics: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Observed:
    place, found, stage = Place(tmp_path_factory.mktemp("release")), Observed(), ""
    curated = place.curate(make_listings(20))

    def progress(name: str, done: int, total: int, note: str = "") -> None:
        nonlocal stage
        stage = name
        found.tf32[name].add(torch.backends.cudnn.allow_tf32)

    def ran(module: Any, args: Any, output: Any) -> None:
        if isinstance(module, HashHead):
            found.hashed.add(stage)

    hook = register_module_forward_hook(ran)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(outputs, "_RANKED_PAIRS", 0)
            cache = place.root / "cache"
            ref = train(place.store, curated, ONE_EPOCH, cache_dir=cache, threads=1, progress=progress)
    finally:
        hook.remove()
    found.metrics = read_manifest(place.store, ref).meta["metrics"]
    return found


def test_training_photos_that_are_too_many_to_rank_get_no_activations(observed: Observed) -> None:
    assert "train hash head" in observed.hashed
    assert "measure on training" not in observed.hashed
    assert "top1" in observed.metrics
    assert "code_mAP" not in observed.metrics


def test_a_release_is_measured_in_float32_and_nothing_else_is(observed: Observed) -> None:
    for stage in ("measure on validation", "measure on training"):
        assert observed.tf32[stage] == {False}
    for stage in ("train categories", "train hash head", "fit aspect models"):
        assert observed.tf32[stage] == {True}


def test_two_categories_that_tie_are_no_disagreement() -> None:
    logits = np.array([[3.0, 2.0, 0.0], [3.0, 2.999, 0.0]], np.float32)
    assert agreeing_top1(np.array([[0.7, 0.2, 0.1], [0.4, 0.5, 0.1]], np.float32), logits) == 1
    assert agreeing_top1(np.array([[0.2, 0.7, 0.1], [0.4, 0.5, 0.1]], np.float32), logits) == 0.5
    assert agreeing_top1(np.array([[0.7, 0.2, 0.1], [0.1, 0.2, 0.7]], np.float32), logits) == 0.5
