"""Starting weights: where a training begins instead of from scratch.

One text names them, and is part of the release's identity:

- weights that others publish, by name (`published`): ``lite0``, ``torchvision:resnet50``, ``timm:convnext_tiny``. The
  recipe's trunk and preset follow them.
- ``releases/<id>@<digest>``: another model release. Its trunk, and of its category head the rows of the leaf categories
  that both know.
- a path: a file of safetensors, or of `torch.save` with tensors alone, in the names of the recipe's trunk. In the
  identity it stands with the digest of its bytes.

``scratch`` says that none are wanted where the recipe names some. Every layer of the trunk must be there in its shape:
half a start would be silent, and worse than none.
"""

from __future__ import annotations

import difflib
import json
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from lookalike.coding.release import ModelCard
from lookalike.errors import ReleaseError, SettingsError
from lookalike.learning.network import HashNetwork
from lookalike.learning.published import PACKAGED, Published, published
from lookalike.learning.recipes import Recipe, Stage
from lookalike.learning.trunks import takes
from lookalike.storage.artefacts import Kind, Ref, fetch, read_manifest, sha256_of_file
from lookalike.storage.objects import ObjectStore

_WRAPPERS = ("model", "state_dict", "model_state_dict")
"""Under which name training scripts put the weights beside their optimiser's state."""
_PREFIX = re.compile(r"^(module\.|trunk\.)+")


SCRATCH = "scratch"


def begun(recipe: Recipe, weights: str | None) -> tuple[Recipe, StartingWeights | None]:
    """`recipe` as it trains from `weights`, else from where it says itself; and the weights, None: from scratch.

    Published weights bring their network: its trunk, and the size, mean and deviation of the photos that it takes. A
    recipe of the same trunk keeps its sizes. Raises `SettingsError` where there is no such start, or a frozen trunk
    would have nothing to stand on.
    """
    named = weights or recipe.weights
    start = StartingWeights.parse(named) if named and named != SCRATCH else None
    if start is not None and start.published is not None:
        recipe = _following(recipe, start.published)
        start = start if start.identity else None
    if recipe.frozen and start is None:
        raise SettingsError(f"the recipe {recipe.name} freezes the trunk, so it cannot start from scratch")
    return recipe, start


def _following(recipe: Recipe, published: Published) -> Recipe:
    ours, theirs = recipe.preset, published.preset
    if recipe.trunk == published.trunk:
        return replace(recipe, preset=replace(ours, mean=theirs.mean, std=theirs.std))

    def stage(ours_is: Stage) -> Stage:
        scale = theirs.crop / ours.crop
        sizes = tuple((until, round(pixels * scale / 32) * 32) for until, pixels in ours_is.sizes)
        taken = all(takes(published.trunk, pixels) for pixels in {pixels for _, pixels in sizes})
        return replace(ours_is, sizes=sizes if taken else ())

    return replace(
        recipe,
        trunk=published.trunk,
        preset=theirs,
        category_stage=stage(recipe.category_stage),
        hash_stage=stage(recipe.hash_stage),
    )


@dataclass(frozen=True, slots=True)
class StartingWeights:
    """What `--weights` names."""

    source: str
    """As the user wrote it."""
    identity: str
    """As it is part of the release's identity: of a file the digest; empty for random weights."""
    published: Published | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises `SettingsError` where `text` is no reference, nothing that anybody publishes, and no file."""
        if "@" in text and text.startswith(f"{Kind.RELEASE}/"):
            return cls(text, str(Ref.parse(text)))
        if Path(text).is_file():
            return cls(text, f"sha256:{sha256_of_file(Path(text))}")
        if (found := published(text, _read)) is not None:
            return cls(text, found.name, found)
        names = ("scratch", *PACKAGED)
        near = difflib.get_close_matches(text, names, n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        raise SettingsError(
            f"no starting weights {text!r}: neither one of {', '.join(names)}, nor torchvision:NAME, timm:NAME, a "
            f"release (releases/...@...) or a file{meant}"
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
        if self.published is not None:
            if (named := self.published.state()) is not None:
                self._load_trunk(network, named)
        elif self.identity == self.source:
            release = fetch(store, Ref.parse(self.source), cache, ["weights.safetensors", "model.json"])
            state = _read(release.path("weights.safetensors"))
            self._load_trunk(network, state)
            _load_rows(network, state, ModelCard.read(release.path("model.json")).categories, categories)
        else:
            self._load_trunk(network, _read(Path(self.source)))

    def origin(self, store: ObjectStore, cache: Path) -> dict[str, str]:
        """What a release says of its start: `weights`, `licence`, `source`."""
        if self.published is not None:
            return {
                "weights": self.published.name,
                "licence": self.published.licence,
                "source": self.published.source,
            }
        if self.identity == self.source:
            card = ModelCard.read(
                fetch(store, Ref.parse(self.source), cache, ["model.json"]).path("model.json")
            )
            return {"licence": "as its catalogue's photos", **card.start, "weights": self.source}
        return {
            "weights": Path(self.source).name,
            "licence": _licence(Path(self.source)),
            "source": self.identity,
        }

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


def _licence(path: Path) -> str:
    """What a file of safetensors says of it in its metadata."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except safetensors.SafetensorError:
        metadata = {}
    return metadata.get("license") or metadata.get("licence") or "the file does not say"


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
