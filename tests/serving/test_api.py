"""The HTTP API as clients see it, held against its own openapi.json."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from openapi_spec_validator import validate
from PIL import Image
from starlette.routing import Route

from lookalike.ranking.model import PARAMETERS
from lookalike.serving import app
from lookalike.serving.description import openapi
from lookalike.serving.observing import JsonFormatter
from tests.serving.running import Running, eventually
from tests.shop import Shop, render

API = openapi()
WEB = Path(app.__file__).parent / "web"
VASE = render("home/vase", 5)
JPEG = {"Content-Type": "image/jpeg"}


def search(client: httpx.Client, body: bytes = VASE, **parameters: Any) -> httpx.Response:
    return client.post("/v1/search", params=parameters, content=body, headers=JPEG)


def closed(schema: Any) -> Any:
    """A schema whose objects have the fields that it names and no others: what this version answers with."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: closed(value) for name, value in schema.items()}
    return {"additionalProperties": False, **found} if isinstance(found.get("properties"), dict) else found


CLOSED = closed(API["components"])


def conforms(body: object, schema: str) -> None:
    jsonschema.validate(
        body, {"$ref": f"#/components/schemas/{schema}", "components": CLOSED},
        cls=jsonschema.Draft202012Validator,
    )  # fmt: skip


def test_the_description_is_valid_and_names_every_route_and_parameter(process: Running) -> None:
    validate(API)
    routes = {r.path.replace(":path", "") for r in process.service.routes() if isinstance(r, Route)}
    assert set(API["paths"]) == routes
    described = [p["name"] for p in API["paths"]["/v1/search"]["post"]["parameters"]]
    assert described == [parameter.name for parameter in PARAMETERS]
    assert process.client.get("/openapi.json").json() == API


def test_replies_may_gain_fields_and_requests_may_not() -> None:
    """A generated client must not refuse what a later version adds."""
    asked = {"Search", "Batch"}
    schemas = {n: schema for n, schema in API["components"]["schemas"].items() if n not in asked}
    assert '"additionalProperties": false' not in json.dumps(schemas)
    assert API["components"]["schemas"]["Search"]["additionalProperties"] is False


def test_a_photo_finds_its_look_alikes(client: httpx.Client, shop: Shop) -> None:
    reply = search(client, k=5, alpha=1)
    assert reply.status_code == 200
    body = reply.json()
    conforms(body, "Answer")
    assert len(body["hits"]) == 5
    assert body["hits"][0]["group"] == "home/vase#2", "listing 3-005 or its product's other photo"
    assert body["hits"][0]["title"].startswith("Vase no. ")
    assert body["categories"][0] == {"category": "home/vase", "probability": 1.0, "opened": True}
    assert (body["release"], body["index"]) == (str(shop.release), str(shop.index))
    assert {"receive", "decode", "wait", "encode", "aspects", "scan", "rank", "total"} == set(
        body["milliseconds"]
    )
    assert reply.headers["cache-control"] == "no-store"


def test_a_form_and_a_raw_body_are_answered_alike(client: httpx.Client) -> None:
    raw = search(client, k=7, price="..20").json()
    form = client.post(
        "/v1/search", files={"photo": ("vase.jpg", VASE)}, data={"k": "7", "price": "..20"}
    ).json()
    assert raw["hits"] == form["hits"]
    assert raw["hits"]


def test_parameters_reach_the_search(client: httpx.Client) -> None:
    body = search(client, categories=["shoes", "home/lamp"], aspects=["mark=dark", "brand=Bolt"], k=50).json()
    assert {c["category"] for c in body["categories"] if c["opened"]} == {
        "home/lamp",
        "shoes/boot",
        "shoes/sandal",
    }
    details = [client.get(f"/v1/listings/{hit['listing_id']}").json() for hit in body["hits"]]
    assert details
    assert all(d["aspects"]["mark"] == ["dark"] and d["aspects"]["brand"] == ["Bolt"] for d in details)
    first = body["hits"][0]["listing_id"]
    without = search(
        client, categories=["shoes", "home/lamp"], aspects=["mark=dark", "brand=Bolt"], exclude=first
    )
    assert first not in [hit["listing_id"] for hit in without.json()["hits"]]


def test_the_box_chooses_the_part_that_is_searched(client: httpx.Client) -> None:
    left, right = (Image.open(io.BytesIO(render(c, 5))) for c in ("home/vase", "shoes/boot"))
    both = Image.new("RGB", (192, 96))
    both.paste(left, (0, 0))
    both.paste(right, (96, 0))
    out = io.BytesIO()
    both.save(out, "PNG")
    for box, category in (("0,0,0.5,1", "home/vase"), ("0.5,0,0.5,1", "shoes/boot")):
        assert search(client, out.getvalue(), box=box).json()["categories"][0]["category"] == category


def test_more_like_a_listing_needs_no_photo(client: httpx.Client) -> None:
    reply = client.post("/v1/search", params={"listing_id": "3-005", "k": 4})
    conforms(reply.json(), "Answer")
    assert {hit["category"] for hit in reply.json()["hits"]} == {"home/vase"}
    assert "home/vase#2" not in [hit["group"] for hit in reply.json()["hits"]]
    every = client.post("/v1/search", params={"listing_id": "3-005", "k": 4, "photos": "all"})
    assert every.json()["hits"] == reply.json()["hits"], "it has one photo"
    assert client.post("/v1/search", params={"listing_id": "3-005", "photos": "some"}).status_code == 400


