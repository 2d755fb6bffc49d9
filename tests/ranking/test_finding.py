"""Boxes of what is in a frame, and the second look at a cluttered one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from lookalike.errors import PhotoError, SettingsError
from lookalike.imaging.photos import Box, load_square
from lookalike.ranking.finding import boxes_in
from lookalike.ranking.request import Answer, Query, RankingConfig, SearchRequest
from lookalike.ranking.search import Searcher, open_searcher
from lookalike.storage.artefacts import fetch
from tests.clutter import CELLS, Sighted, vase_in_the_street
from tests.shop import SIDE, Shop, render


def seen(*places: tuple[slice, slice, float]) -> NDArray[np.float32]:
    regions = np.full((CELLS, CELLS), 0.1, np.float32)
    for rows, columns, value in places:
        regions[rows, columns] = value
    return regions


def test_a_box_holds_what_differs_most_from_what_is_around_it() -> None:
    (first, *_) = boxes_in(seen((slice(1, 5), slice(2, 4), 0.6)))
    assert first == (2 / 8, 1 / 8, 2 / 8, 4 / 8)


def test_boxes_are_of_other_extents_or_places() -> None:
    boxes = boxes_in(seen((slice(0, 4), slice(0, 4), 0.9), (slice(6, 8), slice(6, 8), 0.7)))
    assert boxes[0] == (0, 0, 0.5, 0.5)
    assert len(set(boxes)) == 3
    assert boxes_in(seen((slice(0, 4), slice(0, 4), 0.9)), 1) == boxes[:1]


def test_a_finer_map_is_averaged() -> None:
    fine = np.kron(seen((slice(2, 4), slice(2, 4), 0.6)), np.ones((2, 2), np.float32))
    assert boxes_in(fine)[0] == (0.25, 0.25, 0.25, 0.25)


def test_an_even_frame_and_one_of_which_nothing_is_known_have_no_box() -> None:
    assert boxes_in(np.full((7, 7), 0.4, np.float32)) == ()
    assert boxes_in(np.zeros((0, 0), np.float32)) == ()


@pytest.fixture(scope="module")
def plain(shop: Shop) -> Searcher:
    release, index = (fetch(shop.store, ref, shop.cache_dir) for ref in (shop.release, shop.index))
    return open_searcher(release, index, threads=1)


Ask = Callable[..., Answer]


@pytest.fixture
def sighted(plain: Searcher) -> Sighted:
    return Sighted(plain.encoder)


@pytest.fixture
def ask(plain: Searcher, sighted: Sighted) -> Ask:
    def asked(photo: bytes, config: RankingConfig | None = None, *, whole: bool = False) -> Answer:
        searcher = Searcher(sighted, plain.listings, config, aspects=plain.aspects)

        def part(box: Box) -> NDArray[np.uint8]:
            return load_square(photo, SIDE, box=box)

        query = Query(SearchRequest(), photo=load_square(photo, SIDE), part=None if whole else part)
        return searcher.search_all([query])[0]

    return asked


def test_a_cluttered_photo_is_searched_by_its_boxes_too(ask: Ask, sighted: Sighted) -> None:
    answer, whole = ask(vase_in_the_street()), ask(vase_in_the_street(), whole=True)
    assert answer.hits[0].category == "home/vase"
    assert whole.hits[0].category != "home/vase"
    assert answer.box in answer.boxes
    assert answer.nearest is not None
    assert whole.nearest is not None
    assert answer.nearest < whole.nearest
    assert "closer" in answer.milliseconds
    assert whole.box is None
    assert whole.boxes == answer.boxes
    assert sighted.passes == 3, "the boxes share one pass"


def test_a_clean_photo_is_searched_once(ask: Ask, sighted: Sighted) -> None:
    answer = ask(render("home/vase", 5))
    assert answer.box is None
    assert "closer" not in answer.milliseconds
    assert sighted.passes == 1


def test_no_box_is_searched_where_none_is_wanted(ask: Ask, sighted: Sighted) -> None:
    answer = ask(vase_in_the_street(), RankingConfig(boxes=0))
    assert answer.box is None
    assert answer.boxes
    assert sighted.passes == 1
    with pytest.raises(SettingsError, match="boxes"):
        RankingConfig(boxes=4)


def test_a_part_that_cannot_be_read_leaves_the_answer_to_the_whole(plain: Searcher, sighted: Sighted) -> None:
    def part(box: Box) -> NDArray[np.uint8]:
        raise PhotoError("damaged", "gone")

    searcher = Searcher(sighted, plain.listings, aspects=plain.aspects)
    photo = load_square(vase_in_the_street(), SIDE)
    (answer,) = searcher.search_all([Query(SearchRequest(), photo=photo, part=part)])
    assert answer.hits
    assert answer.box is None
