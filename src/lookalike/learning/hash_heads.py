"""Hash layers: pooled features f32 [n, d] in, activations f32 [n, bits] in 0..1 out; above one half a bit is 1.

`HashHead` is the paper's: one fully connected layer and a sigmoid. What trains it is another matter (`hashing`).

`SplitHashHead` is not trained at all. Part of its bits say which category the photo is of: signs of random
projections of the category head's probabilities. The others say what it looks like: signs of random projections of
the features (Charikar, STOC 2002), orthogonal in blocks (Ji et al., NIPS 2012). Hamming distances add, so photos of
one category come first and, among them, those that look alike; a layer trained to tell categories apart does the
first at the cost of the second. Half of these may be projections of what a matrix makes of the features, which has
learned which photos show the same variant (`variants`). Where the features end in the object's colours, an eighth of
the bits is about those alone: among thousands of features they would drown. `docs/quality.md` has the numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from lookalike.errors import SettingsError, TrainingError, unknown
from lookalike.plugins import Registry

_SHARPNESS = 2.0
"""Factor of the logits before the softmax: label smoothing and mixup leave them flat."""
_AT_ONCE = 16384
"""Photos whose pre-activations are on the device at a time: 4096 bits of so many are 0.3 GB, of a million 16 GB."""
_CATEGORY_PART = 4
"""One bit in so many is about the category. With half of them mAP is a point better, and look-alikes within a
category are worse than the paper's head finds them."""
_COLOUR_PART = 8
"""One bit in so many, the last ones, is about the object's colours, where the features have them."""


class HashHead(nn.Module):
    """The paper's hash layer: fully connected, then a sigmoid."""

    def __init__(self, features: int, bits: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, bits)

    def forward(self, features: Tensor) -> Tensor:
        return torch.sigmoid(self.linear(features))

    def centre(self, features: Tensor) -> None:
        """Move and scale the layer so that over `features` f32 [n, d] each pre-activation has mean 0 and deviation 1.

        They may lie on the CPU while the layer is on a GPU.
        Pooled features are positive with a large common part. Without this most bits start, and many
        stay, on one side of the threshold for every photo.
        """
        _centre(self.linear, features, lambda rows: rows)


