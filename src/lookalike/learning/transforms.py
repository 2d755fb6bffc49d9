"""Augmentation on the fly: random geometry, lighting and image variation, drawn per photo, computed per batch.

Squares enter as uint8 [n, 3, side, side], normalised float32 [n, 3, crop, crop] leaves. The transforms are
`torchvision.transforms.v2.Transform`s, so they compose with torchvision's own, but draw one set of parameters
per photo and apply all of them in one operation: one photo at a time costs 4 ms each, more than a quarter of a
training step on two cores; a batch costs about a tenth of that. Randomness comes from torch's global
generator on the CPU: `seeded` makes it a function of numbers, so a resumed run sees the same photos. Pixels are
computed where the squares are, on a GPU if they are there; and a rank that has a `Part` of a batch draws for all of
it, so a photo looks the same however many ranks share the work.
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  torch's own usage

from lookalike.coding.release import TransformPreset
from lookalike.learning import torchvision_operators  # noqa: F401  before torchvision
from lookalike.learning.augmentation import Augmentation

from torchvision.transforms import v2  # isort: skip

_GREY = torch.tensor([0.299, 0.587, 0.114])


@dataclass(frozen=True, slots=True)
class Part:
    """Photos `rows` of a batch of `of`."""

    rows: slice
    of: int


class _PerPhoto(v2.Transform, ABC):  # type: ignore[misc]
    """A transform with parameters for each photo: drawn for the whole batch, kept for this part of it."""

    def __init__(self, augmentation: Augmentation, part: Part | None = None) -> None:
        super().__init__()
        self.augmentation, self.part = augmentation, part

    @abstractmethod
    def draw(self, n: int) -> dict[str, Tensor]:
        """Parameters of `n` photos, on the CPU, each tensor [n, ...]."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        photos = flat_inputs[0]
        part = self.part or Part(slice(None), len(photos))
        drawn = {name: values[part.rows] for name, values in self.draw(part.of).items()}
        # Indices, not a mask: on a GPU a mask would make the CPU wait for its count.
        chosen = {name: v.nonzero()[:, 0] if v.dtype == torch.bool else v for name, v in drawn.items()}
        return {name: values.to(photos.device, non_blocking=True) for name, values in chosen.items()}


