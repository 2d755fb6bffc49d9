"""A cluttered photo's second look in the queue: the same answer, and nobody else waits for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from lookalike.errors import PhotoError
from lookalike.imaging.photos import Box, load_square
from lookalike.ranking.request import Answer, Query, SearchRequest
from lookalike.ranking.search import Searcher, open_searcher
from lookalike.serving.batching import SearchQueue
from lookalike.serving.decoding import DecodingTurns
from lookalike.serving.metrics import Metrics
from lookalike.storage.artefacts import fetch
from tests.clutter import Sighted, vase_in_the_street
from tests.serving.running import eventually
from tests.shop import SIDE, Shop, render

STREET, CLEAN = vase_in_the_street(), render("home/vase", 7)


@pytest.fixture
def searcher(shop: Shop) -> Searcher:
    files = (fetch(shop.store, ref, shop.cache_dir) for ref in (shop.release, shop.index))
    plain = open_searcher(*files, threads=1)
    return Searcher(Sighted(plain.encoder), plain.listings, aspects=plain.aspects)


def query(photo: bytes, part: Callable[[Box], NDArray[np.uint8]] | None = None) -> Query:
    def of_photo(box: Box) -> NDArray[np.uint8]:
        return load_square(photo, SIDE, box=box)

    return Query(SearchRequest(), photo=load_square(photo, SIDE), part=part or of_photo)


@asynccontextmanager
async def started() -> AsyncIterator[SearchQueue]:
    queue = SearchQueue(8, 4, Metrics(), DecodingTurns(1, 1, Metrics()), decoders=1)
    queue.start()
    try:
        yield queue
    finally:
        await asyncio.to_thread(queue.stop)


def without_times(answer: Answer) -> Answer:
    return replace(answer, milliseconds={})


def test_the_answer_is_that_of_all_looks_together(searcher: Searcher) -> None:
    async def ask() -> Answer:
        async with started() as queue:
            return await queue.search(searcher, lambda: query(STREET), time.monotonic() + 60)

    answer = asyncio.run(ask())
    (expected,) = searcher.search_all([query(STREET)])
    assert without_times(answer) == without_times(expected)
    assert answer.box is not None
    assert {"decode", "wait", "encode", "closer"} <= set(answer.milliseconds)


def test_nobody_else_waits_for_parts(searcher: Searcher) -> None:
    """The clean photo is answered while the parts of the other, which came before it, are still being decoded."""
    answered = []

    def slow_part(box: Box) -> NDArray[np.uint8]:
        eventually(lambda: answered)
        return load_square(STREET, SIDE, box=box)

    async def ask() -> Answer:
        async with started() as queue:
            until = time.monotonic() + 60
            street = asyncio.ensure_future(queue.search(searcher, lambda: query(STREET, slow_part), until))
            answered.append(await queue.search(searcher, lambda: query(CLEAN), until))
            assert not street.done()
            return await street

    assert asyncio.run(ask()).box is not None
    assert answered[0].hits[0].category == "home/vase"


def test_a_second_look_that_comes_too_late_leaves_the_answer_to_the_whole(searcher: Searcher) -> None:
    deadline = 0.0

    def late_part(box: Box) -> NDArray[np.uint8]:
        eventually(lambda: time.monotonic() > deadline)
        return load_square(STREET, SIDE, box=box)

    async def ask() -> Answer:
        nonlocal deadline
        async with started() as queue:
            deadline = time.monotonic() + 2
            return await queue.search(searcher, lambda: query(STREET, late_part), deadline)

    answer = asyncio.run(ask())
    assert answer.hits
    assert answer.box is None


def test_a_photo_whose_parts_cannot_be_read_has_the_answer_to_the_whole(searcher: Searcher) -> None:
    def damaged(box: Box) -> NDArray[np.uint8]:
        raise PhotoError("damaged", "gone")

    async def ask() -> Answer:
        async with started() as queue:
            return await queue.search(searcher, lambda: query(STREET, damaged), time.monotonic() + 60)

    answer = asyncio.run(ask())
    assert answer.hits
    assert answer.box is None


def test_an_error_of_a_part_is_its_photos_alone(searcher: Searcher) -> None:
    def broken(box: Box) -> NDArray[np.uint8]:
        raise ZeroDivisionError

    async def ask() -> Answer:
        async with started() as queue:
            until = time.monotonic() + 60
            with pytest.raises(ZeroDivisionError):
                await queue.search(searcher, lambda: query(STREET, broken), until)
            return await queue.search(searcher, lambda: query(CLEAN), until)

    assert asyncio.run(ask()).hits


def test_a_queue_that_stops_finishes_second_looks(searcher: Searcher) -> None:
    looking, stopping = [], []

    def slow_part(box: Box) -> NDArray[np.uint8]:
        looking.append(box)
        eventually(lambda: stopping)
        return load_square(STREET, SIDE, box=box)

    async def ask() -> Answer:
        async with started() as queue:
            street = asyncio.ensure_future(
                queue.search(searcher, lambda: query(STREET, slow_part), time.monotonic() + 60)
            )
            await asyncio.to_thread(eventually, lambda: looking)
            ended = asyncio.ensure_future(asyncio.to_thread(queue.stop))
            await asyncio.sleep(0.1)
            stopping.append(True)
            await ended
            return await street

    assert asyncio.run(ask()).box is not None
