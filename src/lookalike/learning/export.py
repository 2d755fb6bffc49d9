"""The network as an ONNX graph: what extraction on a CPU and every search process run.

Input `photos` is uint8 [n, resize, resize, 3]; crop and normalisation are part of the graph, so no caller can do them
differently. Outputs are `logits` [n, categories], `activations` [n, bits], `features` [n, d] and, where the network has
feature maps and sees objects, `regions` [n, h, w] (`regions`), all float32.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from lookalike.coding.release import TransformPreset
from lookalike.learning.looks import Looking
from lookalike.learning.network import HashNetwork, Outputs
from lookalike.learning.regions import Regions

_OPSET = 20
_OUTPUTS = ("logits", "activations", "features")


class _Served(nn.Module):
    """The network with its preset in front, as it is exported."""

    def __init__(self, network: HashNetwork, preset: TransformPreset, regions: Regions | None) -> None:
        super().__init__()
        self.network, self.crop, self.regions = network, preset.crop, regions
        self.start = (preset.resize - preset.crop) // 2
        self.mean = nn.Buffer((255 * torch.tensor(preset.mean)).view(1, 3, 1, 1))
        self.scale = nn.Buffer((255 * torch.tensor(preset.std)).view(1, 3, 1, 1))

    def forward(self, photos: Tensor) -> tuple[Tensor, ...]:
        window = slice(self.start, self.start + self.crop)
        pixels_NCHW = photos[:, window, window].permute(0, 3, 1, 2).float()
        seen_NCHW = (pixels_NCHW - self.mean) / self.scale
        if self.regions is None or not isinstance(self.network.trunk, Looking):
            found: Outputs = self.network(seen_NCHW)
            return found.logits, found.activations, found.features
        features, maps = self.network.trunk.look(seen_NCHW)
        heads = self.network.category_head(features), self.network.hash_head(features), features
        return heads if maps is None else (*heads, self.regions(maps))


class Graph:
    """The ONNX graph of a network's structure. To capture it takes seconds; its weights can be put in again."""

    def __init__(self, network: HashNetwork, preset: TransformPreset, regions: Regions | None = None) -> None:
        """`regions` are for a network with `looks` whose trunk has feature maps."""
        self._preset = preset
        served = self._served(network, regions)
        self._shapes = _shapes(served)
        outputs = _OUTPUTS if regions is None else (*_OUTPUTS, "regions")
        with _quiet(), _out_of_place(served), ThreadPoolExecutor(1, "capture") as shallow:
            # The exporter notes the stack of calls for each operator: below a flow's a hundred frames that took half as
            # long again. The older exporter (dynamo=False) takes a second instead of 18, and gives other palettes to
            # one photo in four.
            program = shallow.submit(_capture, served, preset.resize, outputs).result()
        assert program is not None
        self._program, self._captured = program, program.model

    def is_of(self, network: HashNetwork, regions: Regions | None = None) -> bool:
        """Whether all weights of these have the shapes of those captured."""
        return self._shapes == _shapes(self._served(network, regions))

    def write(self, path: Path, network: HashNetwork, regions: Regions | None = None) -> None:
        """Write the graph with the weights of a network of this structure: the same bytes for the same weights."""
        served, program = self._served(network, regions), self._program
        program.model = self._captured.clone()
        with _quiet():
            program.apply_weights(dict([*served.named_parameters(), *served.named_buffers()]))
            program.optimize()
        model = program.model_proto
        _forget_where_it_was_made(model)
        path.write_bytes(model.SerializeToString(deterministic=True))

    def _served(self, network: HashNetwork, regions: Regions | None) -> nn.Module:
        served = _Served(network, self._preset, regions).cpu().eval()
        return served.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload, no-any-return]


def export_onnx(
    network: HashNetwork, preset: TransformPreset, path: Path, regions: Regions | None = None
) -> None:
    """Capture the network's graph and write it, weights inside, to `path`."""
    Graph(network, preset, regions).write(path, network, regions)


def _capture(served: nn.Module, side: int, outputs: Sequence[str]) -> torch.onnx.ONNXProgram | None:
    return torch.onnx.export(
        served,
        (torch.zeros(2, side, side, 3, dtype=torch.uint8),),
        input_names=["photos"],
        output_names=list(outputs),
        dynamic_shapes={"photos": {0: torch.export.Dim("n", min=1, max=4096)}},
        opset_version=_OPSET,
        dynamo=True,
        verbose=False,
        optimize=False,
    )


def _shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in (*module.named_parameters(), *module.named_buffers())}


@contextmanager
def _out_of_place(module: nn.Module) -> Iterator[None]:
    """Activations that overwrite their input make no other graph, but take the exporter seconds more."""
    overwriting: list[Any] = [each for each in module.modules() if getattr(each, "inplace", False)]
    for each in overwriting:
        each.inplace = False
    try:
        yield
    finally:
        for each in overwriting:
            each.inplace = True


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporters say of themselves: deprecations inside, and weights that no output needs."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _forget_where_it_was_made(model: onnx.ModelProto) -> None:
    """Drop what the exporter notes of source files and stack traces: paths of one machine, and no use to a reader."""
    model.doc_string = ""
    del model.metadata_props[:]
    graph = model.graph
    graph.doc_string = ""
    del graph.metadata_props[:]
    for part in (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]
    for function in model.functions:
        for node in function.node:
            node.doc_string = ""
            del node.metadata_props[:]
