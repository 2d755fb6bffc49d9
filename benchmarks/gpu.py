"""What training and extraction do on a GPU, in parts that fit twelve minutes; `gpu.sh` packs and runs it.

1. *correctness*: the tests of `tests/learning/test_gpu.py`.
2. *input*: ResNet-50, bfloat16, 227 pixels, on JPEGs decoded once and for every batch, against the same loop on
   synthetic input, with the arithmetic ceiling beside them.
3. *extraction*: from JPEG to code.
4. *tuned*: the recipe `tuned` from `lite0`, and 5. *scratch*: ResNet-50 from scratch, each as many epochs as fit four
   minutes with the rate brought down to zero, and the validation top-1 that came of it.

A part that fails is reported with its error, and the others go on. Results are written after each part. ``--tiny``
takes the same path with toy sizes, on a CPU, too. No part imports ONNX, OpenVINO, XGBoost or SciPy.
"""

from __future__ import annotations

import argparse
import io
import itertools
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.report import entries, machine, write
from benchmarks.training import Bench, in_turns, median, ratio, snapshot_of
from lookalike.catalogue.snapshot import CuratedSnapshot
from lookalike.learning import distributed
from lookalike.learning.checkpoint import Checkpoints
from lookalike.learning.dataset import TrainingData, load_training_data
from lookalike.learning.distributed import Ranks
from lookalike.learning.feed import Feed
from lookalike.learning.loop import Loop, Run
from lookalike.learning.network import HashNetwork
from lookalike.learning.objective import CategoryObjective
from lookalike.learning.outputs import PhotoOutputs
from lookalike.learning.precision import has_bf16
from lookalike.learning.recipes import Recipe, ebay_resnet50, tiny, tuned
from lookalike.learning.starting import begun
from lookalike.progress import silent
from lookalike.settings import available_cores
from lookalike.storage.directory import DirectoryStore