@pytest.mark.parametrize(
    ("status", "kind", "body", "parameters"),
    [
        (400, "photo-empty", b"", {}),
        (415, "photo-type", b"%PDF-1.7 not taken", {}),
        (422, "photo-truncated", VASE[: len(VASE) // 2], {}),
        (400, "query", VASE, {"k": "0"}),
        (400, "query", VASE, {"k": "many"}),
        (400, "query", VASE, {"k": "²"}),
        (400, "query", VASE, {"categories": "garden"}),
        (400, "query", VASE, {"colour": "red"}),
        (400, "query", VASE, {"aspects": "red"}),
        (400, "query", VASE, {"price": "10"}),
        (400, "query", VASE, {"price": "20..10"}),
        (400, "query", VASE, {"price": "nan.."}),
        (400, "query", VASE, {"box": "0,0,2,1"}),
        (400, "query", VASE, {"box": "0,0,0,0"}),
        (400, "query", VASE, {"alpha": "1.5"}),
        (400, "query", VASE, {"listing_id": "3-005"}),
        (404, "not-found", b"", {"listing_id": "none such"}),
    ],
)
def test_what_is_wrong_is_said_as_problem_details(
    client: httpx.Client, status: int, kind: str, body: bytes, parameters: dict[str, str]
) -> None:
    reply = search(client, body, **parameters)
    assert reply.status_code == status
    assert reply.headers["content-type"].startswith("application/problem+json")
    conforms(reply.json(), "Problem")
    assert reply.json()["type"] == f"urn:lookalike:problem:{kind}"
    assert reply.json()["request_id"] == reply.headers["x-request-id"]
    assert str(status) in API["paths"]["/v1/search"]["post"]["responses"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/search", 400),
        ("PUT", "/v1/search", 405),
        ("POST", "/readyz", 405),
        ("GET", "/v2", 404),
        ("GET", "/v1/listings/none", 404),
        ("GET", "/v1/photos/" + "0" * 32, 404),
        ("GET", "/v1/photos/caf%C3%A9", 404),
        ("GET", "/v1/photos/..%2F..%2Fetc", 404),
        ("GET", "/web/../app.py", 404),
        ("GET", "/web/%2e%2e/app.py", 404),
    ],
)
def test_other_errors_are_problem_details_too(
    client: httpx.Client, method: str, path: str, status: int
) -> None:
    reply = client.request(method, path)
    assert reply.status_code == status
    conforms(reply.json(), "Problem")


def test_listing_and_catalogue(client: httpx.Client, shop: Shop) -> None:
    listing = client.get("/v1/listings/3-005").json()
    conforms(listing, "Listing")
    row = next(row for row in shop.listings if row.listing_id == "3-005")
    assert listing["title"] == row.title
    assert listing["photo_id"] == row.photo_id
    assert listing["photos"] == [row.photo_id]
    assert listing["aspects"] == {"mark": ["dark"], "material": ["cotton"]}
    catalogue = client.get("/v1/catalogue").json()
    conforms(catalogue, "Catalogue")
    assert catalogue["listings"] == len(shop.listings)
    assert catalogue["aspects"]["mark"] == {"dark": 72, "light": 72}
    assert catalogue["price"] == {"from": 5, "to": 28}


def test_thumbnails_are_sized_and_cached_for_ever(client: httpx.Client, shop: Shop) -> None:
    photo_id = shop.listings[0].photo_id
    reply = client.get(f"/v1/photos/{photo_id}", params={"size": 50})
    assert reply.headers["content-type"] == "image/jpeg"
    assert "immutable" in reply.headers["cache-control"]
    assert Image.open(io.BytesIO(reply.content)).size == (96, 96)
    again = client.get(f"/v1/photos/{photo_id}?size=96", headers={"If-None-Match": reply.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get(f"/v1/photos/{photo_id}", params={"size": "huge"}).status_code == 400


def test_the_page_and_its_parts_ask_nobody_else(client: httpx.Client) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    names = sorted(path.name for path in WEB.iterdir() if path.name not in ("index.html", "client.js"))
    assert {"app.js", "style.css", "icon.svg"} <= set(names)
    for name in names:
        part = client.get(f"/web/{name}")
        assert part.status_code == 200
        outside = part.text.replace("http://www.w3.org/2000/svg", "")
        assert "http:" not in outside
        assert "https:" not in outside


def test_metrics_count_requests_and_time_stages(process: Running) -> None:
    search(process.client)
    text = process.client.get("/metrics").text
    assert 'lookalike_requests_total{method="POST",route="/v1/search",status="200"}' in text
    for stage in ("decode", "encode", "scan", "rank", "total"):
        assert f'lookalike_search_stage_seconds_count{{stage="{stage}"}}' in text
    assert "process_resident_memory_bytes" in text
    assert "lookalike_ready 1.0" in text
    assert 'lookalike_index_bytes{state="resident"}' in text
    assert "lookalike_queue_queries 0.0" in text


def test_requests_are_logged_as_json_without_the_photo(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="lookalike.access"):
        reply = client.post(
            "/v1/search", params={"k": 3}, content=VASE, headers={"X-Request-ID": "from-the-shop"}
        )
        eventually(lambda: caplog.records)  # the line is written when the reply is out
    assert reply.headers["x-request-id"] == "from-the-shop"
    lines = [JsonFormatter().format(record) for record in caplog.records]
    (line,) = [json.loads(text) for text in lines if "from-the-shop" in text]
    assert (line["status"], line["hits"], line["photo_bytes"]) == (200, 3, len(VASE))
    assert max(map(len, lines)) < 1000


def test_a_request_id_that_is_not_one_is_replaced(client: httpx.Client) -> None:
    reply = client.get("/livez", headers={"X-Request-ID": 'a" onload="x'})
    assert len(reply.headers["x-request-id"]) == 32
