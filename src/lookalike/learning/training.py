"""Training: a curated snapshot in, a model release out, in the paper's two stages.

::

    lookalike train --recipe small_cpu                       # two CPU cores
    lookalike train --recipe ebay_resnet50                   # one GPU, or patience

    # every GPU of one machine
    torchrun --standalone --nproc-per-node gpu -m lookalike train --recipe ebay_resnet50 --store s3://shop/lookalike

    # four machines of eight GPUs, the same lines on each; when a rank dies, all start again, up to three times
    export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
    torchrun --nnodes 4 --nproc-per-node 8 --max-restarts 3 --rdzv-backend c10d --rdzv-endpoint $FIRST:29400 \\
        -m lookalike train --recipe ebay_resnet50 --store s3://shop/lookalike

Stage 1 trains trunk and category head with softmax loss (Yang et al., KDD 2017, section 4.2). Stage 2 is about the
hash layer, by the recipe's `hash_head`: the paper's freezes the trunk and trains the layer through a classifier with
the same loss (section 4.3), on features that are computed once per augmented view; with `trunk_share` the trunk
learns on. A recipe that is `frozen` leaves the trunk as its starting weights have it in both stages.

The recipe's batch is that of all ranks together, so a recipe means the same on any number of them; batch norms take
the statistics of each rank's part of it. `loop` says how a run that was stopped or killed goes on.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lookalike.catalogue.snapshot import CuratedSnapshot
from lookalike.learning import distributed, identity, memory, release
from lookalike.learning.checkpoint import Checkpoints
from lookalike.learning.dataset import Decoding, TrainingData, load_training_data, shuffled_batches
from lookalike.learning.distributed import Ranks
from lookalike.learning.feed import Feed, batch_size, for_ranks
from lookalike.learning.hash_heads import FittedHead, SplitHashHead
from lookalike.learning.hashing import TunedHashing, ViewedHashing, hash_objective
from lookalike.learning.loop import Batch, Loop, Run
from lookalike.learning.network import HashNetwork
from lookalike.learning.objective import CategoryObjective, HeadObjective, Objective
from lookalike.learning.outputs import PhotoOutputs
from lookalike.learning.precision import exact_float32, has_bf16
from lookalike.learning.recipes import Recipe, Stage
from lookalike.learning.starting import StartingWeights, begun
from lookalike.learning.stopping import StopRequest
from lookalike.learning.transforms import seeded
from lookalike.learning.trunks import check_size
from lookalike.learning.variants import learned, variants_of
from lookalike.progress import Progress, silent
from lookalike.settings import available_cores
from lookalike.storage.artefacts import ArtefactWriter, Kind, Ref
from lookalike.storage.objects import ObjectStore

_CATEGORY, _HASH = 1, 2
_KEYS = {_CATEGORY: "category", _HASH: "hash"}


@dataclass(slots=True)
class Trainer:
    """One training in progress."""

    recipe: Recipe
    data: TrainingData
    network: HashNetwork
    run: Run
    bf16: bool
    outputs: PhotoOutputs
    snapshot: CuratedSnapshot

    @property
    def ranks(self) -> Ranks:
        return self.run.ranks

    def category_stage(self, state: dict[str, Any] | None) -> None:
        """Train trunk and category head, or the head alone where the trunk is frozen."""
        stage, data = self.recipe.category_stage, self.data
        if self.recipe.frozen:
            self.network.trunk.requires_grad_(False).eval()
            with exact_float32():
                views = self.outputs.views(stage.views)
                head = HeadObjective(self.network, stage, views[0]).to(self.ranks.device)
                self._train_on_views(head, stage, views, state, _CATEGORY)
            head.hand_over(self.network)
            return
        feed = Feed(self.recipe, stage, data, self.ranks, number=_CATEGORY)
        objective = CategoryObjective(self.network, stage, bf16=self.bf16)

        def validate() -> tuple[float, float]:
            return self.outputs.score(data.validation, lambda features: self.network.category_head(features))

        Loop(
            self.run,
            stage,
            objective,
            number=_CATEGORY,
            key="category",
            name="train categories",
            batches=feed.batches,
            steps=feed.steps,
            photos=feed.photos,
            validate=validate,
        ).train(state)

    def hash_stage(self, state: dict[str, Any] | None) -> None:
        """Fit the hash layer on features of the trunk, and train it unless it is one that needs no training."""
        recipe, data, ranks, network = self.recipe, self.data, self.ranks, self.network
        tuned = recipe.hash_stage.trunk_share > 0
        network.trunk.requires_grad_(tuned).eval()
        head = network.hash_head
        stage, fitted = recipe.hash_stage, isinstance(head, FittedHead)
        on_photos = tuned or fitted or not stage.views
        views = [] if on_photos else self.outputs.views(stage.views)
        catalogue = self.outputs.sampled() if on_photos else views[0]
        with seeded(recipe.seed, _HASH):
            if isinstance(head, FittedHead):
                head.fit(catalogue, network.category_head)
                if recipe.variants and isinstance(head, SplitHashHead):
                    self._learn_variants(head, catalogue)
                return
            if recipe.hash_head != "paper":
                head.centre(catalogue)
            hashing = hash_objective(recipe.hash_head, head, len(data.categories), stage)
            hashing = hashing.to(ranks.device)
        if tuned:
            self._train_on_photos(hashing, TunedHashing(network, hashing, stage, bf16=self.bf16), state)
        elif not stage.views:
            self._train_on_photos(hashing, ViewedHashing(network, hashing, stage, bf16=self.bf16), state)
        else:
            self._train_on_views(hashing, stage, views, state, _HASH)

    def _learn_variants(self, head: SplitHashHead, catalogue: Tensor) -> None:
        variants = variants_of(self.snapshot.listings.take(self.outputs.sample().listing_rows))
        self.run.progress("learn variants", 0, 1)
        matrix = learned(catalogue[:, : head.features], variants, self.ranks.device)
        if matrix is not None:
            head.learn(catalogue, matrix)
        self.run.progress("learn variants", 1, 1, "" if matrix is not None else "too few of any")

    def _train_on_views(
        self, head: Objective, stage: Stage, views: list[Tensor], state: dict[str, Any] | None, number: int
    ) -> None:
        """Train a head alone, on features of the frozen trunk."""
        data, ranks = self.data, self.ranks
        labels = torch.from_numpy(data.train.labels)
        validation = self.outputs.plain(data.validation, "features of validation", names=("features",))
        validated = validation["features"]
        photos = batch_size(stage, len(data.train), ranks)

        def batches(epoch: int, first: int) -> Iterator[Batch]:
            seed = (self.recipe.seed, number, epoch)
            for rows in shuffled_batches(len(data.train), photos, seed=seed, first=first):
                at = torch.from_numpy(rows[ranks.part(photos)])
                yield views[epoch % len(views)][at].to(ranks.device), labels[at].to(ranks.device)

        def validate() -> tuple[float, float]:
            return self.outputs.score(data.validation, head.scores, validated)

        key = _KEYS[number]
        Loop(
            self.run,
            stage,
            head,
            number=number,
            key=key,
            name=f"train {key} head",
            batches=batches,
            steps=len(data.train) // photos,
            photos=photos,
            validate=validate,
        ).train(state)

    def _train_on_photos(self, hashing: Objective, whole: Objective, state: dict[str, Any] | None) -> None:
        """Train the hash layer on photos, by `whole`, which is `hashing` with the trunk before it."""
        stage, data = self.recipe.hash_stage, self.data
        feed = Feed(self.recipe, stage, data, self.ranks, number=_HASH)

        def validate() -> tuple[float, float]:
            return self.outputs.score(data.validation, hashing.scores)

        Loop(
            self.run,
            stage,
            whole,
            number=_HASH,
            key="hash",
            name="train hash head on photos",
            batches=feed.batches,
            steps=feed.steps,
            photos=feed.photos,
            validate=validate,
        ).train(state)


def train(
    store: ObjectStore,
    curated: Ref,
    recipe: Recipe,
    *,
    cache_dir: Path,
    weights: str | None = None,
    threads: int = 0,
    compiled: bool = False,
    decoding: Decoding = "auto",
    progress: Progress = silent,
) -> Ref:
    """Train on a curated snapshot by a recipe and return the model release; one that is finished is found.

    `weights` names where to start instead of from scratch (`starting`); `compiled` trains by `torch.compile`;
    `decoding` photos once takes disk, always takes cores.
    Started by `torchrun`, this process does its part and every rank returns the release. Raises `TrainingError` where
    there is nothing to learn, the loss is not a number or another rank is gone, and `TrainingStopped` after SIGTERM.
    """
    recipe, start = begun(recipe, weights)
    if found := _finished(store, curated, recipe, start):
        return found
    if start is not None:
        start.check(store)
    writer = _writers(store, curated, recipe, start)[0]
    stop = StopRequest()
    with stop.watched(), memory.kept(), distributed.joined() as ranks:
        checkpoints = Checkpoints(store, writer.id)
        cores = threads or max(1, available_cores() // ranks.local_world)
        torch.set_num_threads(cores)
        torch.backends.cudnn.benchmark = True  # photos come in few sizes
        if not ranks.first:
            progress = silent
        snapshot, data = _data(store, curated, recipe, ranks, cache_dir, cores, decoding, progress)
        with seeded(recipe.seed):
            network = HashNetwork(
                recipe.trunk,
                categories=len(data.categories),
                bits=recipe.bits,
                hash_head=recipe.hash_head,
                looks=recipe.preset if recipe.looks else None,
            )
        for size in {recipe.preset.crop, *(pixels for _, pixels in recipe.category_stage.sizes)}:
            check_size(network.trunk, recipe.trunk, size)
        if start is not None:
            start.load(network, data.categories, store, cache_dir)
        network = network.to(ranks.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if ranks.first:
            writer.begin()
        state = checkpoints.load()
        ranks.wait()  # all have read the checkpoint before one is written
        run = Run(network, checkpoints, ranks, recipe.seed, progress, stop, compiled)
        run.metrics.extend(state["metrics"] if state else ())
        bf16 = recipe.bf16 and has_bf16(ranks.device)
        strangers = recipe.frozen and start is not None and start.published is not None
        recipe = replace(
            recipe,
            aspects=recipe.aspects if strangers else replace(recipe.aspects, folds=0),
            category_stage=for_ranks(recipe.category_stage, ranks),
            hash_stage=for_ranks(recipe.hash_stage, ranks),
        )
        graph = None
        outputs = PhotoOutputs(recipe, data, network, ranks, progress, bf16)
        if recipe.frozen and ranks.device.type == "cpu":
            graph, outputs.as_served = release.as_served(network, data, recipe, cores)
        trainer = Trainer(recipe, data, network, run, bf16, outputs, snapshot)
        if state is None or state["stage"] == _CATEGORY:
            trainer.category_stage(state)
        else:
            network.load_state_dict(state["network"])
        trainer.hash_stage(state)
        ranks.share(network)  # a hash layer that is fitted, not trained, has met no other rank
        measured = outputs.measured(run.metrics, features=bool(snapshot.aspects))
        with tempfile.TemporaryDirectory(prefix="release-") as folder:
            origin = start.origin(store, cache_dir) if start is not None else {}
            written = release.write(writer, Path(folder), measured, snapshot, cores, origin, graph)
        if ranks.first:
            checkpoints.clear()
    return written


def trained(store: ObjectStore, curated: Ref, recipe: Recipe, weights: str | None = None) -> Ref | None:
    """The model release that `train` has made of these, here or on other machines, if it has."""
    return _finished(store, curated, *begun(recipe, weights))


def _finished(store: ObjectStore, curated: Ref, recipe: Recipe, start: StartingWeights | None) -> Ref | None:
    writers = _writers(store, curated, recipe, start)
    return next((found for writer in writers if (found := writer.existing())), None)


def _writers(
    store: ObjectStore, curated: Ref, recipe: Recipe, start: StartingWeights | None
) -> list[ArtefactWriter]:
    """The release's writer, and after it those that it would have had by the rules of earlier versions."""
    inputs = {"curated": str(curated)}
    return [
        ArtefactWriter(store, Kind.RELEASE, inputs=inputs, config=config)
        for config in identity.configurations(recipe, start.identity if start else "")
    ]


def _data(
    store: ObjectStore,
    curated: Ref,
    recipe: Recipe,
    ranks: Ranks,
    cache_dir: Path,
    threads: int,
    decoding: Decoding,
    progress: Progress,
) -> tuple[CuratedSnapshot, TrainingData]:
    """Labels and squares; one rank of each machine fetches and decodes, and the others of it find what it left."""

    def load() -> tuple[CuratedSnapshot, TrainingData]:
        snapshot = CuratedSnapshot.open(store, curated, cache_dir)
        return snapshot, load_training_data(
            snapshot,
            recipe.preset.resize,
            cache_dir=cache_dir,
            threads=threads * ranks.local_world if ranks.local_rank == 0 else threads,
            decoding=decoding,
            progress=progress,
        )

    if ranks.local_rank == 0:
        loaded = load()
        ranks.wait()
        return loaded
    ranks.wait()
    return load()
