"""The training loop of one stage: epochs of steps, a validation and a checkpoint after each, on one rank or many.

Everything random is a function of (seed, stage, epoch, step), and a checkpoint says how many steps of its epoch are
done, so a run that was stopped or killed goes on at that step and ends with the weights of an undisturbed one. All
ranks hold the same state after every step (`distributed`), so rank 0 keeps it for all.

Each step the ranks exchange one small report: the loss, and whether one of them was asked to stop. On a GPU it is
read while the next step computes, so that the GPU never waits for the loop; all ranks read it at the same step, so
they stop at the same one.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor, nn

from lookalike.errors import TrainingError
from lookalike.learning.checkpoint import Checkpoints
from lookalike.learning.distributed import Ranks
from lookalike.learning.layers import Pace, is_decayed
from lookalike.learning.objective import Objective
from lookalike.learning.recipes import Stage
from lookalike.learning.schedule import Schedule
from lookalike.learning.stopping import StopRequest, stopped
from lookalike.learning.transforms import seeded
from lookalike.progress import Progress

_CHECKPOINT_S = 600.0
"""A checkpoint is also written within an epoch when the last one is this many seconds old."""

Batch = tuple[Tensor, Tensor]
"""This rank's part of a step's inputs, on the device, and labels int64 [n]."""


@dataclass(slots=True)
class Run:
    """What every stage of one training shares."""

    network: nn.Module
    checkpoints: Checkpoints
    ranks: Ranks
    seed: int
    progress: Progress
    stop: StopRequest = field(default_factory=StopRequest)
    compiled: bool = False
    """Compile each objective by `torch.compile`: minutes at the start, and again for each size of photo."""
    metrics: list[dict[str, Any]] = field(default_factory=list)
    """One entry per finished epoch of every stage."""


class Loop:
    """One stage of a training.

    `batches(epoch, first)` yields this rank's batches of an epoch from step `first` on, `steps` an epoch of `photos`
    photos each over all ranks; `validate()` gives loss and top-1 of the objective as it is. `number` and `key` name the
    stage in checkpoints and metrics, `name` names it to people.
    """

    def __init__(
        self,
        run: Run,
        stage: Stage,
        objective: Objective,
        *,
        number: int,
        key: str,
        name: str,
        batches: Callable[[int, int], Iterator[Batch]],
        steps: int,
        photos: int,
        validate: Callable[[], tuple[float, float]],
    ) -> None:
        self.run, self.stage, self.objective = run, stage, objective
        self.number, self.key, self.name = number, key, name
        self.batches, self.steps, self.photos, self.validate = batches, steps, photos, validate
        self.optimizer = optimizer_of(objective, stage)
        self.schedule = Schedule(stage, steps)
        self._statistics = _statistics(objective)
        self.average = _copied(objective) if stage.average else None
        self.best: dict[str, Tensor] | None = None
        self.losses: list[float] = []  # of the epoch in progress
        self._reports: deque[_Report] = deque()
        self._stopping = False
        self._kept_at = time.monotonic()

    def train(self, state: dict[str, Any] | None) -> None:
        """From `state`, a checkpoint of this stage, or from the beginning, to the stage's final weights.

        Raises `TrainingError` where the loss is not a number, and `TrainingStopped` where SIGTERM asked for it.
        """
        epoch, first = (
            self._restored(state) if state is not None and state["stage"] == self.number else (0, 0)
        )
        if self.run.compiled:
            self.objective.compile()
        module = self.run.ranks.averaging(self.objective)
        with self.run.stop.deferred():
            while epoch < self.stage.epochs and not self.schedule.finished:
                self._epoch(module, epoch, first)
                self._validated(epoch)
                epoch, first = epoch + 1, 0
                self._keep(epoch, 0)
                if self._agreed_to_stop():
                    self._leave(epoch, 0)
        self.run.checkpoints.flush()
        total = self.stage.epochs * self.steps
        self.run.progress(self.name, total, total, self._note())
        final = self.best if self.best is not None else self.average
        if final is not None:
            self.objective.load_state_dict(final)
        self.objective.eval()

    def _epoch(self, module: nn.Module, epoch: int, first: int) -> None:
        self.objective.train()
        for step, (inputs, labels) in enumerate(self.batches(epoch, first), start=first):
            self._step(module, epoch, step, inputs, labels)
            self.run.progress(
                self.name, epoch * self.steps + step + 1, self.stage.epochs * self.steps, self._note()
            )
            last = step + 1 == self.steps
            if last:
                break
            if self._stopping:
                self._keep(epoch, step + 1)
                self._leave(epoch, step + 1)
            if self.run.ranks.first and time.monotonic() - self._kept_at > _CHECKPOINT_S:
                self._keep(epoch, step + 1)
        self._read_reports(0)

    def _step(self, module: nn.Module, epoch: int, step: int, inputs: Tensor, labels: Tensor) -> None:
        ranks, seed = self.run.ranks, self.run.seed
        at = epoch + step / self.steps
        for group in self.optimizer.param_groups:
            group["lr"] = group["share"] * self.schedule.rate(epoch, step)
            if ranks.world == 1 and group.get(
                "begins"
            ):  # saves its gradient; several ranks have agreed on all
                for parameter in group["params"]:
                    parameter.requires_grad_(at >= group["begins"])
        own = () if ranks.first else (ranks.rank,)
        with seeded(seed, self.number, epoch, step, 1, *own):
            loss = module(inputs, labels)
        share = len(labels) / self.photos
        self.optimizer.zero_grad(set_to_none=True)
        # The mean over ranks of their losses' gradients is the batch's where the parts are of one size.
        (loss if ranks.world == 1 else loss * (share * ranks.world)).backward()
        own_loss = loss.detach().float() * share
        report = torch.stack([own_loss, own_loss.new_full((), float(self.run.stop.received))])
        self._reports.append(_Report(epoch, step, ranks.sum(report)))
        self._read_reports(1 if inputs.is_cuda else 0)
        for group in self.optimizer.param_groups:
            if at < group.get("begins", 0.0):  # so its momentum does not begin either
                for parameter in group["params"]:
                    parameter.grad = None
        self.optimizer.step()
        ranks.average(self._statistics)
        if self.average is not None:
            done = epoch * self.steps + step
            _move_average(self.average, self.objective, min(self.stage.average, (1 + done) / (10 + done)))

    def _read_reports(self, waiting: int) -> None:
        """Take in the reports of finished steps but for the last `waiting`."""
        while len(self._reports) > waiting:
            report = self._reports.popleft()
            loss, requests = report.read()
            if not math.isfinite(loss):
                raise TrainingError(
                    f"{self.name}: the loss is {loss} in epoch {report.epoch + 1}, step {report.step + 1}; the last "
                    f"checkpoint stands, and a lower rate than {self.stage.rate} may help"
                )
            self.losses.append(loss)
            self._stopping = self._stopping or requests > 0

    def _validated(self, epoch: int) -> None:
        with _weights(self.objective, self.average):
            self.objective.eval()
            loss, top1 = self.validate()
            if self.schedule.observe(top1) and self.stage.policy == "plateau":
                self.best = _copied(self.objective)
        self.run.metrics.append(
            {
                "stage": self.key,
                "epoch": epoch + 1,
                "rate": self.schedule.rate(epoch, self.steps - 1),
                "loss": float(np.mean(self.losses)),
                "validation_loss": loss,
                "validation_top1": top1,
                "note": f"top-1 {top1:.1%}",
            }
        )
        self.losses = []

    def _note(self) -> str:
        return str(self.run.metrics[-1].get("note", "")) if self.run.metrics else ""

    def _agreed_to_stop(self) -> bool:
        request = torch.tensor([float(self.run.stop.received)], device=self.run.ranks.device)
        return self._stopping or self.run.ranks.sum(request).item() > 0

    def _leave(self, epoch: int, step: int) -> NoReturn:
        self.run.checkpoints.flush()
        self.run.ranks.wait()
        raise stopped(f"in {self.name!r} before epoch {epoch + 1}, step {step + 1}, which is kept")

    def _keep(self, epoch: int, step: int) -> None:
        """Rank 0 keeps the state of all: `step` steps of epoch `epoch` are done."""
        self._read_reports(0)
        self._kept_at = time.monotonic()
        if not self.run.ranks.first:
            return
        self.run.checkpoints.save(
            {
                "stage": self.number,
                "epoch": epoch,
                "step": step,
                "photos": self.photos,
                "losses": self.losses,
                "objective": self.objective.state_dict(),
                # What earlier stages left; the first one begins with what the training starts from.
                **({"network": self.run.network.state_dict()} if self.number > 1 else {}),
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state(),
                "average": self.average,
                "best": self.best,
                "metrics": self.run.metrics,
            }
        )

    def _restored(self, state: dict[str, Any]) -> tuple[int, int]:
        """Take everything from a checkpoint; the epoch and the step at which to go on."""
        self.objective.load_state_dict(state["objective"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state(state["schedule"])
        device = self.run.ranks.device
        self.average, self.best = (
            None if kept is None else {name: value.to(device) for name, value in kept.items()}
            for kept in (state["average"], state["best"])
        )
        self.losses = list(state["losses"])
        # With another number of ranks a step may be of more or fewer photos: on from about as many of them.
        return state["epoch"], state["step"] * state.get("photos", self.photos) // self.photos


def optimizer_of(objective: Objective, stage: Stage) -> torch.optim.Optimizer:
    """The stage's optimiser over the parameters that learn, at rate 0 until a step sets it."""
    groups = parameter_groups(objective, stage.weight_decay)
    if stage.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=0.0, betas=(stage.momentum, 0.999))
    return torch.optim.SGD(groups, lr=0.0, momentum=stage.momentum, nesterov=not stage.plain_momentum)


