"""How much the bits about an object's colours count beside the others, in the re-score of the candidates.

A release's last bits may be about colours alone (`ModelCard.colour_bits`). The scan counts every bit once, so which
rows become candidates stays a matter of the whole code. Among them a colour bit counts as often as asked: 0 leaves
colours out, as for a shop whose variants differ in nothing else and that looks for the product; 16 puts the same colour
before the same cut. Bits about the category count more with them, by the root: without it a green candle comes second
to a green shirt wherever the category is unsure (on the sample, a tenth of the first ten from other categories
instead of one in sixteen).

A weighted sum of expected bit differences is the sum over moved probabilities: with p of a bit drawn towards 1/2 by a
factor w, its expected difference is w times what it was, plus (1 - w) / 2 whatever the stored bit is. So whoever
re-scores, here or in a ranker, needs to know of no weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from lookalike.coding.release import ModelCard


@dataclass(frozen=True, slots=True)
class Emphasis:
    """`colour` times the weight for the last `colour_bits` of `bits`, and its root for the first `category_bits`."""

    bits: int
    category_bits: int
    colour_bits: int
    colour: float

    @classmethod
    def of(cls, card: ModelCard, colour: float) -> Emphasis:
        """That of a release's codes; none where they have no bits about colours."""
        return cls(card.bits, card.category_bits, card.colour_bits, colour if card.colour_bits else 1.0)

    def moved(self, probabilities: np.ndarray) -> np.ndarray:
        """f32[bits]: the probabilities that each bit is 1, drawn towards 1/2 where a bit is to count less."""
        if self.colour == 1:
            return probabilities
        found: np.ndarray = (0.5 + _shares(self) * (probabilities - 0.5)).astype(np.float32)
        return found

    def distances(self, expected: np.ndarray) -> np.ndarray:
        """f64[m]: the weighted mean difference of a bit times `bits`, from distances by `moved` probabilities."""
        if self.colour == 1:
            return expected
        total = float(_shares(self).sum())
        found: np.ndarray = (expected - (self.bits - total) / 2) * (self.bits / total)
        return found


@lru_cache(64)
def _shares(emphasis: Emphasis) -> np.ndarray:
    """f64[bits]: the weight of each bit over the largest. Shoppers mostly leave it as it is configured."""
    weights = np.ones(emphasis.bits)
    weights[: emphasis.category_bits] = max(1.0, emphasis.colour**0.5)
    weights[emphasis.bits - emphasis.colour_bits :] = emphasis.colour
    shares: np.ndarray = weights / weights.max()
    shares.flags.writeable = False
    return shares
