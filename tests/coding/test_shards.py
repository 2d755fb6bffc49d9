"""Code shards are fetched for the photos that are wanted of them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa

from lookalike.coding.encoder import Encoding
from lookalike.coding.shards import SHARDS, existing_shards, known_codes, list_shards, put_shard, read_codes
from lookalike.settings import S3Settings
from lookalike.storage import keys
from lookalike.storage.artefacts import ArtefactWriter, Kind, Ref
from lookalike.storage.stores import open_store
from tests.catalogue.test_curation_s3 import s3  # noqa: F401  a fixture

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
