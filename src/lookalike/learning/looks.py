"""Where the object is, and its colours: what a category network forgets, computed inside the exported graph.

`Foreground` tells the object from what lies around it, without any learning: a histogram of Lab colours near the middle
against one of the photo's rim, and for each pixel how much more often its colour is seen in the first (histogram
back-projection, Swain and Ballard, IJCV 1991), three times over, each time with the better mask. `Palette` is the
object's colours as a vector of length 1: the square root of a coarse Lab histogram under that mask (so the product of
two is their Bhattacharyya coefficient), blurred, so that a little more light does not make another colour.

Both take normalised photos, as the trunk does, and work on them shrunk to about 64 pixels. They have no weights. Sums
are matrix products, which every runtime adds up in float32, also where it computes in bfloat16.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  torch's own usage

from lookalike.coding.release import TransformPreset

_SIDE = 64
"""Pixels at which colours are looked at, at most."""
_RIM = 0.075
"""Share of the photo's side that counts as its rim."""
_MIDDLE = 0.28
"""Deviation of the Gaussian around the middle, as a share of the side."""
_ROUNDS = 3
_LEAST = 0.05
"""Weight of what is surely not the object, beside 1: worn clothes are found by what they are worn with, too (luma)."""
_SEEN = (6, 10, 10)
"""Bins of L, a and b by which object and surroundings are told apart."""
_PALETTE = (3, 7, 7)
"""Bins of the palette."""
_CHROMA = 70.0
"""a and b beyond are rare in photos; they go to the outer bins."""
COLOURS = 3 * 7 * 7
"""Values of a palette."""


class Lab(nn.Module):
    """Normalised square photos f32 [n, 3, h, h] -> CIE L*a*b* (D65) f32 [n, 3, s, s] of the photo shrunk to s <= 64."""

    def __init__(self, preset: TransformPreset) -> None:
        super().__init__()
        self.mean = nn.Buffer(torch.tensor(preset.mean).view(1, 3, 1, 1), persistent=False)
        self.std = nn.Buffer(torch.tensor(preset.std).view(1, 3, 1, 1), persistent=False)
        white = torch.tensor([0.95047, 1.0, 1.08883])
        xyz = torch.tensor(
            [
                [0.4124564, 0.3575761, 0.1804375],
                [0.2126729, 0.7151522, 0.0721750],
                [0.0193339, 0.119192, 0.9503041],
            ]
        )
        self.xyz = nn.Buffer((xyz / white[:, None]).view(3, 3, 1, 1), persistent=False)
        lab = torch.tensor([[0.0, 116.0, 0.0], [500.0, -500.0, 0.0], [0.0, 200.0, -200.0]])
        self.lab = nn.Buffer(lab.view(3, 3, 1, 1), persistent=False)

    def forward(self, photos_NCHW: Tensor) -> Tensor:
        shrink = -(-photos_NCHW.shape[2] // _SIDE)
        rgb = F.avg_pool2d(photos_NCHW.float(), shrink) * self.std + self.mean
        rgb = rgb.clamp(0.0, 1.0)
        linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055).pow(2.4))
        xyz = F.conv2d(linear, self.xyz)
        f = torch.where(xyz > 0.008856, xyz.clamp(min=1e-6).pow(1 / 3), 7.787 * xyz + 16 / 116)
        lab = F.conv2d(f, self.lab)
        return torch.cat([lab[:, :1] - 16, lab[:, 1:]], dim=1)


class Bins(nn.Module):
    """A grid of L, a and b: Lab f32 [n, 3, s, s] -> membership of each pixel, one-hot f32 [n, L, p] and [n, a * b, p].

    Kept apart by lightness and chroma, since all bins of all pixels at once would take four times the memory.
    """

    def __init__(self, counts: tuple[int, int, int], blur: float) -> None:
        """`blur` is the share of a count that each of the two neighbours of its bin gets, along each axis."""
        super().__init__()
        light, a, b = (_blurring(count, blur) for count in counts)
        self.light = nn.Buffer(light, persistent=False)
        self.chroma = nn.Buffer(torch.kron(a, b), persistent=False)
        self.counts = counts

    def forward(self, lab: Tensor) -> tuple[Tensor, Tensor]:
        light, a, b = (value.flatten(1) for value in lab.unbind(dim=1))
        of_light, of_a, of_b = (
            (part * count).floor().clamp(0, count - 1)
            for part, count in zip(
                (light / 100, (a + _CHROMA) / (2 * _CHROMA), (b + _CHROMA) / (2 * _CHROMA)),
                self.counts,
                strict=True,
            )
        )
        return _one_hot(of_light, self.counts[0]), _one_hot(
            of_a * self.counts[2] + of_b, self.counts[1] * self.counts[2]
        )

    def histogram(self, members: tuple[Tensor, Tensor], weights: Tensor) -> Tensor:
        """Histogram f32 [n, L, a * b] of sum 1, of pixels of these weights f32 [n, p]."""
        light, chroma = members
        shares = weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-9)
        return (light * shares[:, None]) @ chroma.transpose(1, 2)

    def blurred(self, histogram: Tensor) -> Tensor:
        return self.light @ histogram @ self.chroma

    @staticmethod
    def of_pixels(members: tuple[Tensor, Tensor], values: Tensor) -> Tensor:
        """For each pixel the value f32 [n, L, a * b] of its bin: f32 [n, p]."""
        light, chroma = members
        return ((values @ chroma) * light).sum(dim=1)


