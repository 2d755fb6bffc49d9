"""An index snapshot, opened by memory map."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lookalike.errors import SegmentError
from lookalike.index import segment
from lookalike.storage.artefacts import Artefact, Ref


@dataclass(frozen=True, slots=True, eq=False)
class Partition:
    """The rows of one leaf category in one segment, sorted by listing id; all columns are views on the map."""

    category: str
    codes: npt.NDArray[np.uint8]
    """uint8[n, bits / 8]"""
    listing_ids: pa.StringArray
    photo_ids: pa.StringArray
    groups: pa.StringArray
    prices: npt.NDArray[np.float64]
    """float64[n], NaN where the listing has none"""
    aspects: Mapping[str, pa.ListArray]
    """Aspect name -> list<dictionary<int32, utf8>>[n], an empty list where the listing says nothing"""

    def __len__(self) -> int:
        return len(self.codes)


class IndexSnapshot:
    """All segments of one index snapshot. Use `open`."""

    def __init__(
        self,
        ref: Ref,
        release: str,
        preset: Mapping[str, Any],
        bits: int,
        parts: Mapping[str, tuple[Partition, ...]],
    ) -> None:
        self.ref, self.release, self.preset, self.bits = ref, release, preset, bits
        self._parts = parts

    @classmethod
    def open(cls, artefact: Artefact) -> Self:
        """Map every segment of a fetched index artefact. Raises `SegmentError` naming file and rule."""
        parts: dict[str, list[Partition]] = {}
        header: dict[str, Any] = {}
        for entry in artefact.manifest.files:
            path = artefact.path(entry.name)
            try:
                reader = pa.ipc.open_file(pa.memory_map(str(path)))
                header = json.loads(reader.schema.metadata[segment.METADATA_KEY])
            except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
                raise SegmentError(str(path), "arrow", f"not a segment: {error}") from error
            for i, (category, _) in enumerate(header["categories"]):
                parts.setdefault(category, []).append(_partition(category, reader.get_batch(i), header))
        kept = {c: tuple(p for p in ps if len(p)) or tuple(ps[:1]) for c, ps in sorted(parts.items())}
        return cls(artefact.ref, header["release"], header["preset"], header["bits"], kept)

    @property
    def categories(self) -> tuple[str, ...]:
        """Leaf categories that have rows, in order."""
        return tuple(self._parts)

    def partitions(self, category: str) -> tuple[Partition, ...]:
        """The partitions of one leaf category, one per segment; empty for an unknown category."""
        return self._parts.get(category, ())

    def __len__(self) -> int:
        return sum(len(p) for ps in self._parts.values() for p in ps)


def _partition(category: str, batch: pa.RecordBatch, header: Mapping[str, Any]) -> Partition:
    code = batch["code"]
    width = header["bits"] // 8
    codes = np.frombuffer(code.buffers()[1], np.uint8, len(code) * width).reshape(len(code), width)
    prices = batch["price"].to_numpy(zero_copy_only=False).astype(np.float64)
    aspects = {name: batch[f"aspect_{name}"] for name in header["aspects"]}
    return Partition(category, codes, batch["listing_id"], batch["photo_id"], batch["group"], prices, aspects)
