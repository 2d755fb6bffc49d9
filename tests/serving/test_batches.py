"""Several searches in one request, photos by address, and answers that explain themselves."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from lookalike.catalogue.web_photos import WebPhotos, WebPolicy
from lookalike.errors import PhotoError, QueryError, QueryUnreachable
from lookalike.serving.access import AccessConfig
from lookalike.serving.config import ServingConfig
from lookalike.serving.web_queries import WebQueries
from tests.serving.running import Running, running
from tests.serving.test_api import VASE, conforms, search
from tests.shop import Shop, render

PHOTO = base64.b64encode(VASE).decode()


def timeless(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name not in ("milliseconds", "query_id")}


def test_a_batch_answers_each_as_alone(client: httpx.Client) -> None:
    boot = base64.b64encode(render("shoes/boot", 3)).decode()
    searches: list[Any] = [
        {"photo": PHOTO, "k": 3},
        {"photo": boot, "filters": {"aspects": {"mark": ["dark"]}}},
        {"listing_id": "3-005", "k": 2},
        {"listing_id": "none"},
        {"k": 0, "listing_id": "3-005"},
        {"photo": base64.b64encode(b"GIF89a").decode()},
        7,
    ]
    reply = client.post("/v1/search/batch", json={"searches": searches})
    assert reply.status_code == 200, reply.text
    body = reply.json()
    conforms(body, "BatchAnswer")
    alone = [client.post("/v1/search", json=each) for each in searches]
    assert [result["status"] for result in body["results"]] == [r.status_code for r in alone]
    assert [r.status_code for r in alone[:4]] == [200, 200, 200, 404]
    for result, one in zip(body["results"], alone, strict=True):
        if one.status_code == 200:
            assert timeless(result["answer"]) == timeless(one.json())
        else:
            assert result["problem"]["type"] == one.json()["type"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"searches": []}, "at least one"),
        ({"searches": [{"listing_id": "3-005"}] * 17}, "at most 16 in one request, not 17"),
        ({"searches": {}}, "the body is not"),
        ([], "the body is not"),
        ({"searches": [{}], "k": 3}, "the body is not"),
    ],
)
def test_what_is_no_batch_is_said(client: httpx.Client, body: Any, said: str) -> None:
    reply = client.post("/v1/search/batch", json=body)
    assert reply.status_code == 400
    assert said in reply.json()["detail"]
    assert client.post("/v1/search/batch", content=VASE).status_code == 400


def test_each_search_of_a_batch_counts(shop: Shop, tmp_path: Path) -> None:
    access = AccessConfig(per_address=0.01, burst=8)
    config = ServingConfig(index=shop.index, notice_seconds=0, access=access)
    with running(shop.store, shop.cache_dir, config) as process:
        batch = {"searches": [{"listing_id": "3-005"}] * 5}
        assert process.client.post("/v1/search/batch", json=batch).status_code == 200
        refused = process.client.post("/v1/search/batch", json=batch)
        assert (refused.status_code, refused.json()["type"]) == (429, "urn:lookalike:problem:rate")
        assert int(refused.headers["Retry-After"]) > 100


def test_an_answer_explains_itself(client: httpx.Client) -> None:
    body = search(client, k=20, explain="true", alpha=0.5).json()
    conforms(body, "Answer")
    said = body["explain"]
    assert (said["route"], said["bits"], said["alpha"]) == ("predicted", 256, 0.5)
    assert set(said["opened"]) == {c["category"] for c in body["categories"] if c["opened"]}
    assert sum(said["opened"].values()) == body["scanned"] >= said["pool"]
    for hit in body["hits"]:
        parts = hit["explain"]
        score = 1.0 if parts["same_photo"] else (parts["appearance"] + parts["aspects"]) / 2
        assert hit["score"] == pytest.approx(score, abs=2e-6)
        assert abs(parts["rescored_distance"] - hit["distance"]) < 40
    for parameters, route in (({"everything": "true"}, "everything"), ({"categories": "home"}, "categories")):
        assert search(client, explain="true", **parameters).json()["explain"]["route"] == route
    like = client.get("/v1/search", params={"listing_id": "3-005", "explain": "true"}).json()
    assert like["explain"]["route"] == "listing"
    assert "explain" not in search(client).json()["hits"][0]


def test_hits_carry_the_aspects_that_are_asked_for(client: httpx.Client, shop: Shop) -> None:
    rows = {row.listing_id: row for row in shop.listings}
    for show in (["*"], ["brand", "mark"], ["material"]):
        hits = search(client, show=show, k=30).json()["hits"]
        for hit in hits:
            stated = {
                n: v for n, v in rows[hit["listing_id"]].aspects.items() if v and (n in show or "*" in show)
            }
            assert hit["aspects"] == stated
    assert "aspects" not in search(client).json()["hits"][0]
    assert "unknown aspect 'brnad'" in search(client, show="brnad").json()["detail"]


class _Site(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.1:9/")
            self.end_headers()
            return
        photo = VASE if self.path == "/vase.jpg" else b""
        self.send_response(200 if photo else 404)
        self.send_header("Content-Type", "image/jpeg")
        self.send_header("Content-Length", str(len(photo)))
        self.end_headers()
        self.wfile.write(photo)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Site)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://shop.example:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def fetching(*, private: bool) -> WebPhotos:
    """Photos of a host whose name leads to this machine, which some may ask."""
    return WebPhotos(WebPolicy(private=private, attempts=1, timeout_s=2), resolve=lambda *_: ["127.0.0.1"])


def test_a_photo_is_fetched_from_a_host_that_is_named(site: str) -> None:
    queries = WebQueries(["shop.example"], 10**6, fetching(private=True))
    queries.check(f"{site}/vase.jpg")
    assert queries.fetch(f"{site}/vase.jpg") == VASE
    with pytest.raises(PhotoError, match="1,000 bytes at most"):
        WebQueries(["*"], 1000, fetching(private=True)).fetch(f"{site}/vase.jpg")
    for address in (
        "https://other.example/a.jpg",
        "file:///etc/passwd",
        "ftp://shop.example/a",
        "http://[",
        "x",
    ):
        with pytest.raises(QueryError):
            queries.check(address)
    with pytest.raises(QueryError, match="fetches no photos"):
        WebQueries([], 1000).check(f"{site}/vase.jpg")


def test_why_there_is_no_photo_is_not_told(site: str) -> None:
    said = set()
    for private, path in ((False, "/vase.jpg"), (True, "/none.jpg"), (True, "/moved")):
        with pytest.raises(QueryUnreachable) as caught:
            WebQueries(["*"], 10**6, fetching(private=private)).fetch(site + path)
        said.add(str(caught.value))
    assert said == {"image_url: no photo could be fetched from there"}


def test_a_search_by_address_is_one_by_its_photo(shop: Shop, site: str) -> None:
    config = ServingConfig(index=shop.index, notice_seconds=0, image_hosts=("shop.example",))
    with running(shop.store, shop.cache_dir, config) as process:
        process.service.web._photos = process.service.web._fixed = fetching(private=True)
        by_photo = search(process.client, k=5)
        for reply in (
            process.client.get("/v1/search", params={"image_url": f"{site}/vase.jpg", "k": 5}),
            process.client.post("/v1/search", json={"image_url": f"{site}/vase.jpg", "k": 5}),
        ):
            assert timeless(reply.json()) == timeless(by_photo.json())
            assert reply.json()["query_id"]
        gone = process.client.get("/v1/search", params={"image_url": f"{site}/none.jpg"})
        assert (gone.status_code, gone.json()["type"]) == (422, "urn:lookalike:problem:image-url")
        assert used(process) == 0


def used(process: Running) -> int:
    return process.service.budget.used
