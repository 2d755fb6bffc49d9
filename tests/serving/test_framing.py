"""A drawn box is searched for with the margin that gallery photos have."""

from __future__ import annotations

import io

import httpx
import pytest
from PIL import Image

from lookalike.errors import SettingsError
from lookalike.imaging.photos import Box, load_square
from lookalike.ranking.framing import framed
from lookalike.ranking.request import Query, RankingConfig, SearchRequest
from lookalike.ranking.search import open_searcher
from lookalike.storage.artefacts import fetch
from tests.shop import SIDE, Shop, render


def scene() -> bytes:
    """A vase's photo on a street of another colour, as somebody would take it."""
    street = Image.new("RGB", (240, 160), (90, 110, 60))
    street.paste(Image.open(io.BytesIO(render("home/vase", 5))), (70, 30))
    out = io.BytesIO()
    street.save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize(
    ("drawn", "encoded"),
    [
        ("0.25,0.25,0.5,0.5", (0.2, 0.2, 0.6, 0.6)),
        ("0,0,0.3,0.5", (0.0, 0.0, 0.33, 0.55)),
        ("0.6,0.5,0.4,0.5", (0.56, 0.45, 0.44, 0.55)),
        ("0.02,0.02,0.96,0.96", (0.0, 0.0, 1.0, 1.0)),
        ("0,0,1,1", (0.0, 0.0, 1.0, 1.0)),
    ],
)
def test_the_box_that_is_encoded_is_the_drawn_one_and_a_tenth_more_on_each_side(
    client: httpx.Client, shop: Shop, drawn: str, encoded: Box
) -> None:
    photo = scene()
    reply = client.post("/v1/search", params={"box": drawn, "k": 200}, content=photo).json()
    searcher = open_searcher(
        *(fetch(shop.store, ref, shop.cache_dir) for ref in (shop.release, shop.index)), threads=1
    )
    square = load_square(photo, SIDE, box=encoded)
    (expected,) = searcher.search_all([Query(SearchRequest(k=200), photo=square)])
    got = [(hit["listing_id"], hit["distance"]) for hit in reply["hits"]]
    assert got == [(hit.listing_id, hit.distance) for hit in expected.hits]


def test_the_margin_is_a_setting() -> None:
    assert framed(None, 0.1) is None
    assert framed((0.25, 0.25, 0.5, 0.5), 0) == (0.25, 0.25, 0.5, 0.5)
    assert framed((0.25, 0.25, 0.5, 0.5), 1) == (0, 0, 1, 1)
    with pytest.raises(SettingsError, match="box_margin"):
        RankingConfig(box_margin=-0.1)
