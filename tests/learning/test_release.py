"""What a finished training is measured by, and held against, before its release is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch.nn.modules.module import register_module_forward_hook

from lookalike.learning import release
from lookalike.learning.hash_heads import HashHead
from lookalike.learning.training import train
from lookalike.storage.artefacts import read_manifest
from tests.learning.test_training import FAST, Place
from tests.shop import make_listings

ONE_EPOCH = replace(
    FAST, category_stage=replace(FAST.category_stage, epochs=1), hash_stage=replace(FAST.hash_stage, epochs=1)
)


def test_training_photos_that_are_too_many_to_rank_get_no_activations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(release, "_RANKED_PAIRS", 0)
    place, stage, hashed = Place(tmp_path), "", set()
    curated = place.curate(make_listings(20))

    def progress(name: str, done: int, total: int, note: str = "") -> None:
        nonlocal stage
        stage = name

    def seen(module: Any, args: Any, output: Any) -> None:
        if isinstance(module, HashHead):
            hashed.add(stage)

    hook = register_module_forward_hook(seen)
    try:
        ref = train(
            place.store, curated, ONE_EPOCH, cache_dir=tmp_path / "cache", threads=1, progress=progress
        )
    finally:
        hook.remove()
    assert "train hash head" in hashed
    assert "measure on training" not in hashed
    metrics = read_manifest(place.store, ref).meta["metrics"]
    assert "top1" in metrics
    assert "code_mAP" not in metrics
