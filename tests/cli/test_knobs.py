"""A new knob of curation is one field of `CurationConfig`: the options, the forms and a re-index follow from it.

Proved on a copy of the program into whose `CurationConfig` one field is written, and nothing else.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lookalike.catalogue.knobs import knobs_of
from lookalike.catalogue.rules import CurationConfig
from lookalike.storage.artefacts import Ref, read_manifest
from lookalike.storage.directory import DirectoryStore
from sample_shop import write_sample
from tests.shop import Shop

ROOT = Path(__file__).parents[2]
FIELD = """
    pages_read: int = knob(3, "Pages", "Pages of a leaflet that are read.", least=1, most=9)

    def __post_init__"""

_SURFACES = """
import json, sys
from flows.parameters import Curate, Reindex, Retrain
from lookalike import taken_over
from lookalike.workplace import open_workplace
asked = Retrain(pages_read=4).curation()
forms = {form.__name__: form.model_json_schema()["properties"].get("pages_read") for form in (Curate, Retrain, Reindex)}
live = taken_over.live_curation(open_workplace(sys.argv[1]))
print(json.dumps({"asked": asked, "forms": forms, "live": live, "torch": "torch" in sys.modules}))
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the program with one field more."""
    root = tmp_path_factory.mktemp("program")
    for package in ("src", "flows", "tasks"):
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    rules = root / "src/lookalike/catalogue/rules.py"
    before, there, after = rules.read_text().partition("\n    def __post_init__")
    assert there
    rules.write_text(before + FIELD + after)
    return root


def python(program: Path, cache: Path, *arguments: object) -> str:
    environ = os.environ | {
        "PYTHONPATH": f"{program / 'src'}{os.pathsep}{program}",
        "LOOKALIKE_CACHE_DIR": str(cache),
        "COLUMNS": "160",
        "TERM": "dumb",
    }
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=program,
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_new_field_is_an_option_that_reaches_the_snapshot(program: Path, tmp_path: Path) -> None:
    catalogue = write_sample(tmp_path / "sample", products=1).catalogue
    verb = ("-m", "lookalike", "curate", "--catalogue", catalogue, "--store", tmp_path / "store", "--json")
    said = json.loads(
        python(program, tmp_path / "cache", *verb, "--min-category", 1, "--sellers-apart", "--pages-read", 7)
    )
    config = read_manifest(DirectoryStore(tmp_path / "store"), Ref.parse(said["curated"])).config
    assert (config["min_category"], config["keep_sellers"], config["seller_cap"]) == (1, True, 0)
    assert config["pages_read"] == 7


@pytest.mark.parametrize("verb", ["curate", "run"])
def test_both_verbs_that_curate_offer_every_knob(program: Path, tmp_path: Path, verb: str) -> None:
    said = python(program, tmp_path, "-m", "lookalike", verb, "--help")
    options = {knob.option.replace("_", "-") for knob in knobs_of(CurationConfig)}
    assert {"min-category", "seller-cap", "sellers-apart"} <= options
    for option in {*options, "pages-read"}:
        assert f"--{option} " in said
    assert "Pages of a leaflet that are read." in said


def test_a_new_field_is_in_the_forms_and_a_reindex_takes_it_over(
    program: Path, tmp_path: Path, live_shop: Shop
) -> None:
    pytest.importorskip("prefect")
    found = json.loads(python(program, tmp_path, "-c", _SURFACES, live_shop.store.uri))
    field = {
        "type": "integer",
        "title": "Pages",
        "description": "Pages of a leaflet that are read.",
        "default": 3,
        "minimum": 1,
        "maximum": 9,
    }
    assert found["forms"] == {"Curate": field, "Retrain": field, "Reindex": None}
    assert found["asked"] == {"min_category": 10, "seller_cap": 0, "keep_sellers": True, "pages_read": 4}
    assert found["live"]["pages_read"] == 3, "the live snapshot is older than the field"
    assert not found["torch"], "naming the steps imports no torch"
