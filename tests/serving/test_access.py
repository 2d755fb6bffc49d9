"""Hosts, API keys, rates and other origins, asked of the real server as strangers ask."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from lookalike.errors import SettingsError
from lookalike.serving import keys
from lookalike.serving.access import AccessConfig, Rate
from lookalike.serving.config import ServingConfig
from tests.serving.running import Running, running
from tests.shop import Shop, render

SEARCH_KEY, ADMIN_KEY = keys.new_key(), keys.new_key()
PHOTO = render("home/vase", 1)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "keys.txt"
    lines = (keys.line_of(SEARCH_KEY, "shop-page", ("search",)), keys.line_of(ADMIN_KEY, "ops", ("admin",)))
    path.write_text("# who may search\n" + "\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def guarded(shop: Shop, file: Path) -> Iterator[Running]:
    access = AccessConfig(
        keys_file=file, hosts=("127.0.0.1", "search.example"), origins=("https://shop.example",)
    )
    config = ServingConfig(index=shop.index, notice_seconds=0, access=access)
    with running(shop.store, shop.cache_dir, config) as process:
        yield process


def search(process: Running, key: str = "", **headers: str) -> httpx.Response:
    shown = {"Authorization": f"Bearer {key}"} if key else {}
    return process.client.post("/v1/search?k=3", content=PHOTO, headers=shown | headers)


def test_a_search_needs_a_key_that_is_known(guarded: Running, shop: Shop) -> None:
    without = search(guarded)
    assert without.status_code == 401
    assert without.headers["www-authenticate"] == "Bearer"
    assert without.json()["type"] == "urn:lookalike:problem:key"
    assert search(guarded, keys.new_key()).status_code == 401
    assert search(guarded, SEARCH_KEY[:-1]).status_code == 401
    assert len(search(guarded, SEARCH_KEY).json()["hits"]) == 3
    assert search(guarded, ADMIN_KEY).status_code == 200
    for path in ("/v1/catalogue", f"/v1/listings/{shop.listings[0].listing_id}", "/"):
        assert guarded.client.get(path).status_code == 401, path


def test_what_is_open_without_a_key(guarded: Running, shop: Shop) -> None:
    for path in (f"/v1/photos/{shop.listings[0].photo_id}", "/livez", "/readyz", "/openapi.json"):
        assert guarded.client.get(path).status_code == 200, path
    shown = {"Authorization": f"Bearer {SEARCH_KEY}"}
    assert guarded.client.get("/metrics", headers=shown).status_code == 403
    assert (
        "lookalike" in guarded.client.get("/metrics", headers={"Authorization": f"Bearer {ADMIN_KEY}"}).text
    )
    assert guarded.probes.get("/metrics").status_code == 200, "the cluster's own port asks for none"


def test_a_path_that_is_written_otherwise_needs_the_key_too(guarded: Running) -> None:
    for path in (
        "/V1/catalogue",
        "//v1/catalogue",
        "/v1/photos/../catalogue",
        "/v1/%63atalogue",
        "/v1/catalogue/",
    ):
        found = raw(guarded, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        assert found.split()[1] in (b"401", b"404"), (path, found[:80])
        assert b"clothing" not in found


def test_other_hosts_none_and_two_are_refused(guarded: Running, process: Running) -> None:
    assert search(guarded, SEARCH_KEY, host="Search.Example:8000").status_code == 200
    wrong = search(guarded, SEARCH_KEY, host="evil.example")
    assert (wrong.status_code, wrong.json()["type"]) == (400, "urn:lookalike:problem:host")
    for hosts in ("", "Host: a\r\nHost: b\r\n"):
        for each in (guarded, process):
            found = raw(each, f"GET /v1/catalogue HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n")
            assert found.split()[1] == b"400", found[:80]
    assert guarded.client.get("/readyz", headers={"host": "10.0.0.7:8000"}).status_code == 200, "a probe"


def test_no_reply_repeats_the_host_that_a_client_named(process: Running) -> None:
    for path in ("/v1/search/", "/v1/catalogue/", "/web", "/web/", "/metrics/"):
        found = raw(process, f"GET {path} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
        assert b"evil.example" not in found, path
        assert b"ocation:" not in found, path


def test_pages_of_the_named_origin_may_read_replies(guarded: Running, process: Running) -> None:
    asked = guarded.client.options(
        "/v1/search",
        headers={
            "Origin": "https://shop.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type",
        },
    )
    assert asked.status_code == 200
    assert asked.headers["access-control-allow-origin"] == "https://shop.example"
    refused = search(guarded, Origin="https://shop.example")
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://shop.example", "the page can read why"
    found = search(guarded, SEARCH_KEY, Origin="https://evil.example")
    assert "access-control-allow-origin" not in found.headers
    assert "access-control-allow-origin" not in search(process, Origin="https://shop.example").headers


def test_keys_change_without_a_restart(file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, now = tmp_path / "keys.txt", [0.0]
    path.write_text(file.read_text())
    held = keys.KeyFile(path, clock=lambda: now[0])
    added = keys.new_key()
    assert held.find(added) is None
    path.write_text(keys.line_of(added, "new", ("search",)))
    assert held.find(added) is None, "looked at a moment ago"
    now[0] += 2
    found = held.find(added)
    assert found is not None
    assert found.name == "new"
    assert held.find(SEARCH_KEY) is None, "withdrawn"
    other = tmp_path / "other.txt"  # as a Secret is mounted: another file takes the name
    other.write_text("broken line\n")
    other.replace(path)
    now[0] += 2
    with caplog.at_level(logging.ERROR):
        assert held.find(added) is not None, "the keys before stay in force"
    assert "keys.txt, line 1: write a key as NAME SCOPES SHA256" in caplog.text
    path.unlink()
    now[0] += 2
    assert held.find(added) is not None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a search", "line 1: write a key as"),
        ("\n\na serach " + "0" * 64, "line 3: no scope 'serach'"),
        ("a search " + "0" * 63, "line 1: the last field is a key's SHA-256"),
        ("a/b search " + "0" * 64, "line 1: a name has letters"),
        (f"a search {'0' * 64}\nb search {'0' * 64}", "line 2: the same key as a"),
    ],
)
def test_a_file_of_keys_that_is_wrong_says_where(text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        keys.parse_keys(text, "keys.txt")


def test_a_file_that_is_not_there_ends_the_start(shop: Shop, tmp_path: Path) -> None:
    config = ServingConfig(index=shop.index, access=AccessConfig(keys_file=tmp_path / "none"))
    with (
        pytest.raises(SettingsError, match="the file of API keys cannot be read"),
        running(shop.store, shop.cache_dir, config),
    ):
        pass


def test_a_rate_lets_a_burst_through_and_then_so_many_a_second() -> None:
    now = [0.0]
    rate = Rate(2, 3, clock=lambda: now[0])
    assert [rate.wait("a") for _ in range(4)] == [0, 0, 0, 0.5]
    assert rate.wait("b") == 0, "another client has its own"
    now[0] = 0.5
    assert [rate.wait("a"), rate.wait("a")] == [0, 0.5]
    now[0] = 1000
    assert [rate.wait("a") for _ in range(4)] == [0, 0, 0, 0.5], "what is not used does not grow for ever"
    assert [Rate(0, 1).wait("a") for _ in range(9)] == [0] * 9


def test_strangers_and_keys_are_slowed_apart(shop: Shop, file: Path) -> None:
    access = AccessConfig(keys_file=file, public=("photos", "search"), per_address=0.001, burst=4)
    config = ServingConfig(index=shop.index, notice_seconds=0, access=access)
    with running(shop.store, shop.cache_dir, config) as process:
        codes = [process.client.get("/v1/catalogue").status_code for _ in range(6)]
        assert codes == [200] * 4 + [429] * 2
        slow = process.client.get("/v1/catalogue")
        assert slow.json()["type"] == "urn:lookalike:problem:rate"
        assert int(slow.headers["retry-after"]) > 100
        assert search(process, SEARCH_KEY).status_code == 200, "a key has a rate of its own"
        assert search(process, "lk_wrong").status_code == 429, "one that is not known is a stranger's"
        assert process.client.get("/readyz").status_code == 200


@pytest.mark.parametrize(
    "wrong",
    [
        {"public": ("serach",)},
        {"per_key": -1},
        {"burst": 0},
        {"origins": ("shop.example",)},
        {"per_address": float("inf")},
    ],
)
def test_settings_that_cannot_be(wrong: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        AccessConfig(**wrong)  # type: ignore[arg-type]


def raw(process: Running, request: str) -> bytes:
    """What the server answers to these very bytes."""
    with socket.create_connection(("127.0.0.1", process.port), timeout=10) as connection:
        connection.sendall(request.encode())
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)
