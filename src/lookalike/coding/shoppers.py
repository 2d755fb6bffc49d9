"""What an encoder makes of a catalogue's photos as shoppers would take them (`imaging.shoppers`).

Enters: ids of photos of a curated snapshot. Leaves: code and features of each that can be read. An index is measured by
these (`index.likeness`): the gallery's own photos lie nearer to one another than shoppers' do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lookalike.catalogue.snapshot import open_photos
from lookalike.coding.encoder import open_encoder
from lookalike.errors import PhotoError
from lookalike.imaging.photos import load_square
from lookalike.imaging.shoppers import as_a_shopper
from lookalike.settings import available_cores
from lookalike.storage.artefacts import Ref, fetch, read_manifest
from lookalike.storage.objects import ObjectStore

_BATCH = 16
Taken = tuple[NDArray[np.uint8], NDArray[np.float32]]
"""Code u8[bits / 8] and features f32[d] of a photo."""


@dataclass(frozen=True, slots=True)
class Shoppers:
    """Takes photos of a curated snapshot anew, for the encoder of one release."""

    store: ObjectStore
    release: Ref
    curated: Ref
    cache_dir: Path
    threads: int = 0

    @classmethod
    def of(cls, store: ObjectStore, extraction: Ref, cache_dir: Path, threads: int = 0) -> Self:
        """For the snapshot and the release of an extraction."""
        inputs = read_manifest(store, extraction).inputs
        return cls(store, Ref.parse(inputs["release"]), Ref.parse(inputs["curated"]), cache_dir, threads)

    def take(self, photo_ids: Sequence[str]) -> Mapping[str, Taken]:
        """Each photo but those that cannot be decoded. Raises `StorageError`, `CorruptObject` or `ReleaseError`."""
        encoder = open_encoder(
            fetch(self.store, self.release, self.cache_dir, ["model.json", "model.onnx"]),
            threads=self.threads,
        )
        photos = open_photos(self.store, self.curated, self.cache_dir)
        side = encoder.card.preset.resize

        def square(photo_id: str) -> NDArray[np.uint8] | None:
            try:
                return load_square(as_a_shopper(photos.peek(photo_id), int(photo_id[:8], 16)), side)
            except PhotoError:
                return None

        found: dict[str, Taken] = {}
        with ThreadPoolExecutor(self.threads or available_cores()) as pool:
            for start in range(0, len(photo_ids), _BATCH):
                some = photo_ids[start : start + _BATCH]
                taken = {i: s for i, s in zip(some, pool.map(square, some), strict=True) if s is not None}
                if taken:
                    encoding = encoder.encode(np.stack(list(taken.values())))
                    found |= zip(taken, zip(encoding.codes, encoding.features, strict=True), strict=True)
        return found
