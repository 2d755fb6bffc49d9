"""The layers of a trunk, from the first to the last, and how fast each of them learns.

The first layers of a trunk that has learned already see edges and colours, which are the same in all photos. So a
recipe may leave some of them as they are (`held`), let each layer learn more slowly than the one above it
(`layer_decay`; Howard and Ruder, ACL 2018), and let them begin one after the other, from the last (`thawing`).

What a layer is follows from the names of parameters, which every library numbers: ``blocks.3.conv.weight`` is of the
fourth block. What comes before the first number is the stem, and what comes after the last is the top.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from torch import nn

from lookalike.learning.recipes import Stage

_NUMBERED = re.compile(r"^((?:[^.]+\.)*?(?:\d+|[^.]*_\d+)(?:\.\d+)?)\.")
_UNDECAYED = re.compile(
    r"(^|\.)(pos_embed|pos_embedding|position_embedding|cls_token|class_token|reg_token|"
    r"relative_position_bias_table|layer_scale|gamma)$"
)
"""Positions, tokens and scales, by the names that torchvision and timm give them: no kernels, for all their axes."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How a parameter learns: at `share` of the stage's rate, from epoch `begins` on."""

    share: float = 1.0
    begins: float = 0.0


def layers_of(trunk: nn.Module) -> list[list[str]]:
    """Names of the trunk's parameters by layer, from the stem to the top; every parameter is in one layer."""
    layers: dict[str, list[str]] = {}
    numbered = False
    for name, _ in trunk.named_parameters():
        if match := _NUMBERED.match(name):
            key, numbered = match[1], True
        else:
            key = "top" if numbered else "stem"
        layers.setdefault(key, []).append(name)
    return list(layers.values())


def paces(trunk: nn.Module, stage: Stage) -> dict[int, Pace]:
    """How each parameter of `trunk` learns in `stage`, by its `id`; those that are held are not here."""
    layers, found = layers_of(trunk), {}
    parameters = dict(trunk.named_parameters())
    decay = stage.layer_decay or 1.0
    for depth, names in enumerate(reversed(layers[_held_count(layers, stage) :])):
        pace = Pace(decay ** (depth + 1), stage.thawing * (depth + 1) / len(layers))
        found.update({id(parameters[name]): pace for name in names})
    return found


def hold(trunk: nn.Module, stage: Stage) -> list[nn.Module]:
    """Keep the gradient from the first layers, which `stage` leaves as they are.

    Returns their modules, each with all that is inside it: in training they are to be as in evaluation.
    """
    layers = layers_of(trunk)
    names = {name for layer in layers[: _held_count(layers, stage)] for name in layer}
    for name, parameter in trunk.named_parameters():
        if name in names:
            parameter.requires_grad_(False)
    return [
        module
        for path, module in trunk.named_modules()
        if (own := [f"{path}.{name}" for name, _ in module.named_parameters()]) and names.issuperset(own)
    ]


def is_decayed(name: str, axes: int) -> bool:
    """Whether weight decay is for a parameter of that name and number of axes: kernels and matrices alone."""
    return axes > 1 and not _UNDECAYED.search(name)


def _held_count(layers: list[list[str]], stage: Stage) -> int:
    return round(stage.held * len(layers))
