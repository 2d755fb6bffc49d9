"""A photo with other things in it, and an encoder that sees where the shop's things are."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lookalike.coding.encoder import Encoder, Encoding
from lookalike.coding.release import ModelCard
from tests.shop import SIDE, render

CELLS = 8


class Sighted:
    """The shop's encoder, with regions: how yellow each part of the frame is, as the shop's vases are."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.passes = 0

    @property
    def card(self) -> ModelCard:
        return dataclasses.replace(self._encoder.card, cluttered_below=0.3)

    def encode(self, photos: NDArray[np.uint8]) -> Encoding:
        self.passes += 1
        cells = photos.reshape(len(photos), CELLS, SIDE // CELLS, CELLS, SIDE // CELLS, 3)
        grid = cells.mean(axis=(2, 4)) / 255
        yellow = np.minimum(grid[..., 0], grid[..., 1]) - grid[..., 2]
        return dataclasses.replace(self._encoder.encode(photos), regions=yellow.astype(np.float32))


def vase_in_the_street() -> bytes:
    street = Image.new("RGB", (240, 160), (40, 70, 120))
    street.paste(Image.open(io.BytesIO(render("home/vase", 5))).resize((72, 72)), (120, 20))
    out = io.BytesIO()
    street.save(out, "PNG")
    return out.getvalue()
