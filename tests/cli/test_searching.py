"""`lookalike search` reads filters, numbers and boxes as the HTTP API does."""

from __future__ import annotations

from pathlib import Path

import pytest

from lookalike.imaging.photos import load_square
from lookalike.publishing import live_ref, publication
from lookalike.ranking.request import Query, SearchRequest
from lookalike.ranking.search import open_searcher
from lookalike.storage.artefacts import fetch
from lookalike.storage.directory import DirectoryStore
from tests.cli.conftest import Run
from tests.shop import SIDE, open_shop, render


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a small shop that is live."""
    folder = tmp_path_factory.mktemp("searched")
    shop = open_shop(DirectoryStore(folder / "store"), folder / "cache", per_category=6)
    publication.publish_index(shop.store, shop.index, by="test", cache_dir=shop.cache_dir)
    (folder / "vase.jpg").write_bytes(render("home/vase", 5))
    return folder


def hits(run: Run, store: Path, *options: str) -> list[str]:
    outcome = run("search", store / "vase.jpg", "--store", store / "store", "--json", *options)
    assert outcome.code == 0, outcome.err
    found = outcome.json["hits"]
    assert isinstance(found, list)
    return [hit["listing_id"] for hit in found]


def test_filters_of_a_search(run: Run, store: Path) -> None:
    every = hits(run, store, "--category", "home/vase")
    dark = hits(run, store, "--category", "home/vase", "--aspect", "mark=dark", "--price", "1e-7..1e3")
    assert 0 < len(dark) < len(every)
    assert hits(run, store, "--aspect", "mark=purple") == []
    assert hits(run, store, "--box", "-0.0,1e-7,1.0000001,1") == hits(run, store)


def test_a_box_is_searched_for_with_its_margin_as_over_http(run: Run, store: Path) -> None:
    opened = DirectoryStore(store / "store")
    live = live_ref.read_live(opened)
    assert live is not None
    searcher = open_searcher(
        *(fetch(opened, ref, store / "cache") for ref in (live.live.release, live.live.index)), threads=1
    )
    square = load_square((store / "vase.jpg").read_bytes(), SIDE, box=(0.2, 0.0, 0.6, 0.55))
    (expected,) = searcher.search_all([Query(SearchRequest(k=12), photo=square)])
    outcome = run(
        *("search", store / "vase.jpg", "--store", store / "store", "--json", "--box", "0.25,0,0.5,0.5")
    )
    found = outcome.json["hits"]
    assert isinstance(found, list)
    assert [(hit["listing_id"], hit["distance"]) for hit in found] == [
        (hit.listing_id, hit.distance) for hit in expected.hits
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ("--aspect", "marks=dark"),
            "unknown aspect 'marks'; did you mean 'mark'? There are brand, mark, material",
        ),
        (("--aspect", "dark"), "aspects: 'dark' is not of the form name=value"),
        (("--box", "0,0,1e999,1"), "box: '1e999' is larger than a number can be"),
        (("--box", "0,0,nan,1"), "box: 'nan' is not a finite number"),
        (("--price", "cheap"), "price: give a range"),
    ],
)
def test_what_is_wrong_with_a_search_is_one_line(
    run: Run, store: Path, options: tuple[str, ...], said: str
) -> None:
    outcome = run("search", store / "vase.jpg", "--store", store / "store", *options)
    assert outcome.code in (1, 2)
    assert outcome.err.startswith(f"lookalike: {said}")
    assert outcome.err.count("\n") == 1