TARGETS = {
    "input: decoded once / synthetic throughput": 0.9,
    "extraction: overlapped per_second": 6000.0,
    "tuned: top1": 0.91,
}
"""On one H100 with 16 cores."""
_SHRUNK, _QUALITY = 192, 70
"""Pixels of the shorter side, and JPEG quality, of the photos that are packed: clothing then takes 37 MB, not 57."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pack", default=None, metavar="CSV", help="make the store of --kit of a catalogue")
    parser.add_argument("--kit", type=Path, default=Path("gpu-kit"))
    parser.add_argument("--tiny", action="store_true", help="toy sizes and a drawn sample")
    parser.add_argument("--train-seconds", type=float, default=230.0, help="of each of the two trainings")
    parser.add_argument("--parts", default="correctness,input,extraction,tuned,scratch")
    parser.add_argument("--json", type=Path, default=Path("gpu.json"))
    options = parser.parse_args()
    if options.pack:
        pack(options.pack, options.kit)
        return
    torch.set_num_threads(1 if options.tiny else available_cores())
    torch.backends.cudnn.benchmark = True
    about = machine(torch=torch.__version__)
    if torch.cuda.is_available():
        about |= {"gpu": torch.cuda.get_device_name(0)}
    results: dict[str, Any] = {}
    errors: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder, distributed.joined() as ranks:
        uri = None if options.tiny else str(options.kit / "store")
        store, curated = snapshot_of(uri, 1, Path(folder))
        snapshot = CuratedSnapshot.open(store, curated, Path(folder))
        parts = Parts(
            snapshot,
            ranks,
            Path(folder),
            tiny=options.tiny,
            seconds=3.0 if options.tiny else options.train_seconds,
        )
        for name in options.parts.split(","):
            part: Callable[[], dict[str, Any]] = getattr(parts, name)
            began = time.monotonic()
            try:
                results[name] = part()
            except Exception as error:  # of one part; the machine is there for twelve minutes only
                traceback.print_exc()
                errors[name] = f"{type(error).__name__}: {error}"
            results.setdefault(name, {})["part seconds"] = time.monotonic() - began
            if ranks.device.type == "cuda":
                results[name]["peak_mb"] = torch.cuda.max_memory_allocated() / 1e6
                torch.cuda.reset_peak_memory_stats()
                torch.cuda.empty_cache()
            targets = {} if options.tiny else TARGETS
            data = {"photos": snapshot.photos.num_rows, "tiny": options.tiny, "seed": 0}
            write(options.json, about, list(entries(results, targets, {})), data=data, errors=errors)
    if errors:
        raise SystemExit(f"failed: {', '.join(errors)}")


class Parts:
    """Each part by its name: runs, and returns what it measured."""

    def __init__(
        self, snapshot: CuratedSnapshot, ranks: Ranks, folder: Path, *, tiny: bool, seconds: float
    ) -> None:
        self.snapshot, self.ranks, self.folder = snapshot, ranks, folder
        self.tiny, self.seconds, self.cores = tiny, seconds, available_cores()
        self.from_scratch = self._toy(ebay_resnet50()) if tiny else ebay_resnet50()

    def correctness(self) -> dict[str, Any]:
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "tests/learning/test_gpu.py",
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
        print(done.stdout[-3000:], done.stderr[-1000:], file=sys.stderr)
        if done.returncode not in (0, 5):
            raise RuntimeError(
                f"pytest ended with {done.returncode}: {done.stdout.strip().splitlines()[-1:]}"
            )
        counted = done.stdout.strip().splitlines()[-1].split()
        return {
            word.strip(","): int(number)
            for number, word in itertools.pairwise(counted)
            if number.isdigit() and word.strip(",") in ("passed", "skipped")
        }

    def input(self) -> dict[str, Any]:
        bench = self._bench()
        found: dict[str, Any] = in_turns(bench.training(), 1 if self.tiny else 3)
        ceiling = bench.ceiling()
        return (
            found
            | ceiling
            | {
                "decoded once / synthetic throughput": ratio(found, "decoded once", "synthetic"),
                "decoded always / synthetic throughput": ratio(found, "decoded always", "synthetic"),
                "synthetic / ceiling throughput": median(found, "synthetic") / ceiling["ceiling per_second"],
            }
        )

    def extraction(self) -> dict[str, Any]:
        bench = self._bench()
        if self.ranks.device.type != "cuda":
            return {}  # runs on OpenVINO: `benchmarks.training`
        found: dict[str, Any] = in_turns(bench.extraction(), 1 if self.tiny else 3)
        return found | {"overlapped / forward alone throughput": ratio(found, "overlapped", "forward alone")}

    def tuned(self) -> dict[str, Any]:
        recipe = tuned()
        if self.tiny:
            sizes = ((0.4, 32), (1.0, 48))
            stage = replace(recipe.category_stage, batch=8, sizes=sizes)
            preset = replace(recipe.preset, resize=64, crop=64)
            recipe = replace(recipe, category_stage=stage, preset=preset)
        return self._trained(replace(recipe, bf16=self.ranks.device.type == "cuda"))

    def scratch(self) -> dict[str, Any]:
        stage = replace(
            self.from_scratch.category_stage,
            policy="cosine",  # the paper's rounds take as long as they take
            batch=min(128, self.from_scratch.category_stage.batch),
            warmup_epochs=2.0,
            label_smoothing=0.1,
            average=0.998,
        )
        return self._trained(replace(self.from_scratch, category_stage=stage, weights=""))

    def _toy(self, recipe: Recipe) -> Recipe:
        return replace(tiny(), name=recipe.name)

    def _bench(self) -> Bench:
        steps = 3 if self.tiny else 30
        return Bench(
            self.from_scratch, self.snapshot, self.ranks, self.folder, self.cores, steps, compiled=False
        )

    def _trained(self, asked: Recipe) -> dict[str, Any]:
        """Train the category stage for as many epochs as fit, and measure on validation after each."""
        recipe, start = begun(asked, None)
        data = load_training_data(
            self.snapshot, recipe.preset.resize, cache_dir=self.folder, threads=self.cores, decoding="once"
        )

        def network() -> HashNetwork:
            torch.manual_seed(recipe.seed)
            made = HashNetwork(
                recipe.trunk,
                categories=len(data.categories),
                bits=512,
                looks=recipe.preset if recipe.looks else None,
            )
            if start is not None:
                start.load(made, data.categories, DirectoryStore(self.folder), self.folder)
            return made.to(self.ranks.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

        one = replace(recipe, category_stage=replace(recipe.category_stage, epochs=1, sizes=()))
        self._loop(one, data, network())  # chooses algorithms
        began = time.monotonic()
        self._loop(one, data, network())
        epoch_s = time.monotonic() - began
        epochs = max(2, int(self.seconds / epoch_s))
        stage = replace(recipe.category_stage, epochs=epochs)
        began = time.monotonic()
        metrics = self._loop(replace(recipe, category_stage=stage), data, network())
        seconds = time.monotonic() - began
        return {
            "top1": metrics[-1]["validation_top1"],
            "best top1": max(entry["validation_top1"] for entry in metrics),
            "epochs": epochs,
            "train seconds": seconds,
            "photos per_second": epochs * len(data.train) / seconds,
        }

    def _loop(self, recipe: Recipe, data: TrainingData, network: HashNetwork) -> list[dict[str, Any]]:
        bf16 = recipe.bf16 and has_bf16(self.ranks.device)
        stage = recipe.category_stage
        feed = Feed(recipe, stage, data, self.ranks, number=1)
        outputs = PhotoOutputs(recipe, data, network, self.ranks, silent, bf16)
        truth = torch.from_numpy(data.validation.labels)

        def validate() -> tuple[float, float]:
            logits = outputs.plain(data.validation, None, batch=256, names=("logits",))["logits"]
            loss = torch.nn.functional.cross_entropy(logits, truth).item()
            return loss, (logits.argmax(dim=1) == truth).double().mean().item()

        with tempfile.TemporaryDirectory() as folder:
            checkpoints = Checkpoints(DirectoryStore(Path(folder)), "gpu")
            run = Run(network, checkpoints, self.ranks, recipe.seed, silent)
            Loop(
                run,
                stage,
                CategoryObjective(network, stage, bf16=bf16),
                number=1,
                key="category",
                name="gpu",
                batches=feed.batches,
                steps=feed.steps,
                photos=feed.photos,
                validate=validate,
            ).train(None)
        return run.metrics


def pack(catalogue: str, kit: Path) -> None:
    """A curated snapshot of the catalogue, its photos shrunk and compressed more, as the store of the kit."""
    from PIL import Image

    from lookalike.catalogue.curation import curate
    from lookalike.catalogue.reading import read_catalogue
    from lookalike.catalogue.rules import CurationConfig

    source = Path(catalogue)
    with tempfile.TemporaryDirectory() as folder:
        smaller = Path(folder) / "listings.csv"
        smaller.write_bytes(source.read_bytes())
        for image in {name for listing in read_catalogue(catalogue).listings for name in listing.images}:
            place = Path(folder) / image
            if not (source.parent / image).exists():
                continue  # the curation says so
            place.parent.mkdir(parents=True, exist_ok=True)
            photo = Image.open(source.parent / image).convert("RGB")
            scale = min(1.0, _SHRUNK / min(photo.size))
            photo = photo.resize((max(1, round(photo.width * scale)), max(1, round(photo.height * scale))))
            out = io.BytesIO()
            photo.save(out, "JPEG", quality=_QUALITY)
            place.write_bytes(out.getvalue())
        store = DirectoryStore(kit / "store")
        ref = curate(store, str(smaller), CurationConfig(), cache_dir=Path(folder) / "cache")
        print(f"packed {ref}")


if __name__ == "__main__":
    main()
