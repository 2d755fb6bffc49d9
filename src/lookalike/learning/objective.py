"""What each stage of training minimises: a module of the parts it trains, whose forward pass is the loss of a batch.

That the loss is a forward pass lets `DistributedDataParallel` average its gradient and `torch.compile` see all of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  torch's own usage

from lookalike.learning.layers import Pace, hold, paces
from lookalike.learning.network import HashNetwork
from lookalike.learning.recipes import Stage


class Objective(nn.Module, ABC):
    """Softmax loss over `scores`, with the stage's label smoothing and mixup.

    Submodules are what the stage trains. A subclass with another loss overrides `loss`, or `forward` as a whole.
    """

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.stage = stage
        self.paces: dict[int, Pace] = {}
        """How parameters learn that do not learn as the stage says, by their `id`."""

    @abstractmethod
    def scores(self, inputs: Tensor) -> Tensor:
        """f32 [n, categories]: what training minimises the loss of, and validation takes the best of."""

    def forward(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """The mean loss of a batch; `labels` int64 [n]. Randomness comes from torch's global generator."""
        if not self.stage.mixup:
            return self.loss(self.scores(inputs), labels)
        share = torch.distributions.Beta(self.stage.mixup, self.stage.mixup).sample().item()
        other = torch.randperm(len(labels), pin_memory=labels.is_cuda).to(labels.device, non_blocking=True)
        mixed = self.scores(share * inputs + (1 - share) * inputs[other])
        return share * self.loss(mixed, labels) + (1 - share) * self.loss(mixed, labels[other])

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Mean loss of these scores."""
        return F.cross_entropy(scores.float(), labels, label_smoothing=self.stage.label_smoothing)


class CategoryObjective(Objective):
    """Stage 1: trunk and category head; inputs are normalised photos f32 [n, 3, h, w]."""

    def __init__(self, network: HashNetwork, stage: Stage, *, bf16: bool) -> None:
        super().__init__(stage)
        self.trunk, self.category_head = network.trunk, network.category_head
        self._bf16 = bf16
        self._held = hold(network.plain_trunk, stage)
        self.paces = paces(network.plain_trunk, stage)
        factor = Pace(stage.head_factor or 1.0)
        self.paces |= {id(p): factor for p in network.category_head.parameters()}

    def train(self, mode: bool = True) -> Self:
        """`nn.Module.train`, but norms of held layers keep their statistics."""
        super().train(mode)
        for module in self._held:
            module.eval()
        return self

    def scores(self, inputs: Tensor) -> Tensor:
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=self._bf16):
            features = self.trunk(inputs)
        scores: Tensor = self.category_head(features.float())
        return scores


class HeadObjective(Objective):
    """Stage 1 of a frozen trunk: the category head alone; inputs are features f32 [n, d].

    It learns on features of mean 0 and deviation 1, as `features` f32 [m, d] of the training photos have them, or the
    widest would set the pace; `hand_over` gives the network what is the same on features as they are.
    """

    def __init__(self, network: HashNetwork, stage: Stage, features: Tensor) -> None:
        super().__init__(stage)
        d = network.category_head.in_features
        self.mean = nn.Buffer(features[:, :d].mean(dim=0))
        self.deviation = nn.Buffer(features[:, :d].std(dim=0).clamp(min=1e-6))
        self.head = nn.Linear(d, network.category_head.out_features)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def scores(self, inputs: Tensor) -> Tensor:
        scores: Tensor = self.head((inputs[:, : len(self.mean)] - self.mean) / self.deviation)
        return scores

    @torch.no_grad()
    def hand_over(self, network: HashNetwork) -> None:
        weight = self.head.weight / self.deviation
        network.category_head.weight.copy_(weight)
        network.category_head.bias.copy_(self.head.bias - weight @ self.mean)