def parameter_groups(objective: Objective, weight_decay: float) -> list[dict[str, Any]]:
    """Parameters by their share of the rate, the epoch from which they learn, and their decay."""
    groups: dict[tuple[float, float, float], list[nn.Parameter]] = {}
    for name, p in objective.named_parameters():
        if p.requires_grad:
            pace = objective.paces.get(id(p), Pace())
            decay = weight_decay if is_decayed(name, p.ndim) else 0.0
            groups.setdefault((pace.share, pace.begins, decay), []).append(p)
    return [
        {"params": found, "share": share, "begins": begins, "weight_decay": decay}
        for (share, begins, decay), found in groups.items()
    ]


def _statistics(module: nn.Module) -> list[Tensor]:
    """The running statistics of batch norms: the only state that a step changes by each rank's own photos."""
    norms = (norm for norm in module.modules() if isinstance(norm, nn.modules.batchnorm._BatchNorm))
    return [value for norm in norms for value in (norm.running_mean, norm.running_var) if value is not None]


def _copied(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


@torch.no_grad()
def _move_average(average: dict[str, Tensor], trained: nn.Module, decay: float) -> None:
    values = trained.state_dict()
    moving = [name for name, value in values.items() if value.is_floating_point()]
    torch._foreach_lerp_([average[name] for name in moving], [values[name] for name in moving], 1 - decay)
    for name in values.keys() - moving:
        average[name].copy_(values[name])


class _Report:
    """Loss and requests to stop of one step, on their way to the CPU."""

    def __init__(self, epoch: int, step: int, values: Tensor) -> None:
        self.epoch, self.step = epoch, step
        self._values = values.to("cpu", non_blocking=True)
        self._arrived: torch.cuda.Event | None = None
        if values.is_cuda:
            self._arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._arrived.record()

    def read(self) -> list[float]:
        """Waits for this step, not for what was begun after it."""
        if self._arrived is not None:
            self._arrived.synchronize()
        found: list[float] = self._values.tolist()
        return found


class _weights:  # noqa: N801  reads as a statement: with _weights(module, average)
    """Inside, the module has the weights of `average`, if there is one."""

    def __init__(self, module: nn.Module, average: dict[str, Tensor] | None) -> None:
        self._module, self._average = module, average

    def __enter__(self) -> None:
        if self._average is not None:
            self._own = _copied(self._module)
            self._module.load_state_dict(self._average)

    def __exit__(self, *_: object) -> None:
        if self._average is not None:
            self._module.load_state_dict(self._own)
