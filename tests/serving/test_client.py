"""The Python client, asked of the real server."""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Iterator
from inspect import signature
from pathlib import Path

import pytest

from lookalike.client import Answer, ApiError, Client, ClientError
from lookalike.errors import QueryError
from lookalike.ranking.model import BY_NAME
from lookalike.serving import keys
from lookalike.serving.access import AccessConfig
from lookalike.serving.config import ServingConfig
from lookalike.storage.directory import DirectoryStore
from tests.serving.running import Running, running
from tests.shop import Shop, go_live, open_shop, render

PHOTO = render("home/vase", 4)


@pytest.fixture(scope="module")
def client(process: Running) -> Iterator[Client]:
    with Client(f"http://127.0.0.1:{process.port}/") as client:
        yield client


def test_a_photo_is_given_as_path_bytes_or_file(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "vase.jpg"
    path.write_bytes(PHOTO)
    answers = [client.search(photo, k=5) for photo in (path, str(path), PHOTO, io.BytesIO(PHOTO))]
    assert [[hit.listing_id for hit in answer] for answer in answers] == [
        [hit.listing_id for hit in answers[0]]
    ] * 4
    assert len(answers[0]) == 5
    assert answers[0][0].category == "home/vase"
    assert answers[0][0].title


def test_parameters_of_every_kind_arrive(client: Client) -> None:
    answer = client.search(
        PHOTO,
        k=4,
        offset=1,
        categories=["home/vase", "home/lamp"],
        aspects={"mark": "dark", "brand": ["Acme", "Bolt & Co"]},
        price=(6, None),
        box=(0.0, 0.0, 1.0, 0.9),
        text="of Acme",
        facets=True,
        exclude=["3-005"],
        alpha=0.5,
        sort=None,
    )
    for hit in answer:
        assert hit.category in ("home/vase", "home/lamp")
        assert hit.price is not None
        assert hit.price >= 6
        assert client.listing(hit.listing_id).aspects["mark"] == ["dark"]
    assert answer.facets
    assert answer.text
    assert answer.facets["listings"] > 0
    assert answer.text["wishes"][0]["words"] == "Acme"


def test_every_parameter_of_an_endpoint_is_sent(client: Client) -> None:
    named = set(signature(Client.search).parameters) - {"self", "photo", "parameters"}
    assert named == set(BY_NAME) - {"query_id", "image_url", "photos", "alpha", "colour", "least_likeness"}
    whole = client.search(PHOTO, categories="home", k=200)
    found = client.search(
        PHOTO, categories=["home"], categories_not=["home/lamp"], aspects_not={"mark": ["dark"]},
        ranges={"price": (6, None)}, seller_not="South", sort="price", show="mark", explain=True, k=200,
        exclude_group=[whole[0].group], query_id=None, alpha=0, photos="main",
    )  # fmt: skip
    assert 0 < len(found) < len(whole)
    for hit in found:
        assert hit.category != "home/lamp"
        assert hit.aspects == {"mark": ["light"]}
        assert hit.explain
        assert hit.seller != "South"
        assert hit.group != whole[0].group
    prices = [hit.price for hit in found]
    assert prices == sorted(price for price in prices if price is not None and price >= 6)
    assert found.explain
    assert found.explain["alpha"] == 0
    assert found.box is None
    assert whole.facets is whole.explain is whole[0].aspects is None
    with pytest.raises(QueryError, match="ranges: price: give the lowest and the highest"):
        client.search(PHOTO, ranges={"price": 6})  # type: ignore[dict-item]


def test_by_listing_with_its_photo_and_what_there_is(client: Client) -> None:
    answer = client.search(listing_id="3-004", k=3)
    assert all(hit.group != "home/vase#2" for hit in answer)
    assert client.photo(answer[0].photo_id, size=96)[:3] == b"\xff\xd8\xff"
    assert client.photo_url("ab/c").endswith("/v1/photos/ab%2Fc?size=240")
    assert client.catalogue()["categories"]["home/vase"] == 24


def test_errors_are_those_of_the_api(client: Client) -> None:
    with pytest.raises(ApiError, match="unknown listing") as missing:
        client.listing("no such/thing")
    assert missing.value.status == 404
    assert missing.value.type == "urn:lookalike:problem:not-found"
    assert missing.value.request_id
    with pytest.raises(ApiError, match="unknown parameter 'kk'"):
        client.search(PHOTO, kk=3)
    with pytest.raises(ApiError) as broken:
        client.search(PHOTO[:200])
    assert broken.value.status == 422


def test_fields_that_are_new_do_not_break_it() -> None:
    hit = {
        "listing_id": "a", "photo_id": "b", "photo_ordinal": 0, "category": "c", "score": 1.0, "distance": 0,
        "group": "g", "shoe_size": 41,
    }  # fmt: skip
    body = {"hits": [hit], "categories": [], "aspects": {}, "release": "r", "index": "i", "mood": "good"}
    answer = Answer.read(body)
    assert answer.more == {"mood": "good"}
    assert answer[0].more == {"shoe_size": 41}
    with pytest.raises(ClientError, match="no reply of a search endpoint"):
        Answer.read({"hits": []})


def test_a_key_is_shown(shop: Shop, tmp_path: Path) -> None:
    key = keys.new_key()
    file = tmp_path / "keys.txt"
    file.write_text(keys.line_of(key, "shop", ("search",)) + "\n")
    config = ServingConfig(index=shop.index, notice_seconds=0, access=AccessConfig(keys_file=file))
    with running(shop.store, shop.cache_dir, config) as process:
        address = f"http://127.0.0.1:{process.port}"
        assert len(Client(address, key=key).search(listing_id="3-004", k=2)) == 2
        with pytest.raises(ApiError) as refused:
            Client(address).search(listing_id="3-004")
        assert refused.value.status == 401


def test_a_busy_endpoint_is_asked_again_as_long_as_it_says(tmp_path: Path) -> None:
    """One that has nothing to serve yet answers 503; a second later it has."""
    shop = open_shop(DirectoryStore(tmp_path / "store"), tmp_path / "cache", per_category=4)
    with running(shop.store, shop.cache_dir, wait=False) as process:
        address = f"http://127.0.0.1:{process.port}"
        with pytest.raises(ApiError) as busy:
            Client(address, retries=0).search(listing_id="3-001")
        assert (busy.value.status, busy.value.retry_after) == (503, 2)
        started = time.monotonic()
        with pytest.raises(ApiError):
            Client(address, retries=2, longest_wait=0.05).catalogue()
        assert time.monotonic() - started < 2, "it waited longer than it was allowed to"
        threading.Timer(0.2, go_live, [shop]).start()
        assert len(Client(address, retries=5, longest_wait=1).search(PHOTO, k=2)) == 2


def test_nobody_there_is_one_error_after_a_while() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:  # takes connections and says nothing
        client = Client(f"http://127.0.0.1:{mute.getsockname()[1]}", timeout=0.2, retries=1)
        with pytest.raises(ClientError, match="cannot be asked"):
            client.catalogue()
    with pytest.raises(ClientError, match="cannot be asked"):
        Client("http://127.0.0.1:9", retries=0, timeout=1).catalogue()
