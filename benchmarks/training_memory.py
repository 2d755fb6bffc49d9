"""What a training process holds at a million made-up photos.

    python -m benchmarks.training_memory --photos 1000000 --json memory.json

Tables of so many listings in `--categories` leaf categories, and a mapped file of squares of 32 pixels that are all
black (sparse: it takes no disk). Then what `lookalike train` does with them: read the tables, some steps, a validation,
the sample on which a hash layer is centred, and what the release is measured and fitted on. After each the process's
own memory (RssAnon; the mapped squares are page cache, which the kernel takes back) and its highest so far.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import torch

from benchmarks.report import entries, machine, write
from lookalike.catalogue.snapshot import CuratedSnapshot
from lookalike.learning import dataset
from lookalike.learning.checkpoint import Checkpoints
from lookalike.learning.distributed import Ranks
from lookalike.learning.feed import Feed
from lookalike.learning.loop import Loop, Run
from lookalike.learning.network import HashNetwork
from lookalike.learning.objective import CategoryObjective
from lookalike.learning.outputs import PhotoOutputs
from lookalike.learning.recipes import tiny
from lookalike.progress import silent
from lookalike.storage.artefacts import Kind, Ref
from lookalike.storage.directory import DirectoryStore

SIDE = 32
STEPS = 50


class Memory:
    """RssAnon of this process, read 20 times a second: now, and at its highest since it was last asked."""

    def __init__(self) -> None:
        self.results: dict[str, dict[str, float]] = {}
        self._highest = 0.0
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            self._highest = max(self._highest, _anonymous_mb())
            time.sleep(0.05)

    def after(self, stage: str) -> None:
        """Note what is held after `stage`, and what was held at most within it."""
        now = _anonymous_mb()
        self.results[stage] = {"held_mb": now, "highest_mb": max(now, self._highest)}
        print(
            f"{stage:40s} held {now:8.0f} MB   highest {self.results[stage]['highest_mb']:8.0f} MB",
            flush=True,
        )
        self._highest = 0.0


def _anonymous_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) / 1000


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=int, default=1_000_000)
    parser.add_argument("--categories", type=int, default=5_000)
    parser.add_argument("--validation", type=float, default=0.02, help="share of the photos")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    torch.set_num_threads(1)
    before, memory = machine(torch=torch.__version__), Memory()
    memory.after("start")
    with tempfile.TemporaryDirectory() as folder:
        _measure(Path(folder), options, memory)
    data = {"photos": options.photos, "categories": options.categories, "pixels": SIDE, "recipe": "tiny"}
    write(options.json, before, list(entries(memory.results, {}, {})), data=data)


def _measure(folder: Path, options: argparse.Namespace, memory: Memory) -> None:
    snapshot = _made_up(options, folder)
    memory.after("the snapshot's tables")
    data = dataset.load_training_data(
        snapshot, SIDE, cache_dir=folder, threads=1, decoding="once", progress=silent
    )
    memory.after("labels and squares")
    stage = replace(tiny().category_stage, epochs=1, batch=256)
    recipe = replace(tiny(), preset=replace(tiny().preset, resize=SIDE, crop=SIDE), category_stage=stage)
    network = HashNetwork(recipe.trunk, categories=len(data.categories), bits=recipe.bits)
    ranks = Ranks()
    outputs = PhotoOutputs(recipe, data, network, ranks, silent, bf16=False)
    run = Run(network, Checkpoints(DirectoryStore(folder / "store"), "memory"), ranks, 0, silent)
    feed = Feed(recipe, stage, data, ranks, number=1)
    Loop(
        run,
        stage,
        CategoryObjective(network, stage, bf16=False),
        number=1,
        key="category",
        name="train",
        batches=feed.batches,
        steps=min(STEPS, feed.steps),
        photos=feed.photos,
        validate=lambda: outputs.score(data.validation, network.category_head),
    ).train(None)
    memory.after(f"{STEPS} steps and a validation")
    outputs.sampled()
    memory.after("sample for the hash layer")
    outputs.measured([], features=True)
    memory.after("outputs that a release is made of")


def _made_up(options: argparse.Namespace, folder: Path) -> CuratedSnapshot:
    """Tables as curation writes them, as far as training reads them, and their squares."""
    random, count = np.random.default_rng(0), options.photos
    ids = pa.array([f"L{i:09d}" for i in range(count)])
    photos = pa.array([f"{i:032x}" for i in range(count)])
    labels = random.integers(0, options.categories, count)
    names = pa.array([f"clothing/part/category-{i:05d}" for i in range(options.categories)])
    held = random.random(count) < options.validation
    columns = {
        "listing_id": ids,
        "split": pa.array(["train", "val"]).take(pa.array(held.astype(np.int64))),
        "category": names.take(pa.array(labels)),
        "group": photos,
    }
    snapshot = SimpleNamespace(
        ref=Ref(Kind.CURATED, "0" * 16, "0" * 12),
        listings=pa.table(columns),
        listing_photos=pa.table({"listing_id": ids, "photo_id": photos}),
    )
    found = cast(Any, snapshot)
    path = dataset._squares_file(found, photos.to_pylist(), SIDE, folder)
    path.parent.mkdir(parents=True)
    np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(count, SIDE, SIDE, 3)).flush()
    path.with_suffix(".txt").write_text("\n".join(photos.to_pylist()))
    return cast(CuratedSnapshot, found)


if __name__ == "__main__":
    main()
