"""Small code shards are merged: few files at any number of re-indexes, the same codes, and what is in use stays."""

from __future__ import annotations

import hashlib
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from lookalike.coding.compaction import compact, needed, superseded
from lookalike.coding.encoder import Encoder, Encoding, open_encoder
from lookalike.coding.extraction import extract
from lookalike.coding.shards import SHARDS, CodeShard, existing_shards, list_shards, put_shard, read_codes
from lookalike.index.builder import build
from lookalike.publishing.live_ref import publish, read_live
from lookalike.publishing.retention import RetentionConfig, apply, plan
from lookalike.storage import keys
from lookalike.storage.artefacts import ArtefactWriter, Kind, Ref, fetch
from lookalike.storage.directory import DirectoryStore
from lookalike.storage.objects import ObjectStore
from tests.shop import make_listings, write_curated, write_release

RELEASE = Ref(Kind.RELEASE, "0123456789abcdef", "0" * 64)
SIZE = 64
LATER = datetime.now(UTC) + timedelta(days=2)


def encoded(photo_ids: list[str]) -> Encoding:
    """Codes of 16 bytes that tell the photos apart."""
    codes = np.array(
        [list(hashlib.sha256(photo_id.encode()).digest()[:16]) for photo_id in photo_ids], np.uint8
    )
    half = np.full((len(photo_ids), 2), 0.5, np.float32)
    return Encoding(half, half, half, codes)


def name(number: int) -> str:
    return hashlib.md5(b"%d" % number, usedforsecurity=False).hexdigest()


def extraction(store: ObjectStore, shards: list[CodeShard], number: int) -> Ref:
    writer = ArtefactWriter(store, Kind.EXTRACTION, inputs={"number": str(number)}, config={})
    writer.add(SHARDS, list_shards(shards))
    return writer.commit()


def test_any_number_of_re_indexes_leaves_few_files_and_every_code(tmp_path: Path) -> None:
    """Some encode a photo that another is encoding at the same time; the last three extractions stay readable."""
    random_ = random.Random(1)
    store, cache = DirectoryStore(tmp_path / "store"), tmp_path / "cache"
    total = 0
    kept: list[tuple[list[CodeShard], int]] = []
    for number in range(150):
        again = random_.randrange(min(total, 3) + 1)
        new = [name(at) for at in range(total - again, total + random_.choice((1, 2, 5, 5, 40)))]
        total += len(new) - again
        put_shard(store, RELEASE, new, [encoded(new)])
        shards = compact(store, RELEASE, needed(existing_shards(store, RELEASE, cache)), SIZE, cache)
        kept = [*kept[-2:], ([shard for shard, _ in shards], total)]
        in_use = {key for shards, _ in kept for s in shards for key in (s.key, keys.code_shard_photos(s.key))}
        for key in superseded(store, RELEASE.id) - in_use:
            store.delete(key)
        small = [shard for shard, _ in shards if shard.rows < SIZE // 2]
        assert len(small) <= 7 * 2
        assert len(shards) <= len(small) + 2 * total // SIZE
        if number % 50 == 49:
            for named, count in kept:
                ids = [name(at) for at in range(count)]
                random_.shuffle(ids)
                ref = extraction(store, named, count)
                assert (read_codes(store, ref, pa.array(ids), 16, cache) == encoded(ids).codes).all()


class Place:
    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        self.store, self.cache = DirectoryStore(root / "store"), root / "cache"
        self.release = write_release(self.store, make_listings(4), root)

    def index(self, numbers: set[int], encoder: Encoder) -> tuple[Ref, Ref]:
        """An extraction of these listings and an index of it."""
        rows = tuple(row for at, row in enumerate(make_listings(30)) if at in numbers)
        curated = write_curated(self.store, rows, self.root)
        made = extract(
            self.store, curated, self.release, cache_dir=self.cache, shard_size=SIZE, encoder=encoder
        )
        return made, build(self.store, curated, made, cache_dir=self.cache)

    def shards(self) -> int:
        found = self.store.list(keys.code_shards(self.release.id))
        return sum(info.key.endswith(".parquet") for info in found)

    def segment(self, index: Ref) -> bytes:
        artefact = fetch(self.store, index, self.cache)
        return artefact.path("segment-000-of-001.arrow").read_bytes()


def test_an_index_of_merged_shards_is_that_of_a_fresh_extraction(tmp_path: Path) -> None:
    """Twenty re-indexes with retention after each: adds and sales, all live generations whole, few files."""
    random_ = random.Random(7)
    place = Place(tmp_path / "place")
    encoder = open_encoder(fetch(place.store, place.release, place.cache), threads=1)
    offered = set(range(60))
    most = 0
    for number in range(20):
        offered |= set(random_.sample(range(180), 2))
        offered -= {random_.choice(sorted(offered))}
        _, index = place.index(offered, encoder)
        live = read_live(place.store)
        publish(place.store, place.release, index, by="test", expected=live)
        apply(place.store, plan(place.store, RetentionConfig(records=1, releases=1), now=LATER))
        most = max(most, place.shards())
        if number % 10 == 9:
            fresh = Place(tmp_path / f"fresh-{number}")
            _, other = fresh.index(offered, encoder)
            assert place.segment(index) == fresh.segment(other)
    assert most <= 12
    assert place.shards() < most + 1