class RandomGeometry(_PerPhoto):
    """A random part of the square, rotated and perhaps mirrored, as float32 [n, 3, size, size] in 0..1.

    Crop, scale, rotation and mirror are one affine sampling, so the photo is interpolated once.
    """

    def __init__(self, size: int, augmentation: Augmentation, part: Part | None = None) -> None:
        super().__init__(augmentation, part)
        self.size = size

    def draw(self, n: int) -> dict[str, Tensor]:
        a = self.augmentation
        area = torch.empty(n).uniform_(*a.area)
        aspect = torch.exp(torch.empty(n).uniform_(-1, 1) * math.log(a.aspect) / 2)
        most = max(1.0, math.sqrt(a.area[1]))
        width, height = (area.sqrt() * aspect).clamp(max=most), (area.sqrt() / aspect).clamp(max=most)
        angle = torch.empty(n).uniform_(-1, 1) * math.radians(a.degrees)
        flip = 1 - 2 * (torch.rand(n) < a.mirror).float()
        x, y = torch.empty(n).uniform_(-1, 1) * (1 - width), torch.empty(n).uniform_(-1, 1) * (1 - height)
        cos, sin = angle.cos(), angle.sin()
        rows = [width * cos * flip, -height * sin, x, width * sin * flip, height * cos, y]
        return {"theta": torch.stack(rows, dim=1).view(n, 2, 3)}

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        photos = inpt.float() / 255
        mean_side = math.sqrt(sum(self.augmentation.area) / 2) * inpt.shape[-1]
        if mean_side > 1.5 * self.size:  # sampling takes four neighbours: shrink first, or it aliases
            side = max(self.size, round(inpt.shape[-1] * self.size / mean_side))
            photos = F.interpolate(photos, (side, side), mode="bilinear", antialias=True)
        grid = F.affine_grid(params["theta"], [len(photos), 3, self.size, self.size], align_corners=False)
        return F.grid_sample(photos, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


class RandomCrop(_PerPhoto):
    """A random window of the square, not scaled, and perhaps mirrored, as float32 [n, 3, size, size] in 0..1."""

    def __init__(self, size: int, augmentation: Augmentation, part: Part | None = None) -> None:
        super().__init__(augmentation, part)
        self.size = size

    def draw(self, n: int) -> dict[str, Tensor]:
        return {"at": torch.rand(n, 2), "mirrored": (torch.rand(n, 1) < self.augmentation.mirror).long()}

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        most = inpt.shape[-1] - self.size
        first = (params["at"] * (most + 1)).long().clamp(max=most)
        line = torch.arange(self.size, device=inpt.device)
        rows, columns = first[:, :1] + line, first[:, 1:] + line
        columns = torch.where(params["mirrored"] > 0, columns.flip(1), columns)
        photo = torch.arange(len(inpt), device=inpt.device)[:, None, None]
        cut = inpt[photo, :, rows[:, :, None], columns[:, None, :]]  # the indexed axes come first
        return cut.permute(0, 3, 1, 2).float() / 255


class RandomLighting(_PerPhoto):
    """Brightness, contrast, saturation and tint, as one affine map of the colour space per photo."""

    def draw(self, n: int) -> dict[str, Tensor]:
        a = self.augmentation

        def factor(spread: float, *shape: int) -> Tensor:
            return 1 + spread * torch.empty(*shape).uniform_(-1, 1)

        saturation = factor(a.saturation, n, 1, 1) * (torch.rand(n, 1, 1) >= a.grey)
        gain = factor(a.brightness, n, 1, 1) * factor(a.tint, n, 3, 1)
        to_grey = _GREY.expand(3, 3)
        matrix = gain * (saturation * torch.eye(3) + (1 - saturation) * to_grey)
        return {"matrix": matrix, "contrast": factor(a.contrast, n, 1, 1)}

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        matrix, contrast = params["matrix"], params["contrast"]
        pixels = inpt.flatten(2)
        level = pixels.mean(dim=2, keepdim=True)
        offset = matrix @ (level - contrast * level)
        return torch.baddbmm(offset, contrast * matrix, pixels).clamp_(0, 1).view_as(inpt)


class RandomVariation(_PerPhoto):
    """Blur of some photos, and a rectangle of some replaced by the mean colour."""

    def draw(self, n: int) -> dict[str, Tensor]:
        a = self.augmentation
        area, aspect = torch.empty(n).uniform_(0.02, 0.25), torch.empty(n).uniform_(-1, 1).exp()
        half = torch.stack([(area * aspect).sqrt(), (area / aspect).sqrt()], dim=1) / 2
        half = half * (torch.rand(n, 1) < a.erase)
        return {"blurred": torch.rand(n) < a.blur, "centre": torch.rand(n, 2), "half": half}

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        photos, blurred = inpt.clone(), params["blurred"]
        if len(blurred):
            photos[blurred] = v2.functional.gaussian_blur(
                photos[blurred], kernel_size=[5, 5], sigma=[1.2, 1.2]
            )
        at = (torch.arange(inpt.shape[-1], device=inpt.device) + 0.5) / inpt.shape[-1]
        inside = (at - params["centre"][:, :, None]).abs() < params["half"][:, :, None]  # [n, 2, size]
        mask = (inside[:, 0, None, :] & inside[:, 1, :, None]).unsqueeze(1)
        return torch.where(mask, photos.mean(dim=(0, 2, 3), keepdim=True), photos)


class Normalisation(v2.Transform):  # type: ignore[misc]
    """`v2.Normalize`, which makes the CPU wait for a GPU in every batch, with mean and deviation on the device."""

    def __init__(self, preset: TransformPreset, device: torch.device | None = None) -> None:
        super().__init__()
        self.mean, self.std = (
            torch.tensor(values, dtype=torch.float32, device=device).view(3, 1, 1)
            for values in (preset.mean, preset.std)
        )

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        return inpt.sub(self.mean).div_(self.std)


def training_transform(
    preset: TransformPreset,
    size: int,
    augmentation: Augmentation,
    part: Part | None = None,
    device: torch.device | None = None,
) -> v2.Transform:
    """Geometry, lighting, variation and normalisation: squares uint8 [n, 3, s, s] to float32 [n, 3, size, size].

    They lie on `device`, by default the CPU. With `part`, the n squares are that part of a batch. Of all parameters
    only the colour of an erased rectangle, the mean of the n, then depends on who else is in the part.
    """
    return v2.Compose(
        [
            (RandomCrop if augmentation.whole_pixels else RandomGeometry)(size, augmentation, part),
            RandomLighting(augmentation, part),
            RandomVariation(augmentation, part),
            Normalisation(preset, device),
        ]
    )


def plain_transform(preset: TransformPreset, device: torch.device | None = None) -> v2.Transform:
    """What extraction and search do: the central crop, normalised.

    uint8 [n, 3, resize, resize] on `device`, by default the CPU, to float32.
    """
    return v2.Compose(
        [
            v2.CenterCrop(preset.crop),
            v2.ToDtype(torch.float32, scale=True),
            Normalisation(preset, device),
        ]
    )


@contextmanager
def seeded(*numbers: int) -> Iterator[None]:
    """Inside, torch's global generator depends on `numbers` alone; afterwards it is as it was before."""
    digest = hashlib.blake2b(repr(numbers).encode(), digest_size=7).digest()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int.from_bytes(digest, "big"))
        yield
