"""A photo is sent once: its `query_id` pages, filters and is shared, on any pod, for its time and its API key."""

from __future__ import annotations

import base64
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from lookalike.coding.release import ModelCard, TransformPreset
from lookalike.errors import QueryError, QueryExpired
from lookalike.ranking import carried
from lookalike.serving.config import ServingConfig
from lookalike.serving.query_ids import QueryIds
from lookalike.storage.artefacts import FileEntry, Kind, Manifest
from tests.serving.running import Running, running
from tests.serving.test_api import VASE, conforms, search
from tests.shop import Shop, render


def release(sha256: str = "a" * 64) -> Manifest:
    return Manifest(Kind.RELEASE, "r", {}, {}, (FileEntry("model.onnx", "k", 1, sha256),))


def alike(reply: httpx.Response) -> dict[str, Any]:
    assert reply.status_code == 200, reply.text
    body: dict[str, Any] = reply.json()
    conforms(body, "Answer")
    return {name: value for name, value in body.items() if name not in ("milliseconds", "query_id")}


@pytest.mark.parametrize("photo", [VASE, render("shoes/boot", 3), render("clothing/tops/vest", 20)])
def test_an_id_finds_what_the_photo_found(client: httpx.Client, photo: bytes) -> None:
    for parameters in (
        {},
        {"k": 50, "alpha": 0.3},
        {"everything": "true", "facets": "true"},
        {"sort": "price"},
    ):
        first = search(client, photo, **parameters)
        parameters = {**parameters, "query_id": first.json()["query_id"]}
        assert alike(client.get("/v1/search", params=parameters)) == alike(first)
        assert alike(client.post("/v1/search", params=parameters)) == alike(first)
        page = client.get("/v1/search", params={**parameters, "k": 4, "offset": 3})
        assert alike(page)["hits"] == alike(first)["hits"][3:7]


def test_other_pods_read_it_and_it_is_given_anew(process: Running, shop: Shop, tmp_path: Path) -> None:
    query_id = search(process.client).json()["query_id"]
    with running(shop.store, tmp_path / "pod", ServingConfig(index=shop.index, notice_seconds=0)) as other:
        again = other.client.get("/v1/search", params={"query_id": query_id, "k": 5, "aspects": "mark=dark"})
        assert alike(again) == alike(search(process.client, k=5, aspects="mark=dark"))
        assert (
            process.client.get("/v1/search", params={"query_id": again.json()["query_id"]}).status_code == 200
        )
    assert process.client.get("/v1/search", params={"listing_id": "3-005"}).json()["query_id"] is None


def test_it_holds_for_its_time_its_key_and_its_release() -> None:
    now = 1_000_000.0
    ids = QueryIds(release(), 900, clock=lambda: now)
    made = ids.issue(b"what it carries", "shop")
    assert ids.read(made, "shop") == b"what it carries"
    for wrong in (
        "",
        "x",
        "%%%",
        made[:-1],
        made + "AA",
        made[:20] + ("B" if made[20] != "B" else "C") + made[21:],
    ):
        with pytest.raises(QueryError):
            ids.read(wrong, "shop")
    with pytest.raises(QueryError, match="none of this API key"):
        ids.read(made, "other")
    with pytest.raises(QueryExpired, match="another model release"):
        QueryIds(release("b" * 64), 900).read(made, "shop")
    now += 901
    with pytest.raises(QueryExpired, match="its time is over"):
        ids.read(made, "shop")


def test_an_end_cannot_be_moved() -> None:
    ids = QueryIds(release(), -1)
    whole = bytearray(base64.urlsafe_b64decode(ids.issue(bytes(20), "")))
    whole[8] = 0xFF
    with pytest.raises(QueryError, match="none of this API key"):
        ids.read(base64.urlsafe_b64encode(bytes(whole)).decode(), "")


@pytest.mark.parametrize(
    ("parameters", "status", "kind"),
    [
        ({"query_id": "none"}, 400, "query"),
        ({"query_id": "A" * 20_001}, 400, "query"),
        ({"query_id": "own", "listing_id": "3-005"}, 400, "query"),
        ({"query_id": "own", "box": "0,0,1,1"}, 400, "query"),
        ({"query_id": "own", "image_url": "https://shop.example/a.jpg"}, 400, "query"),
        ({"image_url": "https://shop.example/a.jpg"}, 400, "query"),
    ],
)
def test_what_is_no_query_is_said(
    client: httpx.Client, parameters: dict[str, str], status: int, kind: str
) -> None:
    if parameters.get("query_id") == "own":
        parameters = {**parameters, "query_id": search(client).json()["query_id"]}
    reply = client.get("/v1/search", params=parameters)
    assert (reply.status_code, reply.json()["type"]) == (status, f"urn:lookalike:problem:{kind}"), reply.text


def card(bits: int, categories: int) -> ModelCard:
    names = tuple(f"c{i:04d}" for i in range(categories))
    return ModelCard("grid", "test", names, TransformPreset("grid", 64, 56), bits, 8, data_digest="")


@pytest.mark.parametrize(("bits", "categories", "longest"), [(256, 6, 2_000), (4096, 2000, 6_000)])
def test_it_carries_exactly_what_ranking_reads(bits: int, categories: int, longest: int) -> None:
    rng = np.random.default_rng(1)
    p = rng.random((20, bits)).astype(np.float32)
    codes = np.packbits(p > 0.5, axis=1)
    kept = carried.kept_probabilities(p, codes)
    assert np.abs(kept - p).max() < (0.08 if bits > 1024 else 0.005)
    bits_kept = (kept > 0.5) == np.unpackbits(codes, axis=1)
    assert bits_kept[kept != 0.5].all()
    logits = np.exp(rng.normal(size=(20, categories)) * 2)
    likely = carried.kept_categories((logits / logits.sum(axis=1, keepdims=True)).astype(np.float32))
    for i in range(20):
        aspects = {"colour": [("röd", 0.7123), ("blue", 0.1)], "brand": []}
        cosine = None if i == 3 else carried.kept_cosine(0.1 * i)
        data = carried.pack(carried.Carried(codes[i], kept[i], likely[i], cosine, aspects))
        found = carried.unpack(data, card(bits, categories))
        assert found.code.tobytes() == codes[i].tobytes()
        assert found.bit_probabilities.tobytes() == kept[i].tobytes()
        assert found.categories.tobytes() == likely[i].tobytes()
        assert (found.cosine, found.aspects) == (cosine, aspects)
        assert len(QueryIds(release(), 900).issue(data, "")) < longest


def test_bytes_that_carry_no_query_are_said() -> None:
    kept = np.full(256, 0.5, np.float32), np.ones(6, np.float32)
    whole = carried.pack(carried.Carried(np.zeros(32, np.uint8), *kept, None, {}))
    rng = np.random.default_rng(2)
    for cut in range(len(whole)):
        with pytest.raises(QueryError):
            carried.unpack(whole[:cut], card(256, 6))
    for _ in range(300):
        changed = bytearray(whole)
        changed[rng.integers(256, len(whole))] ^= int(rng.integers(1, 256))
        with suppress(QueryError):  # any other error would be a defect
            carried.unpack(bytes(changed), card(256, 6))
