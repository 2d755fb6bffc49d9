"""The processes of one training: one alone, or many that `torchrun` started on one or many machines.

Every rank runs the same loop over the same global order of photos and takes its own part of each batch. The
invariant is that **after every step all ranks hold the same state**: gradients are averaged by torch's
`DistributedDataParallel`, weighted by the size of the parts, and the running statistics of batch norms by `average`.
So rank 0 alone can keep the checkpoint of all, and a run may go on with another number of ranks.

A rank alone takes part in no communication at all. Collectives between GPUs go by NCCL, those between CPUs by gloo.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lookalike.errors import SettingsError, TrainingError
from lookalike.settings import Launch

_STEP_LIMIT = timedelta(minutes=5)
"""How long a rank waits for the others within a step, and for all to join, before it gives up."""
_STAGE_LIMIT = timedelta(hours=12)
"""How long ranks wait while one decodes the photos or writes the release. One that dies is noticed at once."""
_LOST = re.compile(
    r"connection|timed? ?out|remote|broken pipe|socket (unexpectedly )?closed|not connected|was aborted",
    re.IGNORECASE,
)
"""What gloo, NCCL and torch's store say where another rank is gone, and not where this one is set up wrongly."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among the processes of a training."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    """Number of this process on its machine."""
    local_world: int = 1
    """How many processes of the training this machine has."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    waiting: Any = None
    """The process group in which ranks wait for one another between the stages."""

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes."""
        return self.rank == 0

    def part(self, count: int) -> slice:
        """This rank's share of `count` photos: contiguous, and as large as the others' or one larger."""
        return slice(count * self.rank // self.world, count * (self.rank + 1) // self.world)

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of every rank's `tensor`, in place."""
        if self.world > 1:
            dist.all_reduce(tensor)
        return tensor

    def add_up(self, tensor: Tensor) -> Tensor:
        """The same of a tensor on the CPU, with patience: for what ranks finish at different times."""
        if self.world > 1:
            dist.all_reduce(tensor, group=self.waiting)
        return tensor

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace floating-point tensors by their mean over the ranks, in one collective."""
        if self.world == 1 or not tensors:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(flat)
        means = torch.split(flat / self.world, [tensor.numel() for tensor in tensors])
        for tensor, mean in zip(tensors, means, strict=True):
            tensor.copy_(mean.view_as(tensor))

    def share(self, module: nn.Module) -> None:
        """Give every rank rank 0's parameters and buffers."""
        if self.world > 1:
            for value in module.state_dict().values():
                dist.broadcast(value, src=0)

    def wait(self) -> None:
        """Until every rank is here."""
        if self.world > 1:
            dist.barrier(group=self.waiting)

    def told(self, value: str) -> str:
        """What rank 0 calls this with, on every rank, as soon as rank 0 has it."""
        if self.world == 1:
            return value
        held = [value]
        dist.broadcast_object_list(held, src=0, group=self.waiting)
        return held[0]

    def averaging(self, module: nn.Module) -> nn.Module:
        """`module` as it is to be called: backward then leaves the ranks' mean gradient in its parameters."""
        if self.world == 1:
            return module
        ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(
            module, device_ids=ids, forward_sync_buffers=False, gradient_as_bucket_view=True
        )

    def gathered(
        self, count: int, parts: Iterable[tuple[int, dict[str, Tensor]]], *, everywhere: bool = True
    ) -> dict[str, Tensor]:
        """Rows [count, ...] on the CPU of which every rank computes some; unless `everywhere`, for rank 0 alone.

        `parts` are (first row, named rows) of the batches that `mine` names.
        """
        whole: dict[str, Tensor] = {}
        for start, named in parts:
            for name, rows in named.items():
                if name not in whole:
                    whole[name] = torch.zeros(count, *rows.shape[1:])
                whole[name][start : start + len(rows)] = rows
        if self.world > 1:
            widths: list[dict[str, Any]] = [{}] * self.world
            dist.all_gather_object(widths, {name: rows.shape for name, rows in whole.items()}, self.waiting)
            for name, shape in next(found for found in widths if found).items():
                rows = whole.setdefault(name, torch.zeros(shape))
                if everywhere:
                    dist.all_reduce(rows, group=self.waiting)
                else:
                    dist.reduce(rows, 0, group=self.waiting)
        return whole

    def mine(self, count: int, batch: int) -> Iterator[NDArray[np.int64]]:
        """The batches of rows 0..count, in order, that this rank computes: every `world`-th."""
        for start in range(self.rank * batch, count, self.world * batch):
            yield np.arange(start, min(start + batch, count))


@contextmanager
def joined(device: torch.device | None = None) -> Iterator[Ranks]:
    """The ranks that `torchrun` started this process with; a process that was started alone is rank 0 of 1.

    Inside, an error of communication becomes a `TrainingError`: another rank is gone. Raises it also where the
    others do not come within five minutes, and `SettingsError` where they could not be started again or this machine
    has fewer GPUs than processes.
    """
    launch = Launch()
    if launch.shared_store and launch.restarts:
        # Seen with torch 2.13 and gloo: restarted ranks connect to the addresses of dead ones, and hang.
        raise SettingsError(
            "torchrun's --max-restarts needs --rdzv-backend c10d (or --standalone) and "
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 in its environment, or ranks that are started again do not find "
            "one another"
        )
    if device is None:
        device = torch.device("cuda", launch.local_rank) if torch.cuda.is_available() else torch.device("cpu")
        if device.type == "cuda" and launch.local_rank >= torch.cuda.device_count():
            raise SettingsError(
                f"LOCAL_RANK is {launch.local_rank}, but this machine has {torch.cuda.device_count()} GPUs: start one "
                "process for each (torchrun --nproc-per-node gpu)"
            )
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if launch.world_size == 1:
        yield Ranks(device=device)
        return
    with _translated(launch):
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=_STEP_LIMIT
        )
        waiting = dist.new_group(backend="gloo", timeout=_STAGE_LIMIT)
        yield Ranks(
            launch.rank, launch.world_size, launch.local_rank, launch.local_world_size, device, waiting
        )
        # Only after success: in a group that has lost a rank this would wait for it.
        dist.destroy_process_group()


@contextmanager
def _translated(launch: Launch) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, torch.cuda.OutOfMemoryError) or not _LOST.search(str(error)):
            raise
        reason = str(error).strip().splitlines()[0]
        raise TrainingError(
            f"rank {launch.rank} of {launch.world_size} has lost another rank ({reason}); the last checkpoint "
            "stands: start all ranks again and they go on from it"
        ) from error
