"""The settings file from the outside: found, shown, refused in one line, and obeyed by a search process."""

from __future__ import annotations

import signal
from dataclasses import fields
from pathlib import Path

import pytest

from lookalike.ranking.request import Query, RankingConfig, SearchRequest
from lookalike.ranking.search import open_searcher
from lookalike.ranking.words import TextConfig
from lookalike.storage.artefacts import fetch
from tests.cli.conftest import Run
from tests.cli.test_verbs import started, until_answering
from tests.shop import Shop, render

EVERY_FIELD = """
[ranking]
probability_mass = 1.0
minimum_categories = 2
maximum_categories = 0
unlearned = false
candidates = 40
asymmetric = false
colour = 2.0
blend = 0.35
relative = false
reward_points = { colour = 3.0, price = 1.5 }
other_points = 0.5
aspect_margin = 0.0
tick_share = 0.3
boxes = 1
box_margin = 0.0
same_photo = 0.0
unsure = 0.4
least_likeness = 0.2
group = false

[text]
weight = 2.0

[serving]
poll_seconds = 0.5
notice_seconds = 0
"""
ALL = RankingConfig(
    probability_mass=1.0,
    minimum_categories=2,
    maximum_categories=0,
    unlearned=False,
    candidates=40,
    asymmetric=False,
    colour=2.0,
    blend=0.35,
    relative=False,
    reward_points={"colour": 3.0, "price": 1.5},
    other_points=0.5,
    aspect_margin=0.0,
    tick_share=0.3,
    boxes=1,
    box_margin=0.0,
    same_photo=0.0,
    unsure=0.4,
    least_likeness=0.2,
    group=False,
    text=TextConfig(weight=2.0),
)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_serve_obeys_every_field_of_ranking(live_shop: Shop, tmp_path: Path) -> None:
    """The hits and scores are those of a searcher with the same configuration, and not those of the defaults."""
    default, names = RankingConfig(), [field.name for field in fields(RankingConfig)]
    assert all(getattr(ALL, name) != getattr(default, name) for name in names)
    (tmp_path / "shop.toml").write_text(f'store = "{live_shop.store.uri}"\nthreads = 1\n' + EVERY_FIELD)
    photo = render("shoes/boot", 30)
    with started(tmp_path, "--config", "shop.toml", "serve") as (client, process):
        until_answering(client, process, "/readyz")
        served = client.post("/v1/search?k=12", content=photo).json()["hits"]
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    found = [(hit["listing_id"], round(hit["score"], 4)) for hit in served]
    assert found == expected(live_shop, photo, ALL)
    assert found != expected(live_shop, photo, default)


def expected(shop: Shop, photo: bytes, config: RankingConfig) -> list[tuple[str, float]]:
    from lookalike.imaging.photos import load_square

    release, index = (fetch(shop.store, ref, shop.cache_dir) for ref in (shop.release, shop.index))
    searcher = open_searcher(release, index, config, threads=1)
    square = load_square(photo, searcher.card.preset.resize)
    (answer,) = searcher.search_all([Query(SearchRequest(k=12), photo=square)])
    return [(hit.listing_id, round(hit.score, 4)) for hit in answer.hits]


def test_show_says_where_each_value_comes_from(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lookalike.toml").write_text(
        '[ranking]\n\nblend = 0.5\n[console]\ntoken = "a secret of the shop"\n[recipes.ours]\nbase = "tiny"\n'
    )
    monkeypatch.setenv("LOOKALIKE_BARE", "1")
    shown = run("--set", "serving.queue_limit=9", "config", "show", "--changed")
    assert shown.code == 0
    lines = [line.split() for line in shown.out.splitlines()]
    assert ["ranking.blend", "0.5", "lookalike.toml:3"] in lines
    assert ["serving.queue_limit", "9", "--set"] in lines
    assert ["recipes.ours.base", "tiny", "lookalike.toml:7"] in lines
    assert ["console.token", "(set)", "lookalike.toml:5"] in lines
    assert "secret of the shop" not in shown.out + run("config", "show", "--json").out
    whole = run("config", "show", "--json").json
    assert whole["file"] == "lookalike.toml"
    settings = whole["settings"]
    assert isinstance(settings, dict)
    assert settings["ranking.colour"] == {"value": 4.0, "from": "default"}
    assert settings["serving.bare"] == {"value": "1", "from": "LOOKALIKE_BARE"}
    assert "serving.queue_limit" not in {name for name, each in settings.items() if each["from"] == "--set"}


def test_a_wrong_file_stops_any_verb_in_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "lookalike.toml").write_text("[retention]\nrecord = 1\n")
    outcome = run("retain", "--store", tmp_path / "store")
    assert outcome.code == 2
    assert outcome.err.strip() == (
        "lookalike: lookalike.toml:2: unknown key of [retention] 'record'; "
        "there are grace_hours, records, releases; did you mean records?"
    )


def test_init_does_not_overwrite(run: Run, tmp_path: Path) -> None:
    assert run("config", "init").code == 0
    assert run("config", "show", "--changed").code == 0
    refused = run("config", "init")
    assert (refused.code, refused.err.strip()) == (
        2,
        "lookalike: lookalike.toml exists; name another file, or overwrite it with --force",
    )
    assert run("config", "init", "--force").code == 0


def test_verbs_take_their_defaults_from_the_file(run: Run, tmp_path: Path, live_shop: Shop) -> None:
    """`train` refuses the file's recipe by name, and `search` blends as the file says."""
    settings = tmp_path / "lookalike.toml"
    settings.write_text('[flows]\nrecipe = "smal_cpu"\n')
    assert "did you mean small_cpu" in run("train", "--store", tmp_path / "store").err
    (tmp_path / "photo.jpg").write_bytes(photo := render("shoes/boot", 30))
    settings.write_text(EVERY_FIELD)
    found = run("search", "photo.jpg", "-k", 12, "--store", live_shop.store.uri, "--json").json["hits"]
    assert isinstance(found, list)
    assert [(hit["listing_id"], round(hit["score"], 4)) for hit in found] == expected(live_shop, photo, ALL)
