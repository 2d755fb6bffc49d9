"""Releases of version 0.1 open and predict what they predicted; their files are read as warily as ours.

`golden/release-0.1` was written by that version: a hand-made network, and three forests of three rounds as XGBoost
saves them. `expected.json` is what that version made of six rows.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lookalike.aspects.legacy import parse
from lookalike.aspects.models import AspectModels, aspect_files, load_aspects, model_inputs
from lookalike.aspects.xgboost_model import forest_of
from lookalike.coding.extraction import extract
from lookalike.coding.release import ModelCard
from lookalike.errors import ReleaseError
from lookalike.index.builder import build
from lookalike.serving.config import ServingConfig
from lookalike.serving.copies import Copies
from lookalike.serving.snapshot import open_snapshot
from lookalike.storage.artefacts import Artefact, Kind, fetch, find
from lookalike.storage.directory import DirectoryStore
from tests.aspects.test_forest import INPUTS, train
from tests.shop import make_listings, write_curated

GOLDEN = Path(__file__).parents[1] / "golden" / "release-0.1"


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    shutil.copytree(GOLDEN / "releases", tmp_path / "store" / "releases")
    return DirectoryStore(tmp_path / "store")


@pytest.fixture
def release(store: DirectoryStore, tmp_path: Path) -> Artefact:
    return fetch(store, find(store, Kind.RELEASE, ""), tmp_path / "cache")


def opened(release: Artefact) -> AspectModels:
    return load_aspects(release, ModelCard.read(release.path("model.json")))


def test_a_release_of_version_0_1_predicts_what_it_predicted(release: Artefact) -> None:
    expected: dict[str, Any] = json.loads((GOLDEN / "expected.json").read_text())
    features = np.random.default_rng(1).random((6, 192)).astype(np.float32)
    models = opened(release)
    inputs = model_inputs(features, np.arange(6), 6)
    for model in models.models:
        margins = model.forest.trees.margins(inputs)
        np.testing.assert_array_equal(margins, np.array(expected["margins"][model.name], np.float32))
    found = models.predict(features, np.eye(6, dtype=np.float32))
    assert json.loads(json.dumps(found)) == expected["predictions"]


def test_the_forests_are_the_same_in_the_file_of_today(release: Artefact, tmp_path: Path) -> None:
    old = opened(release)
    old.save(tmp_path / "trees.npz")
    new = AspectModels.read(tmp_path / "trees.npz", ModelCard.read(release.path("model.json")))
    features = np.random.default_rng(2).random((50, 192)).astype(np.float32)
    chances = np.eye(6, dtype=np.float32)[np.arange(50) % 6]
    assert new.predict(features, chances) == old.predict(features, chances)
    assert new.values == old.values


def test_an_index_of_a_release_of_version_0_1_is_served(store: DirectoryStore, tmp_path: Path) -> None:
    listings = make_listings(8)
    curated, ref = write_curated(store, listings, tmp_path), find(store, Kind.RELEASE, "")
    extraction = extract(store, curated, ref, cache_dir=tmp_path / "cache", threads=1)
    index = build(store, curated, extraction, shards=1, cache_dir=tmp_path / "cache")
    served = open_snapshot(Copies(store, tmp_path / "cache"), ref, index, ServingConfig(), threads=1)
    assert set(served.searcher.aspects.values) == {"brand", "mark", "material"}


def test_only_a_release_of_version_0_1_loads_its_reader(release: Artefact, tmp_path: Path) -> None:
    """Both are opened in a process of their own, which lists what it has imported."""
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from lookalike.coding.release import ModelCard\n"
        "from lookalike.aspects.models import AspectModels\n"
        "AspectModels.read(Path(sys.argv[1]), ModelCard.read(Path(sys.argv[2])))\n"
        "print([name for name in ('lookalike.aspects.legacy', 'xgboost', 'torch') if name in sys.modules])"
    )
    opened(release).save(tmp_path / "trees.npz")
    command = [sys.executable, "-c", program, tmp_path / "trees.npz", release.path("model.json")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "[]"


@pytest.mark.parametrize("damage", [b"", b"not a model", None])
def test_a_damaged_or_missing_file_is_a_release_error(release: Artefact, damage: bytes | None) -> None:
    (name,) = (
        name
        for name in aspect_files(release.manifest, ModelCard.read(release.path("model.json")))
        if "mark" in name
    )
    path = release.path(name)
    path.unlink() if damage is None else path.write_bytes(damage)
    with pytest.raises(ReleaseError, match="aspect model mark cannot be read from"):
        opened(release)


@pytest.fixture(scope="module")
def model() -> bytes:
    return bytes(train("multi:softprob").save_raw("ubj"))


def test_a_model_that_is_cut_off_anywhere_is_refused(model: bytes) -> None:
    for end in range(0, len(model), 211):
        with pytest.raises(ValueError, match="UBJSON"):
            parse(model[:end])


def test_a_model_with_changed_bytes_is_refused_or_still_ends_in_its_leaves(model: bytes) -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(3, INPUTS)).astype(np.float32)
    for _ in range(300):
        damaged = bytearray(model)
        for at in rng.integers(0, len(model), 3):
            damaged[at] = rng.integers(256)
        try:
            forest, _ = forest_of(parse(bytes(damaged)))
        except ValueError:
            continue
        assert forest.probabilities(rows).shape == (3, forest.groups)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"Z", None),
        (b"[TFi\xff]", [True, False, -1]),
        (b"{i\x01aSi\x02hiU\x01bCx}", {"a": "hi", "b": "x"}),
        (b"[#i\x02I\x01\x00D\x3f\xf8\x00\x00\x00\x00\x00\x00", [256, 1.5]),
        (b"{$U#i\x01i\x01k\x07", {"k": 7}),
    ],
)
def test_the_types_of_ubjson(data: bytes, value: object) -> None:
    assert parse(data) == value


def test_an_array_of_one_type_is_a_numpy_array() -> None:
    array = parse(b"[$l#i\x02\x00\x00\x00\x01\xff\xff\xff\xff")
    assert array.dtype == np.int32
    assert array.tolist() == [1, -1]


@pytest.mark.parametrize("data", [b"", b"[", b"ZZ", b"N", b"[$l", b"[$l#i\x7f", b"Si\xff", b"[" * 100])
def test_what_is_not_ubjson_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="UBJSON"):
        parse(data)
