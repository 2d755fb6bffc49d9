"""`lookalike search` reads filters, numbers and boxes as the HTTP API does."""

from __future__ import annotations

import io
import re
import socket
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lookalike.cli.search_options import OPTIONS
from lookalike.imaging.photos import load_square
from lookalike.publishing import live_ref, publication
from lookalike.ranking.model import BY_NAME
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
    nothing = run("search", store / "vase.jpg", "--store", store / "store", "--seller", "Nobody")
    assert "Nothing was found: no listing of the categories searched passes the filters." in nothing.out
    assert hits(run, store, "--box", "-0.0,1e-7,1.0000001,1") == hits(run, store)


def body(run: Run, store: Path, *options: object) -> Any:
    outcome = run("search", store / "vase.jpg", "--store", store / "store", "--json", "-k", 200, *options)
    assert outcome.code == 0, outcome.err
    return outcome.json


def test_every_parameter_of_an_endpoint_is_an_option() -> None:
    not_of_a_shell = {"query_id", "image_url"}  # a photo is given each time, by its address if it has one
    assert {option.name for option in OPTIONS} == set(BY_NAME) - not_of_a_shell


def test_filters_keep_out_what_they_name(run: Run, store: Path) -> None:
    every = body(run, store, "--category", "home", "--show", "mark")["hits"]
    assert {hit["aspects"]["mark"][0] for hit in every} == {"dark", "light"}
    light = body(run, store, "--category", "home", "--aspect-not", "mark=dark", "--show", "*")["hits"]
    assert {hit["aspects"]["mark"][0] for hit in light} == {"light"}
    assert set(light[0]["aspects"]) == {"brand", "mark", "material"}
    lamps = body(run, store, "--category", "home", "--category-not", "home/vase")["hits"]
    assert lamps
    assert "home/vase" not in {hit["category"] for hit in lamps}
    sold = body(run, store, "--category", "home", "--seller", "North", "--seller", "South")["hits"]
    assert {hit["seller"] for hit in sold} == {"North", "South"}
    others = body(run, store, "--category", "home", "--seller-not", "North")["hits"]
    assert "North" not in {hit["seller"] for hit in others}
    assert others
    ranged = body(run, store, "--category", "home", "--range", "price=6..8")["hits"]
    assert {hit["price"] for hit in ranged} <= {6, 7, 8}
    assert ranged
    shown = every[0]
    left = body(run, store, "--category", "home", "--exclude-group", shown["group"])["hits"]
    assert len(left) == len(every) - 1
    assert shown["group"] not in {hit["group"] for hit in left}


def test_answers_are_sorted_and_come_in_pages(run: Run, store: Path) -> None:
    prices = [hit["price"] for hit in body(run, store, "--category", "home", "--sort", "-price")["hits"]]
    known = [price for price in prices if price is not None]
    assert known == sorted(known, reverse=True)
    assert prices[: len(known)] == known
    first = run("search", store / "vase.jpg", "--store", store / "store", "-k", 1, "--category", "home")
    second = run(
        *("search", store / "vase.jpg", "--store", store / "store", "-k", 1, "--category", "home"),
        *("--offset", 1),
    )
    rows = [
        [line for line in done.out.splitlines() if re.match(r"\d +\d-0", line)] for done in (first, second)
    ]
    assert [row[0][0] for row in rows] == ["1", "2"]
    assert rows[0][0].split()[1] != rows[1][0].split()[1]


def test_facets_are_the_options_that_narrow_the_search(run: Run, store: Path) -> None:
    command = ("search", store / "vase.jpg", "--store", store / "store", "--category", "home")
    counted = run(*command, "--facets")
    assert counted.code == 0, counted.err
    facets = body(run, store, "--category", "home", "--facets")["facets"]
    assert f"facets of the nearest {facets['listings']} listings that pass the filters; price" in counted.out
    for option, count in (
        ("--aspect mark=dark", facets["aspects"]["mark"]["dark"]),
        ("--seller North", facets["seller"]["North"]),
        ("--category home/vase", facets["categories"]["home/vase"]),
    ):
        assert re.search(rf"^ *{count} +{re.escape(option)} *$", counted.out, re.M), option
        within = () if option.startswith("--category") else ("--category", "home")
        assert body(run, store, *within, "--facets", *option.split())["facets"]["listings"] == count
    assert body(run, store)["facets"] is None


