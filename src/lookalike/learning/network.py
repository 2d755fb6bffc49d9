"""The network: one forward pass gives category logits, hash activations and pooled features.

After *Visual Search at eBay* (Yang et al., KDD 2017, section 4): a convolutional trunk, a linear head over the leaf
categories, and beside it a hash layer (`hash_heads`), whose activations become the code.

The trunk is a torchvision ResNet. Names with a width, such as ``resnet18-w32``, are the same network with that many
channels in the first stage instead of 64: cost falls with the square, and a few thousand photos need no more. Names
that end in ``-fine``, such as ``resnet10-w32-fine``, begin with one 3x3 convolution of stride 1 instead of ImageNet's
stem, which would shrink a photo of 28 pixels to 7 before the first block sees it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from torch import Tensor, nn

from lookalike.errors import TrainingError
from lookalike.learning import torchvision_operators  # noqa: F401  before torchvision
from lookalike.learning.hash_heads import build_head

from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet  # isort: skip

_TRUNKS: dict[str, tuple[type[BasicBlock | Bottleneck], list[int]]] = {
    "resnet10": (BasicBlock, [1, 1, 1, 1]),
    "resnet18": (BasicBlock, [2, 2, 2, 2]),
    "resnet34": (BasicBlock, [3, 4, 6, 3]),
    "resnet50": (Bottleneck, [3, 4, 6, 3]),
    "resnet101": (Bottleneck, [3, 4, 23, 3]),
}


class Outputs(NamedTuple):
    """What one pass gives for n photos, C categories, b bits and d features."""

    logits: Tensor
    """f32 [n, C], of the category head."""
    activations: Tensor
    """f32 [n, b] in 0..1, of the hash layer."""
    features: Tensor
    """f32 [n, d], the trunk's pooled output."""


class HashNetwork(nn.Module):
    """Trunk, category head and hash head.

    `trunk` is a name that `build_trunk` takes, `hash_head` a recipe's. Weights come from torch's global generator.
    """

    def __init__(self, trunk: str, *, categories: int, bits: int, hash_head: str = "sigmoid") -> None:
        super().__init__()
        self.trunk, self.feature_count = build_trunk(trunk)
        self.category_head = nn.Linear(self.feature_count, categories)
        self.hash_head = build_head(hash_head, self.feature_count, bits, categories)

    def features(self, photos_NCHW: Tensor) -> Tensor:
        """Pooled features f32 [n, d] of normalised photos f32 [n, 3, h, w]; h and w may be any from 32 up."""
        features: Tensor = self.trunk(photos_NCHW)
        return features.float()

    def forward(self, photos_NCHW: Tensor) -> Outputs:
        features = self.features(photos_NCHW)
        return Outputs(self.category_head(features), self.hash_head(features), features)


def build_trunk(name: str) -> tuple[nn.Module, int]:
    """A randomly initialised trunk by name, and how many features it pools to.

    Names are torchvision's ``resnet18``, ``resnet34``, ``resnet50`` and ``resnet101``, and ``resnet10`` (one block a
    stage), each optionally with a width, and with a stem for tiny photos: ``resnet18-w32``, ``resnet10-w32-fine``.
    Raises `TrainingError`.
    """
    match = re.fullmatch(r"(resnet\d+)(?:-w(\d+))?(-fine)?", name)
    if not match or match[1] not in _TRUNKS:
        raise TrainingError(
            f"unknown trunk {name!r}; known are {', '.join(_TRUNKS)}, each also with -w<channels> and -fine"
        )
    block, layers = _TRUNKS[match[1]]
    trunk = _SlimResNet(block, layers, int(match[2] or 64), fine=match[3] is not None)
    return trunk, trunk.feature_count


class _SlimResNet(ResNet):  # type: ignore[misc]
    """torchvision's ResNet without its classifier, with `width` channels in the first stage."""

    def __init__(
        self, block: type[BasicBlock | Bottleneck], layers: list[int], width: int, *, fine: bool
    ) -> None:
        super().__init__(block, layers, zero_init_residual=True)
        self.feature_count = width * 8 * block.expansion
        self.fc = nn.Identity()
        if width != 64:
            self.inplanes = width
            self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            self.layer1 = self._make_layer(block, width, layers[0])
            self.layer2 = self._make_layer(block, width * 2, layers[1], stride=2)
            self.layer3 = self._make_layer(block, width * 4, layers[2], stride=2)
            self.layer4 = self._make_layer(block, width * 8, layers[3], stride=2)
        if fine:
            self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
            self.maxpool = nn.Identity()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, (BasicBlock, Bottleneck)):
                last = module.bn3 if isinstance(module, Bottleneck) else module.bn2
                nn.init.zeros_(last.weight)