class Foreground(nn.Module):
    """Lab f32 [n, 3, s, s] -> how surely each pixel is of the object, f32 [n, 1, s, s] from 0 to 1."""

    def __init__(self) -> None:
        super().__init__()
        self.bins = Bins(_SEEN, 0.25)

    def forward(self, lab: Tensor) -> Tensor:
        side = lab.shape[2]
        middle, rim = (prior.to(lab).flatten()[None] for prior in _priors(side))
        members = self.bins(lab)
        n = lab.shape[0]
        inside, around = middle.expand(n, -1), rim.expand(n, -1)
        for _ in range(_ROUNDS):
            ours, theirs = (
                self.bins.blurred(self.bins.histogram(members, part)) for part in (inside, around)
            )
            each = self.bins.of_pixels(members, ours / (ours + theirs + 1e-6))
            each = each.view(-1, 1, side, side)
            sure = F.avg_pool2d(each, 5, 1, 2, count_include_pad=False).flatten(1)
            inside, around = middle * sure.square(), rim * ((1 - sure).square() + 1e-4)
        return (inside / inside.amax(dim=1, keepdim=True).clamp(min=1e-9)).view(-1, 1, side, side)


class Palette(nn.Module):
    """Lab f32 [n, 3, s, s] and the foreground f32 [n, 1, s, s] -> the object's colours f32 [n, 147], of length 1."""

    def __init__(self) -> None:
        super().__init__()
        self.bins = Bins(_PALETTE, 0.2)

    def forward(self, lab: Tensor, foreground: Tensor) -> Tensor:
        shares = self.bins.histogram(self.bins(lab), foreground.flatten(1))
        return F.normalize(self.bins.blurred(shares.sqrt()).flatten(1), dim=1)


class Looking(nn.Module):
    """A trunk that sees the object: its features pooled over the foreground, and the palette behind them.

    f32 [n, d + 147]. A trunk without feature maps (a ViT, say) pools as it always does.
    """

    def __init__(self, trunk: nn.Module, preset: TransformPreset) -> None:
        super().__init__()
        self.trunk = trunk
        self.lab, self.foreground, self.palette = Lab(preset), Foreground(), Palette()

    def forward(self, photos_NCHW: Tensor) -> Tensor:
        return self.look(photos_NCHW)[0]

    def look(self, photos_NCHW: Tensor) -> tuple[Tensor, Tensor | None]:
        """The same, and the feature maps f32 [n, d, h, w]; None of a trunk without any."""
        with torch.autocast(photos_NCHW.device.type, enabled=False), torch.no_grad():
            lab = self.lab(photos_NCHW)
            foreground = self.foreground(lab)
            palette = self.palette(lab, foreground)
        if not self.has_maps:
            return torch.cat([self.trunk(photos_NCHW).float(), palette], dim=1), None
        maps: Tensor = self.trunk.maps(photos_NCHW)  # type: ignore[operator]
        return torch.cat([pooled(maps, foreground).float(), palette], dim=1), maps

    @property
    def has_maps(self) -> bool:
        """Whether the trunk has feature maps to pool over."""
        return hasattr(self.trunk, "maps")


def pooled(maps_NCHW: Tensor, foreground: Tensor) -> Tensor:
    """The mean of feature maps over the object: f32 [n, c], the foreground's weights shrunk to the maps' size."""
    high, wide = (_areas(foreground.shape[2], size).to(foreground) for size in maps_NCHW.shape[2:])
    weights = high @ foreground @ wide.T
    weights = weights / weights.amax(dim=(2, 3), keepdim=True).clamp(min=1e-9) + _LEAST
    weights = (weights / weights.sum(dim=(2, 3), keepdim=True)).flatten(2)
    return (maps_NCHW.flatten(2) @ weights.transpose(1, 2).to(maps_NCHW.dtype))[:, :, 0].float()


def _priors(side: int) -> tuple[Tensor, Tensor]:
    """f32 [side, side] each: how likely the object is here, and whether this is the rim."""
    at = (torch.arange(side) + 0.5) / side - 0.5
    line = torch.exp(-((at / _MIDDLE) ** 2))
    edge = (at.abs() > 0.5 - _RIM).float()
    return line[:, None] * line[None], torch.maximum(edge[:, None], edge[None])


def _areas(pixels: int, size: int) -> Tensor:
    """f32 [size, pixels]: the mean over equal parts of a line, pixels on a border shared."""
    edges = torch.arange(size + 1) * pixels / size
    at = torch.arange(pixels)
    overlap = torch.minimum(edges[1:, None], at + 1) - torch.maximum(edges[:-1, None], at.float())
    return overlap.clamp(min=0) * size / pixels


def _blurring(count: int, share: float) -> Tensor:
    """f32 [count, count]: what a count in one bin gives its neighbours along a line."""
    line = torch.eye(count) * (1 - 2 * share)
    for offset in (-1, 1):
        line += torch.diag(torch.full((count - 1,), share), offset)
    return line


def _one_hot(numbers: Tensor, count: int) -> Tensor:
    """f32 [n, p] whole numbers -> f32 [n, count, p]."""
    return (numbers[:, None] == torch.arange(count, device=numbers.device)[None, :, None]).float()