def test_an_answer_explains_itself(run: Run, store: Path) -> None:
    told = run(
        "search", store / "vase.jpg", "--store", store / "store", "--explain", "--category", "home/vase"
    )
    assert told.code == 0, told.err
    assert "opened: route categories, pool" in told.out
    assert re.search(r"^# +listing +score +rescored distance +appearance", told.out, re.M)
    found = body(run, store, "--explain")
    assert found["explain"]["route"] == "predicted"
    assert 0 <= found["hits"][0]["explain"]["appearance"] <= 1
    assert "explain" not in body(run, store)["hits"][0]


def test_help_teaches_how_to_narrow(run: Run) -> None:
    said = " ".join(re.sub("[│╭╮╰╯─]", " ", run("search", "--help").out).split())
    for option in OPTIONS:
        assert f"{option.flag} " in said
    assert "--range size=40..42.5 --seller North --sort price" in said
    assert "Those that state none pass." in said


def test_a_photo_comes_from_a_file_a_pipe_or_an_address(
    run: Run, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = hits(run, store)
    photo = (store / "vase.jpg").read_bytes()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(photo)))
    piped = run("search", "-", "--store", store / "store", "--json")
    assert [hit["listing_id"] for hit in piped.json["hits"]] == expected  # type: ignore[attr-defined]
    handler = partial(SimpleHTTPRequestHandler, directory=str(store))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        at = f"http://127.0.0.1:{server.server_port}"
        fetched = run("search", f"{at}/vase.jpg", "--store", store / "store", "--json")
        gone = run("search", f"{at}/none.jpg", "--store", store / "store")
        server.shutdown()
    assert [hit["listing_id"] for hit in fetched.json["hits"]] == expected  # type: ignore[attr-defined]
    assert gone.code == 1
    assert "none.jpg: File not found" in gone.err.replace("Not Found", "File not found")


def test_a_listing_is_searched_with_its_own_photo(run: Run, store: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    outcome = run(
        *("search", "--listing", "3-000", "--store", store / "store", "--json", "--sheet", sheet, "-k", 3)
    )
    found = outcome.json["hits"]
    assert isinstance(found, list)
    assert {hit["category"] for hit in found} == {"home/vase"}
    assert "3-000" not in {hit["listing_id"] for hit in found}
    assert sheet.read_bytes().startswith(b"\x89PNG")
    for wrong in (["photo.jpg", "--listing", "3-000"], ["--listing", "3-000", "--box", "0,0,1,1"], []):
        refused = run("search", *wrong, "--store", store / "store")
        assert refused.code == 1
        assert "--listing" in refused.err
    nobody = run("search", "--listing", "nobody", "--store", store / "store")
    assert "unknown listing: nobody" in nobody.err


def test_a_port_that_is_taken_is_found_before_anything_is_read(run: Run, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        outcome = run("serve", "--port", port, "--store", tmp_path / "empty")
    assert outcome.code == 2
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use; --port takes another" in outcome.err


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
        (("--range", "size"), "ranges: 'size' is not of the form name=low..high"),
        (("--range", "mrak=1..2"), "unknown aspect 'mrak'; did you mean 'mark'?"),
        (("--show", "colour"), "unknown aspect 'colour'"),
        (("--category-not", "home/vaze"), "unknown category 'home/vaze'"),
        (("--sort", "cheapest"), "sort is price or -price or weight or -weight, not 'cheapest'"),
        (("--everything", "--category", "home"), "everything: leave it out where categories are named"),
    ],
)
def test_what_is_wrong_with_a_search_is_one_line(
    run: Run, store: Path, options: tuple[str, ...], said: str
) -> None:
    outcome = run("search", store / "vase.jpg", "--store", store / "store", *options)
    assert outcome.code in (1, 2)
    assert outcome.err.startswith(f"lookalike: {said}")
    assert outcome.err.count("\n") == 1


def test_hits_have_their_titles_and_nothing_is_cut_in_a_pipe(run: Run, store: Path) -> None:
    done = run("search", "--listing", "3-003", "-k", 2, "--store", store / "store")
    assert done.code == 0
    lines = [line for line in done.out.splitlines() if re.match(r"\d +3-00", line)]
    assert len(lines) == 2
    assert all("Vase no. " in line and "home/vase" in line for line in lines)
    assert "…" not in done.out