class SplitHashHead(nn.Module):
    """A quarter of the bits (or `category_bits`) for the category of `categories`, the rest for the look.

    Of those `colour_bits`, the last, see the `colours` values behind the `features` alone.
    """

    def __init__(
        self,
        features: int,
        bits: int,
        categories: int,
        category_bits: int | None = None,
        *,
        colours: int = 0,
    ) -> None:
        super().__init__()
        own = bits // _CATEGORY_PART if category_bits is None else category_bits
        self.features, self.category_bits = features, own
        self.colour_bits = bits // _COLOUR_PART if colours else 0
        self.category = nn.Linear(features, categories)
        self.of_category = nn.Linear(categories, own)
        self.of_look = nn.Linear(features, bits - own - self.colour_bits)
        self.of_colours = nn.Linear(colours, self.colour_bits) if colours else None

    def forward(self, features: Tensor) -> Tensor:
        seen = features[:, : self.features]
        parts = [self.of_category(self._probabilities(seen)), self.of_look(seen)]
        if self.of_colours is not None:
            parts.append(self.of_colours(features[:, self.features :]))
        return torch.sigmoid(torch.cat(parts, dim=1))

    @torch.no_grad()
    def fit(self, features: Tensor, category_head: nn.Linear) -> None:
        """Take over the category head and draw the projections, centred on `features` f32 [n, d] of the catalogue.

        They may lie on the CPU while the layer is on a GPU. Randomness comes from torch's global generator.
        """
        self.category.load_state_dict(category_head.state_dict())
        nn.init.normal_(self.of_category.weight)
        seen = features[:, : self.features]
        _project(self.of_look, seen)
        if self.of_colours is not None:
            _project(self.of_colours, features[:, self.features :])
        _centre(self.of_category, seen, self._probabilities)

    @torch.no_grad()
    def learn(self, features: Tensor, matrix: Tensor) -> None:
        """Give half of the bits about the look to what `matrix` f32 [m, d] makes of features: what it brings together
        lies close together there. After `fit`, centred on the same `features`."""
        half = self.of_look.weight[len(self.of_look.weight) // 2 :]
        mixed = torch.empty(len(half), len(matrix), device=half.device)
        for rows in torch.split(mixed, len(matrix)):
            nn.init.orthogonal_(rows)
        half.copy_(mixed @ matrix)
        _centre(self.of_look, features[:, : self.features], lambda rows: rows)

    def _probabilities(self, features: Tensor) -> Tensor:
        return torch.softmax(_SHARPNESS * self.category(features), dim=1)


@runtime_checkable
class FittedHead(Protocol):
    """A hash layer that is fitted to features, not trained: a `torch.nn.Module`, as `SplitHashHead` is."""

    def __call__(self, features: Tensor) -> Tensor:
        """Activations f32 [n, bits] in 0..1 of features f32 [n, d]; the last of these are the object's colours."""

    def fit(self, features: Tensor, category_head: nn.Linear) -> None:
        """See `SplitHashHead.fit`."""


BuildsHead = Callable[[int, int, int, int], nn.Module]
"""Features without colours, bits, categories, colours -> the layer."""


def _trained(features: int, bits: int, _: int, colours: int) -> HashHead:
    return HashHead(features + colours, bits)


def _split(features: int, bits: int, categories: int, colours: int) -> SplitHashHead:
    return SplitHashHead(features, bits, categories, colours=colours)


TRAINED = ("sigmoid", "paper", "regularised", "greedy", "orthogonal")
"""Names of `HashHead`, each with an objective of its own in `hashing`."""
HASH_HEADS: Registry[BuildsHead] = Registry(
    "lookalike.hash_heads", "hash head", {**dict.fromkeys(TRAINED, _trained), "split": _split}
)
"""Name, as a recipe's `hash_head` gives it -> the layer. Other packages add a `FittedHead` each."""


def build_head(
    kind: str, features: int, bits: int, categories: int, colours: int = 0
) -> HashHead | FittedHead:
    """The layer of a recipe's `hash_head`, over `features` and, behind them, `colours` values.

    Raises `TrainingError` for an unknown one, and `SettingsError` where the package that adds it cannot be used.
    """
    if kind not in HASH_HEADS:
        raise TrainingError(unknown("hash head", kind, HASH_HEADS))
    head = HASH_HEADS[kind](features, bits, categories, colours)
    if not isinstance(head, nn.Module) or not isinstance(head, (HashHead, FittedHead)):
        raise SettingsError(
            f"the hash head {kind!r} of {HASH_HEADS.distribution(kind)} is a {type(head).__name__}, which has no fit"
        )
    return head


def _project(layer: nn.Linear, inputs: Tensor) -> None:
    """Random projections, orthogonal in blocks, centred on `inputs` f32 [n, d]."""
    for rows in torch.split(layer.weight, inputs.shape[1]):
        nn.init.orthogonal_(rows)
    _centre(layer, inputs, lambda rows: rows)


@torch.no_grad()
def _centre(layer: nn.Linear, features: Tensor, inputs: Callable[[Tensor], Tensor]) -> None:
    """Centre `layer`, which takes `inputs(features)`, some rows of `features` at a time."""

    def total(of: Callable[[Tensor], Tensor]) -> Tensor:
        """The sum of `of(inputs)` over all rows."""
        parts = (inputs(rows.to(layer.weight.device)) for rows in torch.split(features, _AT_ONCE))
        return torch.stack([of(part).sum(dim=0) for part in parts]).sum(dim=0)

    mean = total(lambda rows: rows) / len(features)
    variance = total(lambda rows: ((rows - mean) @ layer.weight.T).square()) / (len(features) - 1)
    layer.weight /= variance.sqrt().clamp(min=1e-6)[:, None]
    layer.bias.copy_(-(mean @ layer.weight.T))
