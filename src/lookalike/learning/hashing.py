"""What trains a hash layer: four objectives over the activations of `HashHead`, by name of the recipe's `hash_head`.

=============  =====================================================================================================
paper          Yang et al., KDD 2017, section 4.3: softmax loss of a linear classifier on the activations, 0 to 1
sigmoid        the same, but the layer starts centred, and the classifier sees activations from -1 to 1
regularised    the same, plus a cost of activations far from 0 and 1, and of bits that are seldom 0 or seldom 1
greedy         the classifier sees signs; the gradient passes through them (Su et al., *Greedy Hash*, NeurIPS 2018)
orthogonal     no classifier: a fixed random code for each category, to which the cosine of its photos' pre-activations
               is the largest by a margin (Hoe et al., *One Loss for All*, NeurIPS 2021)
=============  =====================================================================================================

Classifier and target codes are training's own; no release carries them.
"""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  torch's own usage

from lookalike.errors import TrainingError
from lookalike.learning.hash_heads import HashHead
from lookalike.learning.layers import Pace
from lookalike.learning.network import HashNetwork
from lookalike.learning.objective import Objective
from lookalike.learning.recipes import Stage

_QUANTISATION, _BALANCE = 0.1, 0.1
_GREEDY_PENALTY = 1e-3
_MARGIN, _SCALE = 0.2, 8.0


class SigmoidHashing(Objective):
    """The paper's; inputs are pooled features f32 [n, d]."""

    def __init__(self, head: HashHead, categories: int, stage: Stage) -> None:
        super().__init__(stage)
        self.head = head
        self.classifier = nn.Linear(head.linear.out_features, categories)

    def scores(self, inputs: Tensor) -> Tensor:
        # Around 0, or all bits drift to one side together.
        scores: Tensor = self.classifier(2 * self.head(inputs) - 1)
        return scores


class PaperHashing(SigmoidHashing):
    """The paper's to the letter."""

    def scores(self, inputs: Tensor) -> Tensor:
        scores: Tensor = self.classifier(self.head(inputs))
        return scores


class RegularisedHashing(SigmoidHashing):
    """With quantisation and bit-balance terms."""

    def forward(self, inputs: Tensor, labels: Tensor) -> Tensor:
        signed = 2 * self.head(inputs) - 1
        quantisation, balance = (1 - signed.abs()).mean(), signed.mean(dim=0).square().mean()
        loss: Tensor = super().forward(inputs, labels) + _QUANTISATION * quantisation + _BALANCE * balance
        return loss


class GreedyHashing(SigmoidHashing):
    """With signs instead of activations."""

    def scores(self, inputs: Tensor) -> Tensor:
        pre = self.head.linear(inputs)
        scores: Tensor = self.classifier(_sign(pre))
        return scores

    def forward(self, inputs: Tensor, labels: Tensor) -> Tensor:
        pre = self.head.linear(inputs)
        penalty = (pre - torch.sign(pre)).abs().pow(3).mean()
        loss: Tensor = super().forward(inputs, labels) + _GREEDY_PENALTY * penalty
        return loss


class OrthogonalHashing(Objective):
    """With a random code of +1 and -1 for each category; two of so many bits are nearly orthogonal."""

    def __init__(self, head: HashHead, categories: int, stage: Stage) -> None:
        super().__init__(stage)
        self.head = head
        bits = head.linear.out_features
        self.targets = nn.Buffer(torch.randint(0, 2, (categories, bits)).float() * 2 - 1)

    def scores(self, inputs: Tensor) -> Tensor:
        unit = F.normalize(self.head.linear(inputs))
        return _SCALE * (unit @ self.targets.T) / math.sqrt(self.targets.shape[1])

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        margin = _SCALE * _MARGIN * F.one_hot(labels, scores.shape[1])
        return super().loss(scores - margin, labels)


HASHINGS: dict[str, type[SigmoidHashing | OrthogonalHashing]] = {
    "sigmoid": SigmoidHashing,
    "paper": PaperHashing,
    "regularised": RegularisedHashing,
    "greedy": GreedyHashing,
    "orthogonal": OrthogonalHashing,
}


def hash_objective(kind: str, head: HashHead, categories: int, stage: Stage) -> Objective:
    """The objective by its name. Randomness comes from torch's global generator. Raises `TrainingError`."""
    if kind not in HASHINGS:
        raise TrainingError(f"unknown hash head {kind!r}; known are split, {', '.join(HASHINGS)}")
    return HASHINGS[kind](head, categories, stage)


class ViewedHashing(Objective):
    """A hashing on features that the frozen trunk computes anew for every batch; inputs are photos."""

    def __init__(self, network: HashNetwork, hashing: Objective, stage: Stage, *, bf16: bool) -> None:
        super().__init__(stage)
        self.trunk, self.hashing = network.trunk, hashing
        self._bf16 = bf16

    def train(self, mode: bool = True) -> Self:
        """`nn.Module.train`, but the trunk's norms keep their statistics."""
        super().train(mode)
        self.trunk.eval()
        return self

    def scores(self, inputs: Tensor) -> Tensor:
        return self.hashing.scores(self._features(inputs))

    def forward(self, inputs: Tensor, labels: Tensor) -> Tensor:
        loss: Tensor = self.hashing(self._features(inputs), labels)
        return loss

    @torch.no_grad()
    def _features(self, photos_NCHW: Tensor) -> Tensor:
        with torch.autocast(photos_NCHW.device.type, torch.bfloat16, enabled=self._bf16):
            features: Tensor = self.trunk(photos_NCHW)
        return features.float()


class TunedHashing(Objective):
    """A hashing and, at the stage's `trunk_share` of the rate, trunk and category head; inputs are photos.

    The category head learns on with its own loss, or it would no longer fit the features.
    """

    def __init__(self, network: HashNetwork, hashing: Objective, stage: Stage, *, bf16: bool) -> None:
        super().__init__(stage)
        self.trunk, self.category_head, self.hashing = network.trunk, network.category_head, hashing
        pace = Pace(stage.trunk_share)
        self.paces = {id(p): pace for part in (self.trunk, self.category_head) for p in part.parameters()}
        self._bf16 = bf16

    def scores(self, inputs: Tensor) -> Tensor:
        return self.hashing.scores(self._features(inputs))

    def forward(self, inputs: Tensor, labels: Tensor) -> Tensor:
        features = self._features(inputs)
        loss: Tensor = self.hashing(features, labels) + self.loss(self.category_head(features), labels)
        return loss

    def _features(self, photos_NCHW: Tensor) -> Tensor:
        with torch.autocast(photos_NCHW.device.type, torch.bfloat16, enabled=self._bf16):
            features: Tensor = self.trunk(photos_NCHW)
        return features.float()


def _sign(pre: Tensor) -> Tensor:
    """The sign forward, the identity backward."""
    return pre + (torch.sign(pre) - pre).detach()
