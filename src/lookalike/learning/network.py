"""The network: one forward pass gives category logits, hash activations and pooled features.

After *Visual Search at eBay* (Yang et al., KDD 2017, section 4): a trunk (`trunks`), a linear head over the leaf
categories, and beside it a hash layer (`hash_heads`), whose activations become the code.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from lookalike.learning.hash_heads import build_head
from lookalike.learning.trunks import build_trunk


class Outputs(NamedTuple):
    """What one pass gives for n photos, C categories, b bits and d features."""

    logits: Tensor
    """f32 [n, C], of the category head."""
    activations: Tensor
    """f32 [n, b] in 0..1, of the hash layer."""
    features: Tensor
    """f32 [n, d], the trunk's pooled output."""


class HashNetwork(nn.Module):
    """Trunk, category head and hash head.

    `trunk` is a name that `trunks.build_trunk` takes, `hash_head` a recipe's. Weights come from torch's global
    generator.
    """

    def __init__(self, trunk: str, *, categories: int, bits: int, hash_head: str = "sigmoid") -> None:
        super().__init__()
        self.trunk, self.feature_count = build_trunk(trunk)
        self.category_head = nn.Linear(self.feature_count, categories)
        self.hash_head = build_head(hash_head, self.feature_count, bits, categories)

    def features(self, photos_NCHW: Tensor) -> Tensor:
        """Pooled features f32 [n, d] of normalised photos f32 [n, 3, h, w]; most trunks take any h and w from 32 up."""
        features: Tensor = self.trunk(photos_NCHW)
        return features.float()

    def forward(self, photos_NCHW: Tensor) -> Outputs:
        features = self.features(photos_NCHW)
        return Outputs(self.category_head(features), self.hash_head(features), features)
