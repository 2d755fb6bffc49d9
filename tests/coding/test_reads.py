"""What an extraction reads of a store that is elsewhere: the packs of its own photos, and single photos of others."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from lookalike.catalogue.rules import CurationConfig
from lookalike.catalogue.snapshot import CuratedSnapshot
from lookalike.coding.extraction import extract, extract_part
from lookalike.storage import keys
from lookalike.storage.artefacts import Ref
from lookalike.storage.directory import DirectoryStore
from tests.catalogue.conftest import Shop, photos, plain
from tests.shop import make_listings, write_release

COUNT = 120
PACKED = CurationConfig(min_category=2, shard_bytes=20_000)


class Elsewhere(DirectoryStore):
    """A directory that gives its objects away as a bucket does, and counts the bytes that it gave."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.given: Counter[str] = Counter()

    def local_path(self, key: str) -> Path | None:
        return None

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        data = super().get(key, start=start, length=length)
        self.given[key] += len(data)
        return data

    def download(self, key: str, path: Path) -> None:
        super().download(key, path)
        self.given[key] += path.stat().st_size

    def photos_given(self) -> dict[str, int]:
        """Pack -> bytes that were read of it."""
        return {key: size for key, size in self.given.items() if key.startswith(keys.PACKS)}


class Place:
    """A shop whose photos lie in some twenty packs, and a release."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.shop = Shop(folder)
        self.shop.store = self.store = Elsewhere(folder / "store")
        self.release = write_release(self.store, make_listings(4), folder)
        self.folder = folder

    def curate(self, listings: int) -> Ref:
        self.shop.write(plain(listings), photos(listings))
        return self.shop.curate(PACKED).ref

    def photos(self, curated: Ref) -> list[dict[str, object]]:
        """Rows of a snapshot's photos."""
        rows: list[dict[str, object]] = CuratedSnapshot.open(
            self.store, curated, self.folder / "x"
        ).photos.to_pylist()
        return rows

    def read(self, curated: Ref, machine: str, part: int | None = None, parts: int = 0) -> dict[str, int]:
        """Extract on a machine that has nothing yet: what it read of packs."""
        self.store.given.clear()
        settings = {"cache_dir": self.folder / machine, "shard_size": 8, "threads": 1}
        if part is None:
            extract(self.store, curated, self.release, **settings)
        else:
            extract_part(self.store, curated, self.release, part, parts, **settings)
        return self.store.photos_given()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "place")


def test_each_pack_is_read_by_one_part(place: Place) -> None:
    curated = place.curate(COUNT)
    packs = {info.key: info.size for info in place.store.list(keys.PACKS)}
    given = [place.read(curated, f"part-{part}", part, 4) for part in range(4)]
    assert set().union(*given) == packs.keys()
    assert len(packs) > 15
    assert sum(map(len, given)) <= len(packs) + 3, "two parts share the pack between them"
    assert all(size <= packs[key] for read in given for key, size in read.items())
    assert place.read(curated, "last") == {}, "no photo is left to whoever names the shards"


def test_one_photo_of_a_pack_is_read_alone(place: Place) -> None:
    whole, less = place.curate(COUNT), place.curate(COUNT - 1)
    known, rows = {row["photo_id"] for row in place.photos(less)}, place.photos(whole)
    place.read(less, "first")
    read = place.read(whole, "second")
    assert list(read.values()) == [row["length"] for row in rows if row["photo_id"] not in known]
    assert not [key for key in place.store.given if "/listings." in key or "/left-out." in key]
    assert not [key for key in place.store.given if key.startswith("codes/") and key.endswith(".parquet")]
