"""The picture of a training: loss and validation accuracy over the epochs of each stage that has some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_TITLES = {"category": "trunk and category head", "hash": "hash head on the frozen trunk"}


def draw_curves(metrics: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the entries of ``metrics.jsonl`` as a PNG; the same entries give the same bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    of_stage = {stage: [entry for entry in metrics if entry["stage"] == stage] for stage in _TITLES}
    drawn = {stage: entries for stage, entries in of_stage.items() if entries}
    figure = Figure(figsize=(max(1, len(drawn)) * 5, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    if not drawn:
        figure.text(0.5, 0.5, "No stage has epochs to draw.", ha="center", va="center")
    panels = figure.subplots(1, len(drawn), squeeze=False)[0] if drawn else []
    for axes, (stage, entries) in zip(panels, drawn.items(), strict=True):
        title = _TITLES[stage]
        epochs = [entry["epoch"] for entry in entries]
        axes.plot(epochs, [entry["loss"] for entry in entries], color="#8a97ad", label="training loss")
        axes.plot(
            epochs, [entry["validation_loss"] for entry in entries], color="#c65b3a", label="validation loss"
        )
        axes.set(title=title, xlabel="epoch", ylabel="loss")
        accuracy = axes.twinx()
        accuracy.plot(
            epochs, [entry["validation_top1"] for entry in entries], color="#1e6fd0", label="validation top-1"
        )
        accuracy.set_ylim(0, 1)
        lines = [*axes.get_lines(), *accuracy.get_lines()]
        axes.legend(
            lines, [line.get_label() for line in lines], loc="center right", frameon=False, fontsize=8
        )
        for each in (axes, accuracy):
            each.spines["top"].set_visible(False)
    figure.savefig(path, dpi=110, metadata={"Software": None})
