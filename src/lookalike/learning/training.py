"""Training: a curated snapshot in, a model release out, in the paper's two stages.

::

    lookalike train --recipe small_cpu                      # two CPU cores
    lookalike train --recipe ebay_resnet50                  # one GPU, or patience

Stage 1 trains trunk and category head with softmax loss. Stage 2 freezes the trunk and trains the hash head through a
classifier on top of its sigmoid activations, with the same loss (Yang et al., KDD 2017, sections 4.2 and 4.3). As the
trunk is frozen, stage 2 computes features once per augmented view and trains on those.

Order of photos, augmentation and mixing are functions of (seed, stage, epoch, step), and the state is kept after
every epoch, so a run that was killed ends with the weights of an undisturbed one.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  torch's own usage

from lookalike.catalogue.snapshot import CuratedSnapshot
from lookalike.errors import TrainingError
from lookalike.learning import release
from lookalike.learning.checkpoint import Checkpoints
from lookalike.learning.dataset import Examples, TrainingData, load_training_data, shuffled_batches
from lookalike.learning.network import HashNetwork
from lookalike.learning.recipes import Recipe, Stage
from lookalike.learning.schedule import Schedule
from lookalike.learning.transforms import plain_transform, seeded, training_transform
from lookalike.progress import Progress, silent
from lookalike.settings import available_cores
from lookalike.storage.artefacts import ArtefactWriter, Kind, Ref
from lookalike.storage.objects import ObjectStore

_CATEGORY, _HASH = 1, 2
_VIEWS_SEED = 3


@dataclass(slots=True)
class Trainer:
    """One training in progress."""

    recipe: Recipe
    data: TrainingData
    network: HashNetwork
    checkpoints: Checkpoints
    metrics: list[dict[str, Any]]
    progress: Progress
    bf16: bool
    device: torch.device

    def category_stage(self, state: dict[str, Any] | None) -> None:
        """Train trunk and category head."""
        stage, data = self.recipe.category_stage, self.data
        crop = self.recipe.preset.crop

        def batches(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
            transform = training_transform(
                self.recipe.preset, _size(stage, epoch, crop), self.recipe.augmentation
            )
            order = shuffled_batches(len(data.train), stage.batch, seed=(self.recipe.seed, _CATEGORY, epoch))
            for step, rows in enumerate(order):
                photos, labels = data.batch(data.train, rows)
                with seeded(self.recipe.seed, _CATEGORY, epoch, step):
                    yield transform(photos), labels

        def logits(photos_NCHW: Tensor) -> Tensor:
            return self.network.category_head(self._features(photos_NCHW))  # type: ignore[no-any-return]

        trained = nn.ModuleList([self.network.trunk, self.network.category_head])
        steps = max(1, len(data.train) // min(stage.batch, len(data.train)))
        self._run(
            _CATEGORY,
            "train categories",
            stage,
            trained,
            batches,
            steps,
            logits,
            self._validate_category,
            state,
        )

    def hash_stage(self, state: dict[str, Any] | None) -> None:
        """Train the hash head on features of the frozen trunk."""
        stage, data = self.recipe.hash_stage, self.data
        self.network.trunk.requires_grad_(False).eval()
        views = self._views(stage.views)
        labels = torch.from_numpy(data.train.labels)
        validation = self.plain_outputs(data.validation, "features of validation")["features"]
        with seeded(self.recipe.seed, _HASH):
            self.network.hash_head.centre(views[0])

        def batches(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
            order = shuffled_batches(len(data.train), stage.batch, seed=(self.recipe.seed, _HASH, epoch))
            for rows in order:
                at = torch.from_numpy(rows)
                yield views[epoch % len(views)][at], labels[at]

        def logits(features: Tensor) -> Tensor:
            # Around 0, or all bits drift to one side together.
            centred = 2 * self.network.hash_head(features) - 1
            return self.network.hash_classifier(centred)  # type: ignore[no-any-return]

        def validate() -> tuple[float, float]:
            with torch.inference_mode():
                return _score(logits(validation), torch.from_numpy(data.validation.labels))

        trained = nn.ModuleList([self.network.hash_head, self.network.hash_classifier])
        steps = max(1, len(data.train) // min(stage.batch, len(data.train)))
        self._run(_HASH, "train hash head", stage, trained, batches, steps, logits, validate, state)

    def plain_outputs(self, examples: Examples, name: str, batch: int = 64) -> dict[str, Tensor]:
        """Logits, activations and features f32 of `examples`, each distinct row once, without augmentation."""
        self.network.eval()
        transform = plain_transform(self.recipe.preset)
        found: dict[str, list[Tensor]] = {"logits": [], "activations": [], "features": []}
        with torch.inference_mode():
            for start in range(0, len(examples), batch):
                photos, _ = self.data.batch(examples, np.arange(start, min(start + batch, len(examples))))
                features = self._features(transform(photos))
                found["features"].append(features)
                found["logits"].append(self.network.category_head(features))
                found["activations"].append(self.network.hash_head(features))
                self.progress(name, min(start + batch, len(examples)), len(examples))
        return {key: torch.cat(values).float().clone() for key, values in found.items()}

    def _run(
        self,
        number: int,
        name: str,
        stage: Stage,
        trained: nn.ModuleList,
        batches: Callable[[int], Iterator[tuple[Tensor, Tensor]]],
        steps: int,
        logits: Callable[[Tensor], Tensor],
        validate: Callable[[], tuple[float, float]],
        state: dict[str, Any] | None,
    ) -> None:
        """One stage: epochs of steps, a validation and a checkpoint after each."""
        optimizer = torch.optim.SGD(
            _groups(trained, stage.weight_decay), lr=stage.rate, momentum=stage.momentum, nesterov=True
        )
        schedule = Schedule(stage, steps)
        average = {k: v.clone() for k, v in trained.state_dict().items()} if stage.average else None
        best: dict[str, Tensor] | None = None
        first = 0
        if state is not None and state["stage"] == number:
            trained.load_state_dict(state["weights"])
            optimizer.load_state_dict(state["optimizer"])
            schedule.load_state(state["schedule"])
            average, best, first = state["average"], state["best"], state["epoch"] + 1
        for epoch in range(first, stage.epochs):
            if schedule.finished:
                break
            trained.train()
            losses = []
            for step, (inputs, labels) in enumerate(batches(epoch)):
                for group in optimizer.param_groups:
                    group["lr"] = schedule.rate(epoch, step)
                with seeded(self.recipe.seed, number, epoch, step, 1):
                    loss = _loss(logits, inputs, labels, stage)
                if not torch.isfinite(loss):
                    raise TrainingError(
                        f"{name}: the loss is {loss.item()} in epoch {epoch + 1}, step {step + 1}; "
                        f"a lower rate than {stage.rate} may help"
                    )
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                losses.append(loss.item())
                if average is not None:
                    done = epoch * steps + step
                    _move_average(average, trained, min(stage.average, (1 + done) / (10 + done)))
                note = self.metrics[-1].get("note", "") if self.metrics else ""
                self.progress(name, epoch * steps + step + 1, stage.epochs * steps, note)
            with _weights(trained, average):
                trained.eval()
                validation_loss, top1 = validate()
                if schedule.observe(top1) and stage.policy == "plateau":
                    best = {k: v.clone() for k, v in trained.state_dict().items()}
            self._record(name, number, epoch, schedule.rate(epoch, steps - 1), losses, validation_loss, top1)
            self.checkpoints.save(
                {
                    "stage": number,
                    "epoch": epoch,
                    "weights": trained.state_dict(),
                    "whole": self.network.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "schedule": schedule.state(),
                    "average": average,
                    "best": best,
                    "metrics": self.metrics,
                }
            )
        total = stage.epochs * steps
        self.progress(name, total, total, self.metrics[-1]["note"] if self.metrics else "")
        final = best if best is not None else average
        if final is not None:
            trained.load_state_dict(final)
        trained.eval()

    def _record(
        self, name: str, number: int, epoch: int, rate: float, losses: list[float], loss: float, top1: float
    ) -> None:
        self.metrics.append(
            {
                "stage": "category" if number == _CATEGORY else "hash",
                "epoch": epoch + 1,
                "rate": rate,
                "loss": float(np.mean(losses)),
                "validation_loss": loss,
                "validation_top1": top1,
                "note": f"top-1 {top1:.1%}",
            }
        )

    def _features(self, photos_NCHW: Tensor) -> Tensor:
        photos = photos_NCHW.to(self.device, memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            return self.network.features(photos)

    def _validate_category(self) -> tuple[float, float]:
        transform = plain_transform(self.recipe.preset)
        examples, scores = self.data.validation, []
        with torch.inference_mode():
            for start in range(0, len(examples), 128):
                photos, _ = self.data.batch(examples, np.arange(start, min(start + 128, len(examples))))
                scores.append(self.network.category_head(self._features(transform(photos))))
        return _score(torch.cat(scores), torch.from_numpy(examples.labels))

    def _views(self, count: int) -> list[Tensor]:
        """Features [n, d] of the training photos: as search sees them, then `count - 1` times augmented."""
        transform = training_transform(self.recipe.preset, self.recipe.preset.crop, self.recipe.augmentation)
        views = [self.plain_outputs(self.data.train, "features of view 1")["features"]]
        examples = self.data.train
        for view in range(1, count):
            found = []
            with torch.inference_mode():
                for start in range(0, len(examples), 64):
                    photos, _ = self.data.batch(examples, np.arange(start, min(start + 64, len(examples))))
                    with seeded(self.recipe.seed, _VIEWS_SEED, view, start):
                        found.append(self._features(transform(photos)))
                    done = min(start + 64, len(examples))
                    self.progress(f"features of view {view + 1}", done, len(examples))
            views.append(torch.cat(found).clone())
        return views


def train(
    store: ObjectStore,
    curated: Ref,
    recipe: Recipe,
    *,
    cache_dir: Path,
    threads: int = 0,
    progress: Progress = silent,
) -> Ref:
    """Train on a curated snapshot by a recipe and return the model release; one that is finished is found.

    Raises `TrainingError` where there is nothing to learn or the loss is not a number.
    """
    config = json.loads(json.dumps({"format": 1, "recipe": asdict(recipe)}))
    writer = ArtefactWriter(store, Kind.RELEASE, inputs={"curated": str(curated)}, config=config)
    if found := writer.existing():
        return found
    cores = threads or available_cores()
    torch.set_num_threads(cores)
    snapshot = CuratedSnapshot.open(store, curated, cache_dir)
    data = load_training_data(
        snapshot, recipe.preset.resize, cache_dir=cache_dir, threads=cores, progress=progress
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with seeded(recipe.seed):
        network = HashNetwork(recipe.trunk, categories=len(data.categories), bits=recipe.bits)
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    checkpoints = Checkpoints(store, writer.id)
    state = checkpoints.load()
    trainer = Trainer(
        recipe,
        data,
        network,
        checkpoints,
        metrics=list(state["metrics"]) if state else [],
        progress=progress,
        bf16=recipe.bf16 and _has_bf16(device),
        device=device,
    )
    if state is None or state["stage"] == _CATEGORY:
        trainer.category_stage(state)
    else:
        network.load_state_dict(state["whole"])
    trainer.hash_stage(state)
    with tempfile.TemporaryDirectory(prefix="release-") as folder:
        ref = release.write(writer, Path(folder), trainer, snapshot, cores)
    checkpoints.clear()
    return ref


def _loss(logits: Callable[[Tensor], Tensor], inputs: Tensor, labels: Tensor, stage: Stage) -> Tensor:
    if stage.mixup:
        share = torch.distributions.Beta(stage.mixup, stage.mixup).sample().item()
        other = torch.randperm(len(labels))
        mixed = logits(share * inputs + (1 - share) * inputs[other])
        return share * _cross_entropy(mixed, labels, stage) + (1 - share) * _cross_entropy(
            mixed, labels[other], stage
        )
    return _cross_entropy(logits(inputs), labels, stage)


def _cross_entropy(logits: Tensor, labels: Tensor, stage: Stage) -> Tensor:
    return F.cross_entropy(logits.float(), labels.to(logits.device), label_smoothing=stage.label_smoothing)


def _score(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    """Mean loss and top-1 accuracy."""
    logits = logits.float().cpu()
    return F.cross_entropy(logits, labels).item(), (logits.argmax(dim=1) == labels).double().mean().item()


def _size(stage: Stage, epoch: int, crop: int) -> int:
    """Pixels of a training photo in this epoch."""
    at = (epoch + 1) / stage.epochs
    return next((size for until, size in stage.sizes if at <= until + 1e-9), crop)


def _groups(trained: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameters in two groups: weight decay is for matrices and kernels, not for biases and batch norms."""
    decayed = [p for p in trained.parameters() if p.ndim > 1]
    others = [p for p in trained.parameters() if p.ndim <= 1]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


@torch.no_grad()
def _move_average(average: dict[str, Tensor], trained: nn.Module, decay: float) -> None:
    for name, value in trained.state_dict().items():
        if value.is_floating_point():
            average[name].lerp_(value, 1 - decay)
        else:
            average[name].copy_(value)


class _weights:  # noqa: N801  reads as a statement: with _weights(module, average)
    """Inside, the module has the weights of `average`, if there is one."""

    def __init__(self, module: nn.Module, average: dict[str, Tensor] | None) -> None:
        self._module, self._average = module, average

    def __enter__(self) -> None:
        if self._average is not None:
            self._own = {k: v.clone() for k, v in self._module.state_dict().items()}
            self._module.load_state_dict(self._average)

    def __exit__(self, *_: object) -> None:
        if self._average is not None:
            self._module.load_state_dict(self._own)


def _has_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is faster here than float32: on a GPU that knows it, or a CPU with AVX-512 BF16 or AMX."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
