"""The picture of a training has a panel for each stage that has epochs, and no other."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from lookalike.learning.curves import draw_curves


@pytest.mark.parametrize(("stages", "panels"), [(("category", "hash"), 2), (("hash",), 1), ((), 1)])
def test_no_panel_is_empty(tmp_path: Path, stages: tuple[str, ...], panels: int) -> None:
    epochs = [
        {"stage": stage, "epoch": epoch, "loss": 2.0, "validation_loss": 2.5, "validation_top1": 0.5}
        for stage in stages
        for epoch in range(3)
    ]
    draw_curves(epochs, tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.width == panels * 550
