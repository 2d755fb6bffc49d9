"""What a network says of photos: features, category logits and bits, computed by all ranks.

`PhotoOutputs` is what training asks while it trains. `measured` is what it leaves: the outputs by which a release is
measured and fitted, as search will compute them. `release` takes them as a value and knows nothing of the training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  torch's own usage

from lookalike.learning.dataset import Examples, TrainingData
from lookalike.learning.distributed import Ranks
from lookalike.learning.feed import gathered
from lookalike.learning.network import HashNetwork
from lookalike.learning.precision import exact_float32
from lookalike.learning.recipes import Recipe
from lookalike.learning.transforms import plain_transform, seeded, training_transform
from lookalike.progress import Progress

_VIEWS_SEED = 3
_CENTRED = 100_000
"""Photos on which a hash layer is centred: their mean is that of ten million to three digits, in a hundredth of the
memory."""
_FITTED = 200_000
"""Photos on which aspect models are fitted: a tree costs 2.6 s for each million rows."""
_RANKED_PAIRS = 200_000_000
"""How the validation photos rank the training photos is measured up to so many pairs."""
Outputs = Mapping[str, NDArray[np.float32]]
"""Name of an output (`logits`, `activations`, `features`) -> f32 [n, width], in the order of the examples."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained network with all that its release is written from."""

    recipe: Recipe
    data: TrainingData
    network: HashNetwork
    ranks: Ranks
    metrics: Sequence[Mapping[str, Any]]
    """What each epoch measured."""
    progress: Progress
    training: Outputs
    """Of the training photos, only what is asked for (`measured`); of all outputs, only rank 0 has any."""
    validation: Outputs
    photos: int
    """How many photos it learned from; `data` may be a part of them."""


