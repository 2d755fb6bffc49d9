"""Training and extraction: does the input keep up with the network?

    python -m benchmarks.training --recipe small_cpu --threads 2 --json results.json
    python -m benchmarks.training --recipe ebay_resnet50 --store s3://shop/lookalike --json results.json   # on a GPU

Photos per second of the real training loop (`learning.loop`) three times: fed with JPEGs that were decoded once, with
JPEGs that are decoded anew for every batch, and with one batch that lies on the device already ("synthetic"): what the
network alone can do. Beside them the arithmetic ceiling: the step's multiplications, counted by torch, at the rate that
this device multiplies large matrices in the recipe's precision. Then extraction: by the release's encoder one thing
after the other, overlapped, and the forward passes alone, as many at a time as overlapped. Variants take turns,
`--rounds` times; numbers are medians.

The snapshot is the newest of `--store`, or a drawn sample. Weights are random: speed does not
depend on them.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.report import entries, machine, write
from lookalike.ahead import ahead
from lookalike.catalogue.rules import CurationConfig
from lookalike.catalogue.snapshot import CuratedSnapshot
from lookalike.coding.encoder import Encoder, compile_encoder
from lookalike.coding.extraction import Pace, encode_lots
from lookalike.coding.release import ModelCard
from lookalike.imaging.photos import load_square
from lookalike.learning import distributed
from lookalike.learning.checkpoint import Checkpoints
from lookalike.learning.dataset import TrainingData, load_training_data
from lookalike.learning.distributed import Ranks
from lookalike.learning.encoder import TorchEncoder
from lookalike.learning.feed import Feed
from lookalike.learning.loop import Batch, Loop, Run
from lookalike.learning.network import HashNetwork
from lookalike.learning.objective import CategoryObjective
from lookalike.learning.precision import has_bf16
from lookalike.learning.recipes import RECIPES, Recipe
from lookalike.settings import available_cores
from lookalike.storage.artefacts import Kind, Ref, latest
from lookalike.storage.directory import DirectoryStore
from lookalike.storage.objects import ObjectStore
from lookalike.storage.stores import open_store
from sample_shop import write_sample

WARM_UP = 5
"""Steps that do not count: the first choose algorithms, compile, and fill the queues."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", default="small_cpu", choices=sorted(RECIPES))
    parser.add_argument(
        "--store", default=None, help="a store with a curated snapshot; a drawn sample if not given"
    )
    parser.add_argument("--products", type=int, default=12, help="of each category of the drawn sample")
    parser.add_argument("--steps", type=int, default=20, help="timed steps of each variant and round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--compile", action="store_true", help="train by torch.compile")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    recipe, cores = RECIPES[options.recipe](), options.threads or available_cores()
    torch.set_num_threads(cores)
    torch.backends.cudnn.benchmark = True
    before = machine(torch=torch.__version__)
    with tempfile.TemporaryDirectory() as folder, distributed.joined() as ranks:
        store, curated = snapshot_of(options.store, options.products, Path(folder))
        snapshot = CuratedSnapshot.open(store, curated, Path(folder))
        bench = Bench(recipe, snapshot, ranks, Path(folder), cores, options.steps, compiled=options.compile)
        training = in_turns(bench.training(), options.rounds)
        extraction = in_turns(bench.extraction(), options.rounds)
        ceiling = bench.ceiling()
    if ranks.device.type == "cuda":
        before |= {"gpu": torch.cuda.get_device_name(ranks.device)}
    results = {
        "training": training
        | ceiling
        | {
            "decoded once / synthetic throughput": ratio(training, "decoded once", "synthetic"),
            "decoded always / synthetic throughput": ratio(training, "decoded always", "synthetic"),
            "synthetic / ceiling throughput": median(training, "synthetic") / ceiling["ceiling per_second"],
        },
        "extraction": extraction
        | {
            "overlapped / serial throughput": ratio(extraction, "overlapped", "serial"),
            "overlapped / forward alone throughput": ratio(extraction, "overlapped", "forward alone"),
        },
    }
    targets = {"training: decoded once / synthetic throughput": 0.9}
    if ranks.device.type == "cuda":  # on a CPU decoding takes the forward pass's own cores
        targets["extraction: overlapped / forward alone throughput"] = 0.9
    data = {
        "recipe": recipe.name,
        "batch": recipe.category_stage.batch,
        "pixels": recipe.preset.crop,
        "photos": snapshot.photos.num_rows,
        "threads": cores,
        "bf16": bench.bf16,
        "compiled": options.compile,
        "seed": recipe.seed,
    }
    write(options.json, before, list(entries(results, targets, {})), data=data)


