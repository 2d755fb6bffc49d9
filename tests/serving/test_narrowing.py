"""Filters, facets and sorting over HTTP: said in a query string or in JSON, they are the same search."""

from __future__ import annotations

import base64
from collections import Counter
from typing import Any

import httpx
import jsonschema
import pytest

from tests.serving.test_api import API, VASE, conforms
from tests.shop import Listing, Shop

PHOTO = base64.b64encode(VASE).decode()
Parameters = dict[str, Any]


def answer(reply: httpx.Response) -> dict[str, Any]:
    assert reply.status_code == 200, reply.text
    body: dict[str, Any] = reply.json()
    conforms(body, "Answer")
    del body["milliseconds"], body["query_id"]  # the second says when it ends
    return body


def by_text(client: httpx.Client, **parameters: Any) -> dict[str, Any]:
    return answer(client.post("/v1/search", params=parameters, content=VASE))


def by_json(client: httpx.Client, body: Parameters) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Search", "components": API["components"]}
    jsonschema.validate(body, schema, cls=jsonschema.Draft202012Validator)
    return answer(client.post("/v1/search", json=body))


SAME: list[tuple[Parameters, Parameters]] = [
    ({"k": 7, "offset": 2, "alpha": 0.5}, {"k": 7, "offset": 2.0, "alpha": 0.5}),
    (
        {"aspects": ["mark=dark", "brand=Acme", "brand=Bolt"]},
        {"filters": {"aspects": {"mark": ["dark"], "brand": ["Acme", "Bolt"]}}},
    ),
    ({"aspects_not": ["brand=Acme"]}, {"filters": {"not": {"aspects": {"brand": ["Acme"]}}}}),
    ({"price": "7..20"}, {"filters": {"price": {"from": 7, "to": 20}}}),
    ({"price": "..1e1"}, {"filters": {"price": {"to": 10.0}}}),
    ({"ranges": "price=7..20"}, {"filters": {"ranges": {"price": {"from": 7, "to": 20}}}}),
    (
        {"seller": ["North", "South"], "availability_not": "sold out"},
        {"filters": {"seller": ["North", "South"], "not": {"availability": ["sold out"]}}},
    ),
    (
        {"categories": ["home"], "categories_not": "home/lamp"},
        {"filters": {"categories": ["home"], "not": {"categories": ["home/lamp"]}}},
    ),
    ({"box": "0,0,0.5,1"}, {"box": [0, 0, 0.5, 1]}),
    (
        {"everything": "true", "sort": "-price", "facets": "true"},
        {"everything": True, "sort": "-price", "facets": True},
    ),
    (
        {"exclude": "3-005", "exclude_group": ["home/vase#3"]},
        {"exclude": ["3-005"], "exclude_group": ["home/vase#3"]},
    ),
]


@pytest.mark.parametrize(("text", "body"), SAME)
def test_both_say_the_same(client: httpx.Client, text: Parameters, body: Parameters) -> None:
    said = by_text(client, **text)
    assert said["hits"]
    assert by_json(client, {"photo": PHOTO, **body}) == said


@pytest.mark.parametrize(
    ("parameters", "right"),
    [
        ({"seller": "North"}, lambda row: row.seller == "North"),
        ({"seller_not": "North"}, lambda row: row.seller != "North"),
        (
            {"availability": "in stock", "aspects_not": "brand=Acme"},
            lambda row: row.availability == "in stock" and row.aspects["brand"] != ["Acme"],
        ),
        (
            {"categories_not": ["home", "shoes/boot", "shoes/sandal"]},
            lambda row: row.category.startswith("clothing"),
        ),
        ({"ranges": "price=10..12"}, lambda row: row.price is not None and 10 <= row.price <= 12),
    ],
)
def test_a_filter_keeps_all_that_pass_and_nothing_else(
    client: httpx.Client, shop: Shop, parameters: Parameters, right: Any
) -> None:
    everywhere = {"categories": ["home", "shoes", "clothing"]}
    hits = by_text(client, k=200, **everywhere, **parameters)["hits"]
    wanted = {row.product for row in shop.listings if right(row)}
    assert {hit["group"] for hit in hits} == wanted
    rows = {row.listing_id: row for row in shop.listings}
    assert all(right(rows[hit["listing_id"]]) for hit in hits)


def test_more_values_than_a_hundred_are_taken(client: httpx.Client, shop: Shop) -> None:
    ids = [row.listing_id for row in shop.listings if row.category == "home/vase"][:-2]
    many = [f"none-{i}" for i in range(1000 - len(ids))] + ids
    hits = by_json(client, {"photo": PHOTO, "exclude": many, "filters": {"categories": ["home/vase"]}})[
        "hits"
    ]
    assert [hit["group"] for hit in hits] == ["home/vase#11"]
    reply = client.post("/v1/search", json={"photo": PHOTO, "exclude": [*many, "x"]})
    assert (reply.status_code, reply.json()["detail"]) == (400, "exclude: at most 1000 values")


def test_facets_count_the_listings_of_the_answer(client: httpx.Client, shop: Shop) -> None:
    parameters: Parameters = {"categories": ["home", "shoes"], "aspects_not": "mark=light", "facets": "true"}
    facets = by_text(client, k=3, **parameters)["facets"]
    rows = [
        r for r in shop.listings if not r.category.startswith("clothing") and r.aspects["mark"] != ["light"]
    ]
    prices = [row.price for row in rows if row.price is not None]
    assert facets["listings"] == len(rows) == sum(facets["categories"].values())
    assert facets["categories"] == Counter(row.category for row in rows)
    for name in ("mark", "brand", "material"):
        assert facets["aspects"][name] == Counter(value for row in rows for value in row.aspects[name])
    assert list(facets["aspects"]["material"]) == ["cotton", "wool"], "commonest first"
    assert facets["seller"] == count(rows, "seller")
    assert facets["availability"] == count(rows, "availability")
    assert facets["price"] == {"from": min(prices), "to": max(prices)}
    assert by_text(client, k=24, offset=30, **parameters)["facets"] == facets
    first = by_text(client, k=3, **parameters)["hits"][0]
    fewer = by_text(client, exclude_group=first["group"], **parameters)["facets"]["listings"]
    assert fewer == len(rows) - sum(1 for row in rows if row.product == first["group"])


