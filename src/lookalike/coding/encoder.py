"""The encoder of search and of extraction on a CPU: the exported network on OpenVINO, without torch.

One forward pass gives category probabilities, hash activations and pooled features; codes are the activations
against the release's thresholds. OpenVINO computes in bf16 where the CPU has instructions for it, which halves the
time and flips about two bits in a thousand; `precision` pins it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from lookalike.coding import codes
from lookalike.coding.release import ModelCard
from lookalike.errors import ReleaseError
from lookalike.settings import available_cores
from lookalike.storage.artefacts import Artefact

if TYPE_CHECKING:
    import openvino

Precision = Literal["auto", "f32", "bf16"]
_OUTPUTS = ("logits", "activations", "features")
"""Of every release's graph."""
_REGIONS = "regions"
"""Of those that say where in the frame something of the catalogue's kind may be."""
_TOGETHER, _OF_A_THREAD = 4, 2
"""Photos that the runtime gets at a time, at least, and for each of its threads. It keeps memory for as many as it ever
got, 15 MB each with a Lite0 at 240 pixels, and more gain nothing: sixteen on two threads take 101 ms of CPU time by
fours, 113 at once, 135 one by one."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """What one forward pass says about n photos."""

    probabilities: NDArray[np.float32]
    """f32[n, categories]: calibrated, each row sums to 1."""
    activations: NDArray[np.float32]
    """f32[n, bits] in 0..1."""
    features: NDArray[np.float32]
    """f32[n, features]: pooled output of the trunk."""
    codes: NDArray[np.uint8]
    """u8[n, bits / 8]."""
    regions: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0, 0), np.float32))
    """f32[n, s, s]: how like the catalogue each part of the frame is; s is 0 where the release does not say."""


class Encoder(Protocol):
    """Turns photos into encodings. Safe to call from several threads; calls wait for one another."""

    @property
    def card(self) -> ModelCard:
        """The model release it runs."""

    def encode(self, photos: NDArray[np.uint8]) -> Encoding:
        """`photos` is u8[n, resize, resize, 3] RGB, as `imaging.photos.load_square` gives them."""


def check_photos(card: ModelCard, photos: NDArray[np.uint8]) -> None:
    """Raises `ReleaseError` where `photos` are not what an encoder of this release takes."""
    side = card.preset.resize
    if photos.ndim != 4 or photos.shape[1:] != (side, side, 3) or photos.dtype != np.uint8:
        raise ReleaseError(f"photos must be u8[n, {side}, {side}, 3], not {photos.dtype}{list(photos.shape)}")


def encoding_of(
    card: ModelCard,
    logits: NDArray[np.floating],
    activations: NDArray[np.floating],
    features: NDArray[np.floating],
    regions: NDArray[np.floating] | None = None,
) -> Encoding:
    """The encoding that a network's outputs stand for, by the release's temperature and thresholds."""
    scaled = logits.astype(np.float32) / np.float32(card.temperature)
    exponent = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return Encoding(
        probabilities=exponent / exponent.sum(axis=1, keepdims=True),
        activations=activations.astype(np.float32),
        features=features.astype(np.float32),
        codes=codes.pack(activations, card.threshold_array),
        regions=np.zeros((len(logits), 0, 0), np.float32) if regions is None else regions.astype(np.float32),
    )


_OPENING = Lock()
"""Held while the runtime is asked for: `cache` alone would let two threads make two."""


@cache
def _core() -> openvino.Core:
    """The one runtime of this process, which lives as long.

    Its CPU plugin gives the thread that loads it a stack for signal handlers, and takes that memory back when it is
    unloaded. Where another thread unloaded it, the next signal to the first one would kill the process.
    """
    # OpenVINO reports every import of itself to an analytics service unless this package of its is missing.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino.Core()


class OpenVinoEncoder:
    """`Encoder` on OpenVINO."""

    def __init__(self, card: ModelCard, model: openvino.CompiledModel, *, together: int = _TOGETHER) -> None:
        self._card, self._model, self._together = card, model, together
        self._outputs = [*_OUTPUTS, *({_REGIONS} & {name for o in model.outputs for name in o.names})]

    @property
    def card(self) -> ModelCard:
        return self._card

    def encode(self, photos: NDArray[np.uint8]) -> Encoding:
        check_photos(self._card, photos)
        starts = range(0, len(photos), self._together)
        parts = [self._infer(photos[start : start + self._together]) for start in starts]
        return encoding_of(self._card, *map(np.concatenate, zip(*parts, strict=True)))

    def _infer(self, photos: NDArray[np.uint8]) -> list[NDArray[np.floating]]:
        request = self._model.create_infer_request()
        request.infer({"photos": np.ascontiguousarray(photos)})
        return [request.get_tensor(name).data for name in self._outputs]


def open_encoder(release: Artefact, *, threads: int = 0, precision: Precision = "auto") -> OpenVinoEncoder:
    """The encoder of a fetched model release, compiled and warmed up.

    `threads` 0 takes every core this process may use. Raises `ReleaseError` where `model.json` or `model.onnx` is
    not what a release must have.
    """
    card = ModelCard.read(release.path("model.json"))
    return compile_encoder(card, release.path("model.onnx"), threads=threads, precision=precision)


def compile_encoder(
    card: ModelCard, path: Path, *, threads: int = 0, precision: Precision = "auto"
) -> OpenVinoEncoder:
    """The encoder of the graph at `path`; see `open_encoder`."""
    threads = threads or available_cores()
    properties: dict[str, object] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    if precision != "auto":
        properties["INFERENCE_PRECISION_HINT"] = precision
    try:
        with _OPENING:
            core = _core()
        model = core.compile_model(core.read_model(path), "CPU", properties)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ReleaseError(f"{path} cannot be run: {reason}") from error
    missing = set(_OUTPUTS) - {name for o in model.outputs for name in o.names}
    if missing:
        raise ReleaseError(f"{path} has no output {', '.join(sorted(missing))}")
    widths = tuple(model.output(name).partial_shape[1].get_length() for name in _OUTPUTS)
    if widths != (len(card.categories), card.bits, card.features):
        raise ReleaseError(f"{path} gives {widths} categories, bits and features; model.json says otherwise")
    encoder = OpenVinoEncoder(card, model, together=max(_TOGETHER, _OF_A_THREAD * threads))
    side = card.preset.resize
    encoder.encode(np.zeros((1, side, side, 3), np.uint8))
    return encoder
