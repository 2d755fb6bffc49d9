"""Names that a user gives: a wrong one is refused before anything runs, with the one that was probably meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from lookalike.errors import unknown
from lookalike.learning.recipes import RECIPES
from sample_shop import write_sample
from tests.cli.conftest import Run
from tests.shop import Shop


def test_train_lists_the_recipes_with_a_line_on_each(run: Run) -> None:
    said = run("train", "--help").out
    for name, recipe in RECIPES.items():
        assert recipe.__doc__ is not None
        assert f"{name}  {recipe.__doc__.partition('.')[0]}"[:100] in " ".join(said.split("\n"))


@pytest.mark.parametrize("verb", ["train", "run"])
def test_an_unknown_recipe_fails_before_anything_runs(run: Run, tmp_path: Path, verb: str) -> None:
    options = ("--catalogue", tmp_path / "none.csv") if verb == "run" else ()
    outcome = run(verb, *options, "--recipe", "smal_cpu", "--store", tmp_path / "store")
    assert outcome.code == 2
    assert outcome.err.startswith("lookalike: unknown recipe 'smal_cpu'")
    assert outcome.err.endswith("did you mean small_cpu?\n")
    assert outcome.err.count("\n") == 1, "no progress of a step"
    assert not (tmp_path / "store").exists()


def test_an_unknown_split_to_index_fails_before_training(run: Run, tmp_path: Path) -> None:
    catalogue = write_sample(tmp_path / "sample", products=1).catalogue
    outcome = run(
        *("run", "--catalogue", catalogue, "--min-category", 1, "--recipe", "tiny"),
        *("--index-splits", "train,vall", "--store", tmp_path / "store"),
    )
    assert outcome.code == 2, outcome.err
    assert outcome.err.splitlines()[-1].startswith("lookalike: unknown split 'vall'")
    assert outcome.err.endswith("did you mean val?\n")
    assert {path.parts[-3] for path in (tmp_path / "store").rglob("manifest.json")} == {"curated"}


def test_an_unknown_split_to_index_is_not_left_out_in_silence(run: Run, live_shop: Shop) -> None:
    outcome = run("index", "--index-splits", "train,tset", "--store", live_shop.store.uri)
    assert outcome.code == 2, "the other split alone would be indexed"
    assert outcome.err == (
        "lookalike: unknown split 'tset'; there are leak, test, train, val; did you mean test?\n"
    )


def test_an_unknown_split_to_evaluate_fails_before_anything_is_fetched(
    run: Run, live_shop: Shop, tmp_path: Path
) -> None:
    row = live_shop.listings[0]
    (tmp_path / "a.jpg").write_bytes(row.photo)
    catalogue = tmp_path / "queries.csv"
    catalogue.write_text(f"listing_id,image,category,split\nq,a.jpg,{row.category},test\n")
    outcome = run("evaluate", "--catalogue", catalogue, "--split", "tset", "--store", live_shop.store.uri)
    assert outcome.code == 1
    assert "no listing of split 'tset'; there are test" in outcome.err
    assert not list((tmp_path / "cache").rglob("model.json"))


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ("ResNet50_Weights.IMAGENET1K_V3", "did you mean ResNet50_Weights.IMAGENET1K_V2?"),
        (f"releases/{'0' * 16}@{'0' * 64}", "releases/0000000000000000/manifest.json"),
        ("nowhere.pt", "no starting weights 'nowhere.pt'"),
    ],
)
def test_unknown_starting_weights_fail_before_photos_are_decoded(
    run: Run, live_shop: Shop, weights: str, said: str
) -> None:
    pytest.importorskip("torch")
    outcome = run("train", "--recipe", "tiny", "--weights", weights, "--store", live_shop.store.uri)
    assert outcome.code in (1, 2)
    assert said in outcome.err
    assert outcome.err.count("\n") == 1, "no progress of a step"


def test_what_was_meant_is_said_where_it_can_be_guessed() -> None:
    assert unknown("colour", "rde", ["red", "blue"]) == (
        "unknown colour 'rde'; there are blue, red; did you mean red?"
    )
    assert unknown("colour", "xyz", ["red", "blue"]) == "unknown colour 'xyz'; there are blue, red"
    assert unknown("colour", "xyz", []) == "unknown colour 'xyz'; there are none"
    many = [f"shade-{i:03d}" for i in range(1000)]
    assert unknown("colour", "shade-0", many).startswith("unknown colour 'shade-0'; did you mean shade-")
    assert unknown("colour", "x" * 9000, many) == f"unknown colour '{'x' * 100}'"