@dataclass(slots=True)
class PhotoOutputs:
    """A network's outputs on the photos that it learns from."""

    recipe: Recipe
    data: TrainingData
    network: HashNetwork
    ranks: Ranks
    progress: Progress
    bf16: bool
    as_served: Callable[[NDArray[np.uint8]], NDArray[np.float32]] | None = None
    """Where the trunk never changes, its features f32 [n, d] of squares u8 [n, side, side, 3] by the exported graph:
    several times as fast on a CPU as by torch."""
    _frozen: dict[int, Tensor] = field(default_factory=dict)
    """Features of examples as search sees them, by the examples' identity, where the trunk never changes."""

    def plain(
        self,
        examples: Examples,
        name: str | None,
        *,
        batch: int = 64,
        names: Sequence[str] = ("logits", "activations", "features"),
        everywhere: bool = True,
    ) -> dict[str, Tensor]:
        """The `names`d outputs f32 of `examples` on the CPU, each distinct row once, without augmentation.

        A frozen trunk computes its features once, in float32 without TF32, as a release's outputs are measured.

        Every rank computes some and has all, or rank 0 alone unless `everywhere`; `name` is what progress calls it.
        """
        self.network.eval()
        transform, network = plain_transform(self.recipe.preset, self.ranks.device), self.network
        known = self._frozen.get(id(examples))

        @torch.inference_mode()
        def outputs(features: Tensor) -> dict[str, Tensor]:
            found = {"features": features}
            if "logits" in names:
                found["logits"] = network.category_head(features)
            if "activations" in names:
                found["activations"] = network.hash_head(features)
            return {key: found[key] for key in names}

        def parts() -> Iterator[tuple[int, dict[str, Tensor]]]:
            mine = self.ranks.mine(len(examples), batch)
            if known is not None:
                yield from ((int(rows[0]), outputs(known[rows].to(self.ranks.device))) for rows in mine)
                return
            for rows, photos, _ in gathered(self.data, examples, mine, self.ranks.device):
                with torch.inference_mode():
                    if self.as_served is not None:
                        features = torch.from_numpy(self.as_served(photos.permute(0, 2, 3, 1).numpy()))
                    else:
                        features = self._features(transform(photos))
                yield int(rows[0]), outputs(features)
                if name is not None:
                    self._tell(name, rows, len(examples))

        found = self.ranks.gathered(len(examples), parts(), everywhere=everywhere)
        if self.recipe.frozen and not self.bf16 and everywhere and "features" in names:
            self._frozen[id(examples)] = found["features"]
        return found

    def score(
        self, examples: Examples, scores: Callable[[Tensor], Tensor], known: Tensor | None = None
    ) -> tuple[float, float]:
        """Mean loss and top-1 accuracy of `scores`, f32 [n, categories] of features f32 [n, d], over `examples`.

        Their features may be `known`; else they are computed, without augmentation.
        Every rank scores some of them and all add up: no logits travel, and no rank holds more than a batch of them.
        """
        self.network.eval()
        device, transform = self.ranks.device, plain_transform(self.recipe.preset, self.ranks.device)
        total = torch.zeros(3, dtype=torch.float64)  # loss, right ones, photos

        @torch.inference_mode()
        def add(features: Tensor, rows: NDArray[np.int64]) -> None:
            found, truth = scores(features).float().cpu(), torch.from_numpy(examples.labels[rows])
            loss = F.cross_entropy(found, truth, reduction="sum").double()
            total[0] += loss
            total[1] += (found.argmax(dim=1) == truth).sum()
            total[2] += len(rows)

        mine = self.ranks.mine(len(examples), 128)
        if known is not None:
            for rows in mine:
                add(known[rows].to(device), rows)
        else:
            for rows, photos, _ in gathered(self.data, examples, mine, device):
                with torch.inference_mode():
                    features = self._features(transform(photos))
                add(features, rows)
        loss, right, photos_scored = self.ranks.add_up(total).tolist()
        return loss / photos_scored, right / photos_scored

    def sampled(self) -> Tensor:
        """Features f32 [n, d] of the training photos as search sees them, of at most `_CENTRED` drawn by the seed."""
        return self.plain(self.sample(), "features", names=("features",))["features"]

    def sample(self) -> Examples:
        """The training photos that `sampled` is about."""
        return _some(self.data.train, _CENTRED, self.recipe.seed)

    def _tell(self, name: str, rows: NDArray[np.int64], count: int) -> None:
        """Progress of all ranks, as this one sees it: they are equally fast."""
        self.progress(name, min(count, int(rows[0]) + len(rows) * self.ranks.world), count)

    def _features(self, photos_NCHW: Tensor) -> Tensor:
        photos = photos_NCHW.to(self.ranks.device, memory_format=torch.channels_last)
        with torch.autocast(self.ranks.device.type, torch.bfloat16, enabled=self.bf16):
            return self.network.features(photos)

    def views(self, count: int) -> list[Tensor]:
        """Features [n, d] of the training photos: as search sees them, then `count - 1` times augmented."""
        recipe, device = self.recipe, self.ranks.device
        transform = training_transform(recipe.preset, recipe.preset.crop, recipe.augmentation, device=device)
        examples = self.data.train

        @torch.inference_mode()
        def augmented(view: int, start: int, photos: Tensor) -> Tensor:
            with seeded(self.recipe.seed, _VIEWS_SEED, view, start):
                return self._features(transform(photos))

        def parts(view: int) -> Iterator[tuple[int, dict[str, Tensor]]]:
            mine = self.ranks.mine(len(examples), 64)
            for rows, photos, _ in gathered(self.data, examples, mine, self.ranks.device):
                yield int(rows[0]), {"features": augmented(view, int(rows[0]), photos)}
                self._tell(f"features of view {view + 1}", rows, len(examples))

        first = self.plain(examples, "features of view 1", names=("features",))["features"]
        others = (self.ranks.gathered(len(examples), parts(view)) for view in range(1, count))
        return [first, *(found["features"] for found in others)]

    def measured(self, metrics: Sequence[Mapping[str, Any]], *, features: bool) -> Trained:
        """The finished network with its outputs in float32, on a GPU too without TF32.

        Of very many, a part is drawn that fits the memory of one machine: of the training photos for aspect models.
        Of the training photos there are activations and features where they are few enough to be ranked, and else
        features alone if `features` are asked for.
        """
        self.bf16 = False
        data = replace(
            self.data,
            train=_some(self.data.train, _FITTED, self.recipe.seed),
            validation=_some(self.data.validation, _CENTRED, self.recipe.seed),
        )
        ranked = len(data.train) * len(data.validation) <= _RANKED_PAIRS
        needed = [*(["features"] if ranked or features else []), *(["activations"] if ranked else [])]
        training: Outputs = {}
        with exact_float32():
            validation = _numpy(self.plain(data.validation, "measure on validation", everywhere=False))
            if needed:
                training = _numpy(
                    self.plain(data.train, "measure on training", names=needed, everywhere=False)
                )
        return Trained(
            self.recipe,
            data,
            self.network,
            self.ranks,
            metrics,
            self.progress,
            training,
            validation,
            len(self.data.train),
        )


def _some(examples: Examples, most: int, seed: int) -> Examples:
    """All of `examples`, or `most` of them drawn by the seed, in their order."""
    if len(examples) <= most:
        return examples
    rows = np.random.default_rng([seed, _VIEWS_SEED]).permutation(len(examples))[:most]
    return examples.some(np.sort(rows))


def _numpy(outputs: Mapping[str, Tensor]) -> Outputs:
    return {name: value.numpy() for name, value in outputs.items()}
