"""Makes `import torchvision` work beside a CPU build of torch: import this module before it.

The registry's torchvision wheel is built for CUDA. Beside a CPU build of torch its compiled operators cannot be
loaded, and the import fails with ``operator torchvision::nms does not exist``, because
`torchvision._meta_registrations` registers shape functions for two of them. Declaring those two schemas is
enough, since models, transforms and datasets are plain Python. Where the operators load, nothing is changed.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared: torch.library.Library | None = None  # its declarations last as long as the object


def declare_missing() -> bool:
    """Declare the two operators if torchvision's own do not load; whether that was needed.

    Calling it again, or after torchvision was imported, changes nothing.
    """
    global _declared
    if _declared is None and "torchvision" not in sys.modules and not _compiled_operators_load():
        _declared = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for schema in _SCHEMAS:
            _declared.define(schema)  # type: ignore[no-untyped-call]
    return _declared is not None


def _compiled_operators_load() -> bool:
    package = importlib.util.find_spec("torchvision")
    folders = package.submodule_search_locations if package else None
    compiled = [file for folder in folders or () for file in Path(folder).glob("_C.*")]
    try:
        for file in compiled:
            torch.ops.load_library(file)  # type: ignore[no-untyped-call]
    except OSError:
        return False
    return bool(compiled)


declare_missing()
