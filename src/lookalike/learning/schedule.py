"""The learning rate: the paper's rounds, lowered when validation accuracy saturates, or one cosine cycle."""

from __future__ import annotations

import math
from typing import Any

from lookalike.learning.recipes import Stage


class Schedule:
    """Rates of one stage of `steps` steps an epoch. `observe` is told the validation accuracy after each epoch."""

    def __init__(self, stage: Stage, steps: int) -> None:
        self._stage, self._steps = stage, steps
        self._factor, self._round = 1.0, 1
        self._best, self._waited = -math.inf, 0

    @property
    def finished(self) -> bool:
        """Whether every round has saturated (`plateau` only)."""
        return self._round > self._stage.rounds

    def rate(self, epoch: int, step: int) -> float:
        """Learning rate of a step."""
        stage, at = self._stage, epoch + (step + 1) / self._steps
        if at < stage.warmup_epochs:
            return stage.rate * at / stage.warmup_epochs
        if stage.policy == "plateau":
            return stage.rate * self._factor
        part = (at - stage.warmup_epochs) / max(1e-9, stage.epochs - stage.warmup_epochs)
        return stage.rate * (1 + math.cos(math.pi * min(1.0, part))) / 2

    def observe(self, accuracy: float) -> bool:
        """Note an epoch's validation accuracy; whether it is the best so far."""
        if accuracy > self._best:
            self._best, self._waited = accuracy, 0
            return True
        self._waited += 1
        if self._stage.policy == "plateau" and self._waited > self._stage.patience:
            self._factor *= self._stage.lowered_to
            self._round, self._waited = self._round + 1, 0
        return False

    def state(self) -> dict[str, Any]:
        """Plain values from which `load_state` goes on."""
        return {
            "factor": self._factor,
            "round": self._round,
            "best": self._best,
            "waited": self._waited,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self._factor, self._round = state["factor"], state["round"]
        self._best, self._waited = state["best"], state["waited"]