def count(rows: list[Listing], name: str) -> Counter[str]:
    return Counter(value for row in rows if (value := getattr(row, name)) is not None)


def test_sorted_by_price_comes_the_whole_pool(client: httpx.Client, shop: Shop) -> None:
    cheapest: dict[str, float] = {}
    for row in shop.listings:
        if row.category in ("home/vase", "home/lamp"):
            cheapest[row.product] = min(
                cheapest.get(row.product, 1e9), 1e9 if row.price is None else row.price
            )
    for sort, prices in (("price", sorted(cheapest.values())), ("-price", None)):
        hits = by_text(client, sort=sort, categories=["home"], k=200)["hits"]
        shown = [hit["price"] for hit in hits]
        known = [price for price in shown if price is not None]
        assert shown == [*sorted(known, reverse=sort == "-price"), *[None] * (len(shown) - len(known))]
        assert len({hit["group"] for hit in hits}) == len(hits) == len(cheapest)
        if prices is not None:
            assert shown == prices, "of each product the cheapest"
        assert by_text(client, sort=sort, categories=["home"], k=5, offset=7)["hits"] == hits[7:12]
        assert by_text(client, sort=sort, categories=["home"], offset=len(hits))["hits"] == []


def test_an_address_is_the_same_search(client: httpx.Client) -> None:
    parameters = {"listing_id": "3-005", "k": 5, "seller": "North"}
    posted, got = client.post("/v1/search", params=parameters), client.get("/v1/search", params=parameters)
    assert (
        answer(got)
        == answer(posted)
        == by_json(client, {"listing_id": "3-005", "k": 5, "filters": {"seller": ["North"]}})
    )
    assert client.get("/v1/search", params={"k": 5}).json()["type"] == "urn:lookalike:problem:photo-empty"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("[]", "the body is not a JSON object"),
        ('{"k": NaN}', "the body is not JSON: NaN is no JSON"),
        ("[" * 100, "the body is not JSON"),
        ('{"k": 1, "k": 2}', 'the key "k" is given twice'),
        ('{"filter": {}}', "unknown parameter 'filter'"),
        ('{"filters": {"colour": ["red"]}}', "unknown parameter 'filters.colour'"),
        ('{"filters": []}', "filters: give an object"),
        (
            '{"filters": {"aspects": {"mark": "dark"}}}',
            "filters.aspects.mark: give a list of at least one text",
        ),
        ('{"filters": {"aspects": {"mark": [1]}}}', "filters.aspects: give texts"),
        ('{"filters": {"price": {}}}', "filters.price: give from, to or both"),
        ('{"filters": {"price": {"from": "1"}}}', "filters.price: give numbers"),
        ('{"filters": {"price": {"from": 5, "to": 4}}}', "the price range 5 to 4 is empty"),
        (
            '{"filters": {"not": {"aspects": {"brnad": ["x"]}}}}',
            "unknown aspect 'brnad'; did you mean 'brand'?",
        ),
        ('{"filters": {"ranges": {"seller": {"to": 1}}}}', "unknown aspect 'seller'"),
        ('{"k": true}', "k: give a whole number"),
        ('{"k": 1.5}', "k: give a whole number"),
        ('{"alpha": "1"}', "alpha: give a number"),
        ('{"facets": 1}', "facets: give true or false"),
        ('{"sort": "rating"}', "sort is price or -price or weight or -weight, not 'rating'"),
        ('{"box": [0, 0, 1]}', "box: give x,y,width,height"),
        ('{"photo": "####"}', "photo: this is not base64"),
        ('{"photo": 7}', "photo: give the photo's bytes in base64"),
    ],
)
def test_a_wrong_body_is_said(client: httpx.Client, body: str, said: str) -> None:
    reply = client.post(
        "/v1/search?listing_id=3-005", content=body, headers={"Content-Type": "application/json"}
    )
    assert (reply.status_code, reply.json()["type"]) == (400, "urn:lookalike:problem:query"), reply.text
    assert said in reply.json()["detail"]


def test_hits_carry_the_shop_s_own_columns(client: httpx.Client, shop: Shop) -> None:
    own = {
        row.listing_id: {name.partition("_")[2]: said for name, said in row.own.items() if said is not None}
        for row in shop.listings
    }
    found = by_text(client, categories=["home"], ranges="weight=5..25", sort="-weight", facets="true", k=200)
    assert all(hit["extra"] == own[hit["listing_id"]] for hit in found["hits"])
    weights = [hit["extra"]["weight"] for hit in found["hits"]]
    assert len(weights) > 5
    assert weights == sorted(weights, reverse=True)
    assert 5 <= weights[-1] <= weights[0] <= 25
    assert found["facets"]["extra"] == {"weight": {"from": weights[-1], "to": weights[0]}}
    assert client.get("/v1/listings/3-005").json()["extra"] == own["3-005"]
    known = [each["weight"] for each in own.values() if "weight" in each]
    ends = {"from": min(known), "to": max(known)}
    assert client.get("/v1/catalogue").json()["extra"] == {"weight": ends, "badge": None}
