"""Numbers and filters over HTTP: whatever a browser computes is taken, and a misspelt aspect is said."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.ranking.test_parameters import as_javascript
from tests.shop import render

VASE = render("home/vase", 5)
CORNER = st.tuples(st.floats(0, 1), st.floats(0, 1))


def search(client: httpx.Client, **parameters: object) -> httpx.Response:
    return client.post("/v1/search", params=parameters, content=VASE)  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CORNER, CORNER, st.floats(0, 1), st.floats(min_value=0, allow_infinity=False))
@example((0.0, 0.0), (5e-324, 1e-7), 1e-7, 1e300)
@example((0.0012345678901234567, 0.1), (1.0, 1.0), 0.1 + 0.2, 1e21)
def test_what_a_browser_computes_is_taken(
    client: httpx.Client, one: tuple[float, float], other: tuple[float, float], alpha: float, price: float
) -> None:
    (left, right), (top, bottom) = sorted((one[0], other[0])), sorted((one[1], other[1]))
    if left == right or top == bottom:
        return
    box = ",".join(map(as_javascript, (left, top, right - left, bottom - top)))
    reply = search(client, box=box, alpha=as_javascript(alpha), price=f"..{as_javascript(price)}")
    assert reply.status_code == 200, f"{box}: {reply.text}"


def test_a_box_over_the_edge_by_rounding_is_cut_off_there(client: httpx.Client) -> None:
    over, at = (search(client, box=box).json() for box in ("0.12346,0,0.87655,1", "0.12346,0,0.87654,1"))
    assert over["hits"] == at["hits"]


@pytest.mark.parametrize("number", ["1e-7", "-0.0", "0.0012345678901234567", "1e-400", "+0.5"])
def test_small_numbers_are_taken(client: httpx.Client, number: str) -> None:
    assert search(client, alpha=number, price=f"{number}..1e300").status_code == 200


@pytest.mark.parametrize("number", ["nan", "NaN", "Infinity", "-inf", "1e999"])
@pytest.mark.parametrize(
    ("name", "form"), [("alpha", "{}"), ("price", "{}..50"), ("price", "..{}"), ("box", "0,0,{},1")]
)
def test_what_is_no_finite_number_is_said(client: httpx.Client, name: str, form: str, number: str) -> None:
    reply = search(client, **{name: form.format(number)})
    assert reply.status_code == 400
    assert reply.json()["detail"].startswith(f"{name}: '{number}' is ")
    assert "number" in reply.json()["detail"]


def test_an_unknown_aspect_is_refused_and_an_unknown_value_finds_nothing(client: httpx.Client) -> None:
    reply = search(client, aspects="brnad=Acme")
    assert reply.status_code == 400
    assert reply.json()["detail"] == (
        "unknown aspect 'brnad'; did you mean 'brand'? There are brand, mark, material"
    )
    like = client.post("/v1/search", params={"listing_id": "3-005", "aspects": "Brand=Acme"})
    assert like.status_code == 400
    nothing = search(client, aspects="brand=Nobody")
    assert (nothing.status_code, nothing.json()["hits"]) == (200, [])


def test_words_beside_the_photo_are_understood_and_answered_for(client: httpx.Client) -> None:
    asked = {"k": "5", "text": "of Crane, light, vintage"}
    body = client.post("/v1/search", params=asked, content=render("home/vase", 4)).json()
    assert [(wish["words"], wish["aspects"]) for wish in body["text"]["wishes"]] == [
        ("Crane", {"brand": ["Crane"]}),
        ("light", {"mark": ["light"]}),
    ]
    assert body["text"]["unknown"] == ["vintage"]
    first = client.get(f"/v1/listings/{body['hits'][0]['listing_id']}").json()
    assert (first["aspects"]["brand"], first["aspects"]["mark"]) == (["Crane"], ["light"])
    assert "text" not in client.post("/v1/search", content=render("home/vase", 4)).json()
    refused = client.post("/v1/search", params={"text": "x" * 201}, content=b"")
    assert refused.status_code == 400
    assert "text: a value may have 200 characters at most" in refused.json()["detail"]
