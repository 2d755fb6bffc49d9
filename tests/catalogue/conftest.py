"""A small catalogue in a folder, for curation."""

from __future__ import annotations

import csv
import io
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lookalike.catalogue.curation import CurationConfig, curate
from lookalike.catalogue.snapshot import CuratedSnapshot
from lookalike.storage.directory import DirectoryStore

SMALL = CurationConfig(min_category=2)


def photo(seed: int, width: int = 120, height: int = 100, kind: str = "JPEG") -> bytes:
    """A photo like no other: large blots of colour."""
    blots = np.random.default_rng(seed).integers(0, 255, (7, 8, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(blots).resize((width, height), Image.Resampling.BICUBIC).save(out, kind)
    return out.getvalue()


class Shop:
    """A catalogue in a folder, and a store beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "shop"
        self.folder.mkdir()
        self.store = DirectoryStore(folder / "store")
        self.cache = folder / "cache"

    def write(self, rows: Sequence[Mapping[str, object]], photos: Mapping[str, bytes]) -> str:
        """Rows get the image ``<listing_id>.jpg`` where they name none."""
        for name, data in photos.items():
            self.put(name, data)
        columns = list(
            dict.fromkeys(["listing_id", "image", "category", *(name for row in rows for name in row)])
        )
        with (self.folder / "catalogue.csv").open("w", newline="") as file:
            table = csv.DictWriter(file, columns)
            table.writeheader()
            table.writerows({"image": f"{row['listing_id']}.jpg"} | dict(row) for row in rows)
        return str(self.folder / "catalogue.csv")

    def put(self, name: str, data: bytes) -> None:
        """Write a photo a minute ago; one that is there already stays as it is."""
        path = self.folder / name
        if not path.exists() or path.read_bytes() != data:
            path.write_bytes(data)
            os.utime(path, ns=(time.time_ns() - 60 * 10**9,) * 2)

    def curate(self, config: CurationConfig = SMALL, **options: object) -> CuratedSnapshot:
        uri = str(self.folder / "catalogue.csv")
        ref = curate(self.store, uri, config, cache_dir=self.cache, **options)
        return CuratedSnapshot.open(self.store, ref, self.cache)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def plain(count: int, categories: Sequence[str] = ("a/x", "a/y"), **more: object) -> list[dict[str, object]]:
    rows = []
    for i in range(count):
        rows.append({"listing_id": f"L{i:03d}", "category": categories[i % len(categories)]} | more)
    return rows


def photos(count: int) -> dict[str, bytes]:
    return {f"L{i:03d}.jpg": photo(i) for i in range(count)}


def by_id(snapshot: CuratedSnapshot) -> dict[str, dict[str, object]]:
    return {row["listing_id"]: row for row in snapshot.listings.to_pylist()}


def reasons(snapshot: CuratedSnapshot) -> dict[str, str]:
    return {row["listing_id"]: row["reason"] for row in snapshot.report["rows"]["left_out"]}


def visible(store: DirectoryStore) -> list[str]:
    return [info.key for info in store.list() if info.key.endswith("manifest.json")]
