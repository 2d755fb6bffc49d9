"""Code shards are fetched for the photos that are wanted of them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lookalike.coding.encoder import Encoding
from lookalike.coding.shards import SHARDS, existing_shards, known_codes, list_shards, put_shard, read_codes
from lookalike.errors import CorruptObject
from lookalike.settings import S3Settings
from lookalike.storage import keys
from lookalike.storage.artefacts import ArtefactWriter, Kind, Ref
from lookalike.storage.stores import open_store
from tests.catalogue.test_curation_s3 import s3  # noqa: F401  a fixture
from tests.coding.test_reads import Elsewhere

RELEASE = Ref(Kind.RELEASE, "0123456789abcdef", "0" * 64)


def test_shards_without_a_wanted_photo_are_not_fetched(tmp_path: Path, s3: S3Settings) -> None:  # noqa: F811
    store = open_store("s3://shop/codes", s3)
    ids = [hashlib.md5(b"%d" % number, usedforsecurity=False).hexdigest() for number in range(12)]
    codes = np.random.default_rng(1).integers(0, 255, (12, 64), np.uint8)
    half = np.full((3, 2), 0.5, np.float32)
    encodings = [Encoding(half, half, half, codes[at : at + 3]) for at in range(0, 12, 3)]
    shards = [put_shard(store, RELEASE, ids[3 * n : 3 * n + 3], [encodings[n]]) for n in range(4)]
    writer = ArtefactWriter(store, Kind.EXTRACTION, inputs={}, config={})
    writer.add(SHARDS, list_shards(shards))
    extraction = writer.commit()

    def fetched(cache: Path) -> int:
        return len(list(cache.rglob("codes/**/*.parquet")))

    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    covered = {shard: found.to_pylist() for shard, found in existing_shards(store, RELEASE, first)}
    assert covered == {shard: ids[3 * n : 3 * n + 3] for n, shard in enumerate(shards)}
    assert fetched(first) == 0
    assert (read_codes(store, extraction, pa.array([ids[4], ids[3]]), 64, first) == codes[[4, 3]]).all()
    assert fetched(first) == 1
    (code,) = known_codes(store, extraction, [ids[9], "f" * 32], second).values()
    assert (code == codes[9]).all()
    assert fetched(second) == 1
    for shard in shards[:2]:
        store.delete(keys.code_shard_photos(shard.key))  # as version 0.2.0 left them
    store.put(keys.code_shard_photos(shards[2].key), b"cut off")
    again = {shard: found.to_pylist() for shard, found in existing_shards(store, RELEASE, third)}
    assert again == covered
    assert fetched(third) == 3


def test_few_rows_of_a_shard_are_read_by_range(tmp_path: Path) -> None:
    """Of 4,000 rows with features those of a few photos cost their own row groups, and are the right ones."""
    store = Elsewhere(tmp_path / "store")
    rng = np.random.default_rng(2)
    ids = [hashlib.md5(b"%d" % number, usedforsecurity=False).hexdigest() for number in range(4000)]
    codes = rng.integers(0, 255, (4000, 64), np.uint8)
    features = rng.random((4000, 512), np.float32)
    shard = put_shard(store, RELEASE, ids, [Encoding(features, features, features, codes)])
    writer = ArtefactWriter(store, Kind.EXTRACTION, inputs={}, config={})
    writer.add(SHARDS, list_shards([shard]))
    extraction = writer.commit()
    rows = [3999, 17, 1024, 17, 255, 256, *rng.integers(0, 4000, 3).tolist()]
    found = read_codes(store, extraction, pa.array([ids[row] for row in rows]), 64, tmp_path / "cache")
    assert (found == codes[rows]).all()
    assert store.given[shard.key] < shard.size / 10
    assert not list((tmp_path / "cache").rglob("*.parquet"))
    known = known_codes(store, extraction, [ids[5], ids[3000], "f" * 32], tmp_path / "cache")
    assert {name: code.tolist() for name, code in known.items()} == {
        ids[row]: codes[row].tolist() for row in (5, 3000)
    }
    store.put(shard.key, b"x" * shard.size)
    with pytest.raises(CorruptObject, match="is no code shard"):
        read_codes(store, extraction, pa.array(ids[:2]), 64, tmp_path / "cache")


def test_a_shard_that_retention_removes_meanwhile_is_passed_over(tmp_path: Path) -> None:
    store = Elsewhere(tmp_path / "store")
    half = np.full((1, 2), 0.5, np.float32)
    for number in range(3):
        code = np.full((1, 64), number, np.uint8)
        put_shard(store, RELEASE, [f"{number:032x}"], [Encoding(half, half, half, code)])
    found = existing_shards(store, RELEASE, tmp_path / "cache")
    first, _ = next(found)
    left = [info.key for info in store.list(keys.code_shards(RELEASE.id)) if first.sha256 not in info.key]
    for key in left[:2]:
        store.delete(key)
    assert len(list(found)) == 1
