"""Trunks by name: the network up to its pooled features, without a classifier.

Three families of names. Our ResNets, ``resnet10`` to ``resnet101``, each optionally with a width, ``resnet18-w32``,
which is the same network with that many channels in the first stage instead of 64: cost falls with the square, and a
few thousand photos need no more; and with ``-fine``, ``resnet10-w32-fine``, which begins with one 3x3 convolution of
stride 1 instead of ImageNet's stem, which would shrink a photo of 28 pixels to 7 before the first block sees it; and
with ``-he``, which begins as He et al. did, while the others begin with blocks that change nothing (the scale of each
block's last norm is 0; Goyal et al. 2017). Small
networks for CPUs, ``efficientnet_lite0`` to ``efficientnet_lite4`` (`efficientnet_lite`). And every classification
model of torchvision that ends in a linear layer, by torchvision's own name: ``efficientnet_b0``, ``convnext_tiny``,
``mobilenet_v3_small``, ``regnet_y_400mf``, ``vit_b_16``. With the extra ``timm`` every model of timm, as
``timm:vit_small_patch14_dinov2``. Other packages add names of their own (`plugins`).

The state dict of a ResNet and of torchvision's models is torchvision's without the last layer, so torchvision's
published weights fit. Where a trunk ends in a feature map it has `maps` beside its forward pass, which pools them.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from lookalike.errors import SettingsError, TrainingError, unknown
from lookalike.learning import efficientnet_lite, torchvision_operators  # noqa: F401  before torchvision
from lookalike.plugins import Registry

from torchvision import models  # isort: skip
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet  # isort: skip

_RESNETS: dict[str, tuple[type[BasicBlock | Bottleneck], list[int]]] = {
    "resnet10": (BasicBlock, [1, 1, 1, 1]),
    "resnet18": (BasicBlock, [2, 2, 2, 2]),
    "resnet34": (BasicBlock, [3, 4, 6, 3]),
    "resnet50": (Bottleneck, [3, 4, 6, 3]),
    "resnet101": (Bottleneck, [3, 4, 23, 3]),
}
_WITHOUT_ONE_OUTPUT = frozenset({"googlenet", "inception_v3"})
"""Models that answer with auxiliary classifiers in training."""


TIMM = "timm:"
"""What names of timm's models begin with."""
BuildsTrunk = Callable[[], tuple[nn.Module, int]]
"""What makes a trunk: normalised photos f32 [n, 3, h, w] in, features f32 [n, d] out; and d."""
TRUNKS: Registry[BuildsTrunk] = Registry("lookalike.trunks", "trunk", {})
"""Those of other packages. Ours are families of names, see `_ours`."""


def build_trunk(name: str) -> tuple[nn.Module, int]:
    """A randomly initialised trunk by name, and how many features it pools to.

    Raises `TrainingError`, and `SettingsError` where a package adds the name and should not, or cannot be imported.
    """
    build = TRUNKS.pick(name, _ours(name))
    if build is None:
        added = "".join(f", {other} of {TRUNKS.distribution(other)}" for other in TRUNKS)
        raise TrainingError(
            f"unknown trunk {name!r}; known are {', '.join(_RESNETS)}, each also with -w<channels>, -fine and -he, "
            f"{', '.join(efficientnet_lite.SIZES)}{added}, and torchvision's classification models that have one "
            "output, such as efficientnet_b0 or convnext_tiny"
        )
    match build():
        case (nn.Module() as trunk, int(features)):
            return trunk, features
        case other:
            raise SettingsError(
                f"the trunk {name!r} of {TRUNKS.distribution(name)} is {str(other)[:100]}, "
                "which gives no module and number of features"
            )


def _ours(name: str) -> BuildsTrunk | None:
    match = re.fullmatch(r"(resnet\d+)(?:-w(\d+))?(-fine)?(-he)?", name)
    if match and match[1] in _RESNETS:
        return partial(
            _resnet, match[1], int(match[2] or 64), fine=match[3] is not None, he=match[4] is not None
        )
    if name in efficientnet_lite.SIZES:
        return partial(_lite, name)
    if name.startswith(TIMM):
        return partial(_of_timm, name)
    if name in models.list_models(module=models) and name not in _WITHOUT_ONE_OUTPUT:
        return partial(_torchvisions, name)
    return None


def _resnet(name: str, width: int, *, fine: bool, he: bool) -> tuple[nn.Module, int]:
    trunk = _SlimResNet(*_RESNETS[name], width, fine=fine, he=he)
    return trunk, trunk.feature_count


def _lite(name: str) -> tuple[nn.Module, int]:
    trunk = efficientnet_lite.EfficientNetLite(name)
    return trunk, trunk.feature_count


def _torchvisions(name: str) -> tuple[nn.Module, int]:
    model: nn.Module = models.get_model(name, weights=None)
    return model, _cut(model, name)


def timm() -> Any:
    """The library. Raises `SettingsError` where it is not installed."""
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        raise SettingsError(
            "names that begin with timm: need its package; install lookalike[timm]"
        ) from error


def _of_timm(name: str) -> tuple[nn.Module, int]:
    library, asked = timm(), name.removeprefix(TIMM)
    if not library.is_model(asked):
        raise TrainingError(unknown("model of timm", asked, library.list_models()))
    model = library.create_model(asked, pretrained=False, num_classes=0)
    return model, _width(model)


def _width(model: Any) -> int:
    """Features that timm's model pools to, which a head layer of its own may have changed."""
    return int(getattr(model, "head_hidden_size", None) or model.num_features)


def takes(name: str, pixels: int) -> bool:
    """Whether the trunk of that name takes square photos of that size; computes shapes alone."""
    with torch.device("meta"):
        trunk, _ = build_trunk(name)
        try:
            check_size(trunk, name, pixels)
        except TrainingError:
            return False
    return True


def check_size(trunk: nn.Module, name: str, pixels: int) -> None:
    """Raises `TrainingError` where the trunk cannot take square photos of that size, as a ViT takes one size only."""
    try:
        with torch.inference_mode():
            trunk.eval()(torch.zeros(1, 3, pixels, pixels))
    except (AssertionError, RuntimeError) as error:
        raise TrainingError(f"the trunk {name} cannot take photos of {pixels} pixels: {error}") from error


def _cut(model: nn.Module, name: str) -> int:
    """Replace the last linear layer by nothing; how many features reach it."""
    linear = [(path, layer) for path, layer in model.named_modules() if isinstance(layer, nn.Linear)]
    if not linear or linear[-1][1].out_features != 1000:
        raise TrainingError(
            f"unknown trunk {name!r}: it does not end in a linear layer that could be cut off"
        )
    path, last = linear[-1]
    model.set_submodule(path, nn.Identity())
    return last.in_features


class _SlimResNet(ResNet):  # type: ignore[misc]
    """torchvision's ResNet without its classifier, with `width` channels in the first stage."""

    def __init__(
        self, block: type[BasicBlock | Bottleneck], layers: list[int], width: int, *, fine: bool, he: bool
    ) -> None:
        super().__init__(block, layers, zero_init_residual=not he)
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
            elif isinstance(module, (BasicBlock, Bottleneck)) and not he:
                last = module.bn3 if isinstance(module, Bottleneck) else module.bn2
                nn.init.zeros_(last.weight)

    def maps(self, photos_NCHW: torch.Tensor) -> torch.Tensor:
        """The last feature map f32 [n, features, h', w']."""
        found: torch.Tensor = self.maxpool(self.relu(self.bn1(self.conv1(photos_NCHW))))
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            found = layer(found)
        return found
