"""The gate: equal releases pass, those that forget the look do not."""

from __future__ import annotations

import dataclasses
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lookalike.catalogue.snapshot import LISTINGS, CuratedSnapshot
from lookalike.coding.encoder import Encoding, OpenVinoEncoder, open_encoder
from lookalike.coding.extraction import extract
from lookalike.progress import silent
from lookalike.quality import gate, trial
from lookalike.quality.gate import GateConfig, compare, upper_end
from lookalike.storage import keys
from lookalike.storage.artefacts import Ref, fetch
from lookalike.storage.directory import DirectoryStore
from tests.shop import make_listings, write_curated, write_release


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> tuple[DirectoryStore, Path, Ref, Ref, Ref]:
    """A shop half of whose products are held out, and two releases of one recipe with other seeds."""
    folder = tmp_path_factory.mktemp("gate")
    store = DirectoryStore(folder / "store")
    listings = tuple(
        dataclasses.replace(
            row,
            split="test" if n // 2 % 2 else "train",
            aspects=row.aspects | {"colour": ["dark" if n // 2 % 3 else "light"]},
        )
        for n, row in enumerate(make_listings(24))
    )
    curated = write_curated(store, listings, folder)
    releases = [write_release(store, listings, folder, seed=seed) for seed in (0, 1)]
    return store, folder, curated, *releases


def test_an_equal_release_passes_and_every_look_is_measured(
    tried: tuple[DirectoryStore, Path, Ref, Ref, Ref],
) -> None:
    store, folder, curated, live, new = tried
    report = compare(store, curated, new, live, cache_dir=folder)
    assert report.passed
    assert report.queries == 72
    assert {row.measure for row in report.rows} == {
        "category top-1",
        "category top-5",
        "mAP",
        "recall@10",
        "product first",
        "variant first",
        "colour in the first 8",
    }
    kept = json.loads(store.get(keys.measures(new.id)))
    assert kept == {row.measure: row.new for row in report.rows}


def test_a_release_that_forgets_the_look_and_knows_the_category_fails(
    tried: tuple[DirectoryStore, Path, Ref, Ref, Ref], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, folder, curated, live, new = tried
    seeing = OpenVinoEncoder.encode

    def forgetful(self: OpenVinoEncoder, photos: np.ndarray) -> Encoding:
        found = seeing(self, photos)
        alike = np.random.default_rng(0).random((6, found.activations.shape[1]))
        said = alike[found.probabilities.argmax(axis=1)].astype(np.float32)
        return dataclasses.replace(found, activations=said, codes=np.packbits(said > 0.5, axis=1))

    releases = []

    def opened(*args: object, **options: object) -> OpenVinoEncoder:
        releases.append(args)
        if len(releases) == 1:  # the new one is opened first
            monkeypatch.setattr(OpenVinoEncoder, "encode", forgetful)
        else:
            monkeypatch.setattr(OpenVinoEncoder, "encode", seeing)
        return open_encoder(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(gate, "open_encoder", opened)
    report = compare(store, curated, new, live, cache_dir=folder)
    failed = {row.measure for row in report.rows if not row.passed}
    assert {"product first"} <= failed <= {"product first", "variant first", "colour in the first 8"}
    assert "product first" in report.verdict()


def test_objects_are_made_of_the_sample_alone(tmp_path: Path) -> None:
    """200,000 listings of a photo each, every tenth held out: an object for each would take some 100 MB."""
    count = 200_000
    numbers = np.arange(count)
    table = pa.table(
        {
            "photo_id": [f"{number:032x}" for number in numbers],
            "category": ["a/bag"] * count,
            "product": [f"p{number // 4}" for number in numbers],
            "split": np.where(numbers % 10, "train", "test"),
        }
    )
    pq.write_table(table, tmp_path / "listings.parquet")
    tracemalloc.start()
    sample = trial.draw(tmp_path / "listings.parquet", 100, 300)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    sought = {query.product for query in sample.queries}
    assert len(sample.queries) == 100
    assert all(int(query.photo_id, 16) % 10 == 0 for query in sample.queries)
    assert len(sample.gallery) == 4 * len(sought) + 300
    assert peak < 20e6


def test_outcomes_are_those_of_each_photo_and_nan_where_nothing_can_be_found(
    tried: tuple[DirectoryStore, Path, Ref, Ref, Ref],
) -> None:
    store, folder, curated, live, _ = tried
    snapshot = CuratedSnapshot.open(store, curated, folder)
    sample = trial.draw(snapshot.artefact.path(LISTINGS), 30, 40)
    sought = {query.product for query in sample.queries}
    assert len(sample.queries) == 30
    assert {each.product for each in sample.gallery} >= sought
    assert sum(each.product not in sought for each in sample.gallery) == 40
    alone = dataclasses.replace(
        sample,
        gallery=tuple(
            g
            for g in sample.gallery
            if g.product != sample.queries[0].product or g.photo_id == sample.queries[0].photo_id
        ),
    )
    found = trial.outcomes(
        open_encoder(fetch(store, live, folder), threads=1), snapshot.photo_store, alone, silent, "try", k=10
    )
    assert np.isnan(found["product first"][0]), "its product has no other photo"
    assert set(found["product first"][1:]) <= {0.0, 1.0, np.nan} or np.isnan(found["product first"]).any()
    assert found["category top-1"].mean() == 1


def test_codes_that_were_extracted_are_not_made_again_and_measure_the_same(
    tried: tuple[DirectoryStore, Path, Ref, Ref, Ref], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, folder, curated, live, new = tried
    anew = compare(store, curated, new, live, cache_dir=folder)
    extractions = [extract(store, curated, release, cache_dir=folder, threads=1) for release in (new, live)]
    encode, encoded = OpenVinoEncoder.encode, []

    def counted(self: OpenVinoEncoder, photos: np.ndarray) -> Encoding:
        encoded.append(len(photos))
        return encode(self, photos)

    monkeypatch.setattr(OpenVinoEncoder, "encode", counted)
    assert compare(store, curated, new, live, cache_dir=folder, extractions=extractions) == anew
    warmed_up = 2
    assert sum(encoded) - warmed_up == 2 * anew.queries, "the queries by both releases, and no other photo"


@pytest.mark.parametrize("changing", [0.03, 0.1, 0.3])
def test_an_equal_release_passes_99_times_of_100_at_146_photos(changing: float) -> None:
    rng = np.random.default_rng(1)
    config, trials = GateConfig(), 1000
    signs = rng.choice([-1.0, 1.0], (trials, 7, 146)) * (rng.random((trials, 7, 146)) < changing)
    refused = [
        any(upper_end(row, config.deviations) < -config.margin for row in measures) for measures in signs
    ]
    assert np.mean(refused) <= 0.01


def test_few_photos_that_are_all_worse_are_enough_and_one_is_not() -> None:
    assert upper_end(np.full(2, -1.0), 3.0) < -0.05
    assert upper_end(np.full(1, -1.0), 3.0) > 0
