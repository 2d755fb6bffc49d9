"""The network: one forward pass gives category logits, hash activations and features.

After *Visual Search at eBay* (Yang et al., KDD 2017, section 4): a trunk (`trunks`), a linear head over the leaf
categories, and beside it a hash layer (`hash_heads`), whose activations become the code. With `looks` the features are
those of the object alone, and its colours stand beside them (`looks`): categories are told from the first, the code and
the aspect models use both.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from lookalike.coding.release import TransformPreset
from lookalike.learning.hash_heads import build_head
from lookalike.learning.looks import COLOURS, Looking
from lookalike.learning.trunks import build_trunk


class Outputs(NamedTuple):
    """What one pass gives for n photos, C categories, b bits and d features."""

    logits: Tensor
    """f32 [n, C], of the category head."""
    activations: Tensor
    """f32 [n, b] in 0..1, of the hash layer."""
    features: Tensor
    """f32 [n, d], the trunk's pooled output, and the object's colours behind it, if the network has `looks`."""


class CategoryHead(nn.Linear):
    """A linear layer over the leaf categories, on the first features alone: a colour is no category."""

    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features[:, : self.in_features])


class HashNetwork(nn.Module):
    """Trunk, category head and hash head.

    `trunk` is a name that `trunks.build_trunk` takes, `hash_head` a recipe's, `looks` the preset of the photos where
    their objects' colours are to stand beside the trunk's features. Weights come from torch's global generator.
    """

    def __init__(
        self,
        trunk: str,
        *,
        categories: int,
        bits: int,
        hash_head: str = "sigmoid",
        looks: TransformPreset | None = None,
    ) -> None:
        super().__init__()
        plain, features = build_trunk(trunk)
        self.colours = COLOURS if looks else 0
        self.trunk = Looking(plain, looks) if looks else plain
        self.feature_count = features + self.colours
        self.category_head = CategoryHead(features, categories)
        self.hash_head = build_head(hash_head, features, bits, categories, self.colours)

    def features(self, photos_NCHW: Tensor) -> Tensor:
        """Features f32 [n, d] of normalised photos f32 [n, 3, h, w]; most trunks take any h and w from 32 up."""
        features: Tensor = self.trunk(photos_NCHW)
        return features.float()

    def forward(self, photos_NCHW: Tensor) -> Outputs:
        features = self.features(photos_NCHW)
        return Outputs(self.category_head(features), self.hash_head(features), features)

    @property
    def plain_trunk(self) -> nn.Module:
        """The trunk by itself, whose weights others may have published."""
        return self.trunk.trunk if isinstance(self.trunk, Looking) else self.trunk
