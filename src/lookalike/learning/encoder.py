"""The encoder of extraction on a GPU: the release's weights in torch, channels-last, in bfloat16 if it has that.

What search runs on a CPU (`coding.encoder`) is the same network; here crop and normalisation are done on the device, so
a photo crosses the bus as uint8. Several batches may be in flight at a time: calls from several threads are safe, and
while one waits for the GPU another packs bits or copies photos.
"""

from __future__ import annotations

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray

from lookalike.coding.encoder import Encoding, check_photos, encoding_of
from lookalike.coding.release import ModelCard
from lookalike.errors import ReleaseError
from lookalike.learning.network import HashNetwork
from lookalike.learning.precision import has_bf16
from lookalike.learning.transforms import plain_transform
from lookalike.storage.artefacts import Artefact


class TorchEncoder:
    """`coding.encoder.Encoder` on a device of torch's."""

    def __init__(self, card: ModelCard, network: HashNetwork, device: torch.device, *, bf16: bool) -> None:
        self._card, self._device, self._bf16 = card, device, bf16
        self._network = network.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._transform = plain_transform(card.preset, device)

    @property
    def card(self) -> ModelCard:
        return self._card

    @torch.inference_mode()
    def encode(self, photos: NDArray[np.uint8]) -> Encoding:
        check_photos(self._card, photos)
        squares = torch.from_numpy(np.ascontiguousarray(photos))
        if self._device.type == "cuda":
            squares = squares.pin_memory()
        pixels_NCHW = self._transform(squares.to(self._device, non_blocking=True).permute(0, 3, 1, 2))
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16):
            features = self._network.features(pixels_NCHW.contiguous(memory_format=torch.channels_last))
        outputs = self._network.category_head(features), self._network.hash_head(features), features
        return encoding_of(self._card, *(output.float().cpu().numpy() for output in outputs))


def open_torch_encoder(
    release: Artefact, device: torch.device | None = None, *, bf16: bool | None = None
) -> TorchEncoder:
    """The encoder of a fetched model release on `device`, by default the first GPU, in bfloat16 if that has it.

    Raises `ReleaseError` where the weights are not those of `model.json`.
    """
    card = ModelCard.read(release.path("model.json"))
    device = device or torch.device("cuda")
    network = HashNetwork(
        card.architecture,
        categories=len(card.categories),
        bits=card.bits,
        hash_head=card.hash_head,
        looks=card.preset if card.colours else None,
    )
    path = release.path("weights.safetensors")
    try:
        network.load_state_dict(safetensors.torch.load_file(path))
    except (safetensors.SafetensorError, RuntimeError) as error:
        raise ReleaseError(f"{path} does not fit its model card: {error}") from error
    if bf16 is None:
        bf16 = device.type == "cuda" and has_bf16(device)
    return TorchEncoder(card, network, device, bf16=bf16)