def snapshot_of(uri: str | None, products: int, folder: Path) -> tuple[ObjectStore, Ref]:
    """The newest curated snapshot of the store at `uri`, or one of a sample that is drawn into `folder`."""
    if uri is not None:
        store = open_store(uri)
        if (found := latest(store, Kind.CURATED)) is None:
            raise SystemExit(f"{uri} holds no curated snapshot")
        return store, found
    from lookalike.catalogue.curation import curate  # with SciPy, which a machine with a GPU need not have

    sample = write_sample(folder / "sample", products=products)
    store = DirectoryStore(folder / "store")
    return store, curate(store, str(sample.catalogue), CurationConfig(), cache_dir=folder / "cache")


class Bench:
    """The variants, each a function that runs once and returns photos per second."""

    def __init__(
        self,
        recipe: Recipe,
        snapshot: CuratedSnapshot,
        ranks: Ranks,
        folder: Path,
        cores: int,
        steps: int,
        *,
        compiled: bool,
    ) -> None:
        stage = replace(recipe.category_stage, epochs=1, warmup_epochs=0.0, sizes=(), rate=1e-3)
        self.recipe, self.stage = replace(recipe, category_stage=stage), stage
        self.snapshot, self.ranks, self.folder = snapshot, ranks, folder
        self.cores, self.steps, self.compiled = cores, steps, compiled
        self.bf16 = recipe.bf16 and has_bf16(ranks.device)
        torch.manual_seed(recipe.seed)
        self.categories = tuple(sorted(set(snapshot.listings["category"].to_pylist())))
        self.network = HashNetwork(recipe.trunk, categories=len(self.categories), bits=recipe.bits)
        self.network.to(ranks.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def training(self) -> dict[str, Callable[[], float]]:
        once, always = (
            load_training_data(
                self.snapshot,
                self.recipe.preset.resize,
                cache_dir=self.folder,
                threads=self.cores,
                decoding=decoding,  # type: ignore[arg-type]
            )
            for decoding in ("once", "always")
        )
        return {
            "decoded once": lambda: self._loop(once, self._fed(once)),
            "decoded always": lambda: self._loop(always, self._fed(always)),
            "synthetic": lambda: self._loop(once, itertools.repeat(next(self._fed(once)))),
        }

    def _fed(self, data: TrainingData) -> Iterator[Batch]:
        feed = Feed(self.recipe, self.stage, data, self.ranks, number=1)
        for epoch in itertools.count():
            yield from feed.batches(epoch, 0)

    def _loop(self, data: TrainingData, batches: Iterator[Batch]) -> float:
        """Photos per second of the training loop."""
        self.network.requires_grad_(True)
        photos, steps = min(self.stage.batch, len(data.train)), WARM_UP + self.steps
        times: list[float] = []
        with tempfile.TemporaryDirectory() as folder:
            Loop(
                Run(
                    self.network,
                    Checkpoints(DirectoryStore(Path(folder)), "bench"),
                    self.ranks,
                    self.recipe.seed,
                    lambda *_: times.append(time.perf_counter()),
                    compiled=self.compiled,
                ),
                self.stage,
                CategoryObjective(self.network, self.stage, bf16=self.bf16),
                number=1,
                key="category",
                name="bench",
                batches=lambda epoch, first: itertools.islice(batches, steps),
                steps=steps,
                photos=photos,
                validate=lambda: (0.0, 0.0),
            ).train(None)
        return photos * self.steps / (times[steps - 1] - times[WARM_UP - 1])

    def ceiling(self) -> dict[str, float]:
        """What the device could do if it did nothing but the step's multiplications, at the rate of a large product."""
        device, crop = self.ranks.device, self.recipe.preset.crop
        objective = CategoryObjective(self.network, self.stage, bf16=False).train()
        photos = torch.randn(8, 3, crop, crop, device=device)
        with FlopCounterMode(display=False) as counter:
            objective(photos, torch.zeros(8, dtype=torch.int64, device=device)).backward()
        flops = counter.get_total_flops() / 8
        side = 8192 if device.type == "cuda" else 2048
        dtype = torch.bfloat16 if self.bf16 else torch.float32
        a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
        rates = []
        for _ in range(10):
            began = time.perf_counter()
            (a @ b)[0, 0].item()  # waits for the device
            rates.append(2 * side**3 / (time.perf_counter() - began))
        rate = statistics.median(rates[2:])
        return {
            "GFLOP of a photo": flops / 1e9,
            "TFLOP/s of a product": rate / 1e12,
            "ceiling per_second": rate / flops,
        }

    def extraction(self) -> dict[str, Callable[[], float]]:
        ids = sorted(self.snapshot.photos["photo_id"].to_pylist())
        gpu = self.ranks.device.type == "cuda"
        overlapping = Pace(256, self.cores, 2) if gpu else Pace()
        encoder, side = self._encoder(), self.recipe.preset.resize
        count = overlapping.batch * (self.steps if gpu else 8)
        ids = list(itertools.islice(itertools.cycle(ids), count))
        lots = [ids[at : at + overlapping.batch] for at in range(0, count, overlapping.batch)]

        def serial() -> None:
            for lot in lots:
                encoder.encode(np.stack([load_square(self.snapshot.photo_bytes(i), side) for i in lot]))

        def overlapped() -> None:
            for _ in encode_lots([ids], self.snapshot.photo_bytes, encoder, overlapping, lambda _: None):
                pass

        def forward() -> None:
            batches = itertools.repeat(np.zeros((overlapping.batch, side, side, 3), np.uint8), len(lots))
            threads = overlapping.encoders
            for _ in ahead(encoder.encode, batches, threads=threads, depth=threads):
                pass

        def timed(work: Callable[[], None]) -> Callable[[], float]:
            def run() -> float:
                began = time.perf_counter()
                work()
                return count / (time.perf_counter() - began)

            return run

        variants = {"serial": serial, "overlapped": overlapped, "forward alone": forward}
        return {name: timed(work) for name, work in variants.items()}

    def _encoder(self) -> Encoder:
        card = ModelCard(
            self.recipe.trunk,
            "random",
            self.categories,
            self.recipe.preset,
            self.recipe.bits,
            self.network.feature_count,
        )
        if self.ranks.device.type == "cuda":
            return TorchEncoder(card, self.network, self.ranks.device, bf16=has_bf16(self.ranks.device))
        from lookalike.learning.export import export_onnx  # a machine with a GPU needs no ONNX

        path = self.folder / "model.onnx"
        export_onnx(self.network, card.preset, path)
        return compile_encoder(card, path, threads=self.cores)


def in_turns(variants: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Each variant once per round, so that a noisy machine is noisy to all; photos per second of every round."""
    found: dict[str, list[float]] = {f"{name} per_second": [] for name in variants}
    for _ in range(rounds):
        for name, run in variants.items():
            found[f"{name} per_second"].append(run())
    return found


def median(found: dict[str, list[float]], name: str) -> float:
    return statistics.median(found[f"{name} per_second"])


def ratio(found: dict[str, list[float]], name: str, to: str) -> float:
    """The median over the rounds of one variant's throughput by another's."""
    pairs = zip(found[f"{name} per_second"], found[f"{to} per_second"], strict=True)
    return statistics.median(one / other for one, other in pairs)


if __name__ == "__main__":
    main()
