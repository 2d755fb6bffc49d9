"""What one rank does in the tests of `test_distributed`, as a process of its own.

``python -m tests.learning.one_rank steps OUT [sharded]`` trains a few steps and writes losses, weights and the places
of the photos that it read to OUT/<rank>.pt.
``python -m tests.learning.one_rank train ROOT CURATED [SIGNAL AT]`` trains a release and prints it; at step AT rank 1
gets SIGNAL, in the first run in ROOT.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lookalike.errors import LookalikeError
from lookalike.learning import distributed
from lookalike.learning import feed as feed_module
from lookalike.learning.augmentation import Augmentation
from lookalike.learning.checkpoint import Checkpoints
from lookalike.learning.dataset import Examples, TrainingData
from lookalike.learning.distributed import Ranks
from lookalike.learning.feed import Feed
from lookalike.learning.loop import Loop, Run
from lookalike.learning.network import HashNetwork
from lookalike.learning.objective import CategoryObjective
from lookalike.learning.recipes import tiny
from lookalike.learning.squares import MappedSquares
from lookalike.learning.training import train
from lookalike.learning.transforms import seeded
from lookalike.progress import Progress, silent
from lookalike.settings import Launch
from lookalike.storage.artefacts import Ref
from lookalike.storage.directory import DirectoryStore
from tests.learning.test_training import FAST

torch.set_num_threads(1)
RELEASE = replace(FAST, category_stage=replace(FAST.category_stage, batch=16))
"""Six steps an epoch."""
STEPS = replace(
    tiny(),
    category_stage=replace(tiny().category_stage, epochs=2, batch=20, label_smoothing=0.1),
    augmentation=Augmentation(erase=0.0),  # the colour of an erased rectangle is the mean of a rank's photos
)


class Frozen(CategoryObjective):
    """With the statistics of batch norms as they are: those of a rank's own photos would tell the ranks apart."""

    def train(self, mode: bool = True) -> Frozen:
        super().train(mode)
        self.trunk.eval()
        return self


class Remote(DirectoryStore):
    """As if the files lay on another machine; it notes what this rank downloads."""

    def local_path(self, key: str) -> Path | None:
        return None

    def download(self, key: str, path: Path) -> None:
        with (self.root.parent / f"downloaded-{Launch().rank}.txt").open("a") as file:
            file.write(f"{key}\n")
        super().download(key, path)


class Watched(MappedSquares):
    """Notes which photos are read."""

    def take(self, positions: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        READ.update(positions.tolist())
        super().take(positions, out)


READ: set[int] = set()


def steps(ranks: Ranks, folder: Path, *, sharded: bool = False) -> dict[str, Any]:
    """Mean losses of two epochs of four steps, the weights afterwards, and the photos that this rank read."""
    feed_module.SHARDED_FROM = 1 if sharded else 1000
    READ.clear()
    rng = np.random.default_rng(0)
    photos = rng.integers(0, 256, (80, 40, 40, 3)).astype(np.uint8)
    examples = Examples(np.arange(80), rng.permutation(80), np.arange(80) % 5)
    data = TrainingData(tuple("abcde"), examples, examples, Watched(photos), "", ())
    with seeded(0):
        network = HashNetwork(STEPS.trunk, categories=5, bits=64)
    run = Run(network, Checkpoints(DirectoryStore(folder), "steps"), ranks, 0, silent)
    feed = Feed(STEPS, STEPS.category_stage, data, ranks, number=1)
    Loop(
        run,
        STEPS.category_stage,
        Frozen(network, STEPS.category_stage, bf16=False),
        number=1,
        key="category",
        name="steps",
        batches=feed.batches,
        steps=feed.steps,
        photos=feed.photos,
        validate=lambda: (0.0, 0.0),
    ).train(None)
    losses = [entry["loss"] for entry in run.metrics]
    return {"losses": losses, "weights": network.state_dict(), "read": sorted(READ)}


def _disturbing(root: Path, signal_name: str, at: int) -> Progress:
    """Rank 0's progress: at call `at` of training it sends rank 1 a signal, in the first run only."""
    marker, victim, seen = root / "disturbed", root / "rank-1.pid", 0

    def progress(stage: str, done: int, total: int, note: str = "") -> None:
        nonlocal seen
        seen += stage.startswith("train ")
        if seen == at and not marker.exists():
            marker.touch()
            os.kill(int(victim.read_text()), signal.Signals[signal_name])

    return progress


def main() -> None:
    if sys.argv[1] == "steps":
        out = Path(sys.argv[2])
        with distributed.joined() as ranks:
            found = steps(ranks, out, sharded="sharded" in sys.argv)
            torch.save(found, out / f"{ranks.rank}.pt")
        return
    root, curated, *disturbance = Path(sys.argv[2]), *sys.argv[3:]
    progress: Progress = silent
    if disturbance and Launch().rank == 0:
        progress = _disturbing(root, disturbance[0], int(disturbance[1]))
    elif disturbance:
        (root / "rank-1.pid").write_text(str(os.getpid()))
    store = Remote(root / "store")
    release = train(
        store, Ref.parse(curated), RELEASE, cache_dir=root / "cache", threads=1, progress=progress
    )
    sys.stdout.write(f"{release}\n")  # in one piece: ranks may share a pipe


if __name__ == "__main__":
    try:
        main()
    except LookalikeError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
