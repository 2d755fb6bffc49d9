"""A thousand hostile bodies, slow clients and huge headers: no crash, no 500, memory bounded."""

from __future__ import annotations

import io
import socket
import struct
import time
import tracemalloc
import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event

import numpy as np
import psutil
import pytest
from PIL import Image

from lookalike.catalogue.photos import PhotoInfo, PhotoLimits
from lookalike.serving.config import ServingConfig
from lookalike.serving.decoding import DecodingBudget
from lookalike.serving.metrics import Metrics
from tests.serving.running import Running, eventually, running
from tests.shop import Shop, render

VASE = render("home/vase", 5)
BODIES = 1000
CONFIG = ServingConfig(
    photo=PhotoLimits(max_bytes=2_000_000, max_pixels=12_000_000),
    in_flight_bytes=8_000_000,
    notice_seconds=0,
)
HASTY = replace(CONFIG, body_seconds=0.4, header_seconds=0.4)


@pytest.fixture(scope="module")
def process(shop: Shop) -> Iterator[Running]:
    """One with low limits, so that the limits are what is tested."""
    with running(shop.store, shop.cache_dir, replace(CONFIG, index=shop.index)) as process:
        yield process


@pytest.fixture(scope="module")
def hasty(shop: Shop) -> Iterator[Running]:
    """One that does not wait for slow clients either."""
    with running(shop.store, shop.cache_dir, replace(HASTY, index=shop.index)) as process:
        yield process


def saved(format: str, size: tuple[int, int] = (80, 60), **options: object) -> bytes:
    out = io.BytesIO()
    Image.effect_noise(size, 60).convert("RGB").save(out, format, **options)  # type: ignore[arg-type]
    return out.getvalue()


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of one grey row that claims to be larger: a decompression bomb's header."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(min(width, 10_000) + 1))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def hostile_bodies(count: int) -> Iterator[tuple[str, bytes, str]]:
    """(kind, body, content type), the same every time."""
    rng = np.random.default_rng(11)
    photos = [
        VASE,
        saved("PNG"),
        saved("WEBP"),
        saved("JPEG", progressive=True),
        saved("WEBP", lossless=True),
    ]
    zeros = zlib.compress(bytes(5_000_000))
    fixed = [
        ("bomb", png_claiming(30_000, 30_000)),
        ("bomb", png_claiming(2**31 - 1, 2**31 - 1)),
        ("short", png_claiming(3_000, 3_900)),
        ("tail", saved("PNG", (1, 1)) + zeros),
        ("type", b"GIF89a" + bytes(100)),
        ("type", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        ("type", b"%PDF-1.7\n" + bytes(500)),
        ("type", b"PK\x03\x04" + zeros),
        ("type", saved("BMP")),
        ("type", saved("TIFF")),
        ("empty", b""),
        ("large", VASE + bytes(2_100_000)),
    ]
    for number in range(count):
        kind = number % 5
        base = photos[int(rng.integers(len(photos)))]
        if kind == 0:
            yield "truncated", base[: int(rng.integers(1, len(base)))], "image/jpeg"
        elif kind == 1:
            damaged = np.frombuffer(base, np.uint8).copy()
            where = rng.integers(0, len(damaged), int(rng.integers(1, 40)))
            damaged[where] = rng.integers(0, 256, len(where))
            yield "damaged", damaged.tobytes(), "image/png"
        elif kind == 2:
            head = base[: int(rng.integers(0, 40))]
            yield "random", head + rng.bytes(int(rng.integers(0, 3000))), "application/octet-stream"
        elif kind == 3:
            form = (
                b'--x\r\nContent-Disposition: form-data; name="photo"; filename="a"\r\n\r\n'
                + base
                + b"\r\n--x--\r\n"
            )
            cut = bytearray(form[: int(rng.integers(1, len(form)))])
            cut[int(rng.integers(len(cut)))] = int(rng.integers(256))
            yield "form", bytes(cut), "multipart/form-data" + ("; boundary=x" if number % 2 else "")
        else:
            name, body = fixed[number // 5 % len(fixed)]
            yield name, body, "image/webp"


def test_a_thousand_hostile_bodies_get_an_answer_each(process: Running) -> None:
    client = process.client
    before = psutil.Process().memory_info().rss
    statuses: Counter[tuple[str, int]] = Counter()

    def send(case: tuple[str, bytes, str]) -> None:
        kind, body, content_type = case
        reply = client.post("/v1/search", content=body, headers={"Content-Type": content_type})
        statuses[kind, reply.status_code] += 1

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(send, hostile_bodies(BODIES)))
    assert sum(statuses.values()) == BODIES
    assert {status for _, status in statuses} <= {200, 400, 413, 415, 422, 503}
    assert {status for kind, status in statuses if kind == "bomb"} <= {413, 422}
    assert {status for kind, status in statuses if kind == "large"} == {413}
    grown = psutil.Process().memory_info().rss - before
    assert grown < 150_000_000, f"{grown:,} bytes more after {BODIES} bodies"
    assert client.post("/v1/search", content=VASE).status_code == 200


def connect(process: Running) -> socket.socket:
    return socket.create_connection(("127.0.0.1", process.port), timeout=60)


def everything_from(sock: socket.socket) -> bytes:
    received = b""
    try:
        while data := sock.recv(65536):
            received += data
    except ConnectionError:
        pass
    return received


def test_a_body_that_trickles_in_gets_408(hasty: Running) -> None:
    with connect(hasty) as sock:
        sock.sendall(b"POST /v1/search HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + VASE[:100])
        started = time.monotonic()
        reply = everything_from(sock)
    assert b"408 " in reply.split(b"\r\n")[0]
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("sent", [b"", b"POST /v1/sea", b"GET /livez HTTP/1.1\r\nX-A: b\r\n"])
def test_headers_that_never_end_are_disconnected(hasty: Running, sent: bytes) -> None:
    with connect(hasty) as sock:
        sock.sendall(sent)
        assert everything_from(sock) == b""


def test_a_kept_connection_has_the_same_limit(hasty: Running) -> None:
    with connect(hasty) as sock:
        sock.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in sock.recv(65536)
        sock.sendall(b"GET /liv")
        assert b"200 OK" not in everything_from(sock)


def test_huge_headers_and_long_addresses_are_refused(process: Running) -> None:
    assert process.client.get("/livez", headers={"X-Huge": "a" * 40_000}).status_code == 431
    assert process.client.get("/livez", headers={"X-Huge": "a" * 1_000_000}).status_code in (400, 431)
    assert process.client.post("/v1/search?k=" + "1" * 40_000, content=VASE).status_code == 431
    assert process.client.get("/v1/photos/" + "0" * 40_000).status_code == 431
    assert process.client.post("/v1/search?k=" + "1" * 400, content=VASE).status_code == 400
    many = [("categories", "home")] * 150
    assert process.client.post("/v1/search", params=many, content=VASE).status_code == 400


def test_a_long_photo_id_takes_no_memory(process: Running) -> None:
    shelf = process.service.lifecycle.snapshot.shelf
    tracemalloc.start()
    try:
        assert "0" * 20_000 not in shelf
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000, "the table of ids was made as wide as the id"


def test_a_head_without_end_is_cut_off_even_behind_another_request(process: Running) -> None:
    with connect(process) as sock:
        sock.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\nGET /livez HTTP/1.1\r\nX-A: ")
        with pytest.raises(ConnectionError):
            sock.sendall(b"a" * 100_000_000)
    assert process.client.get("/livez").status_code == 200


def test_clients_that_leave_half_way_leave_nothing_behind(hasty: Running) -> None:
    for _ in range(20):
        with connect(hasty) as sock:
            sock.sendall(
                b"POST /v1/search HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n\r\n" + bytes(20_000)
            )
    service = hasty.service
    eventually(lambda: service.budget.used == 0)
    assert hasty.client.post("/v1/search", content=VASE).status_code == 200
    assert "lookalike_queue_queries 0.0" in hasty.client.get("/metrics").text


def test_photos_wait_for_the_memory_that_decoding_them_takes(shop: Shop) -> None:
    config = replace(CONFIG, index=shop.index, deadline_seconds=3)
    with running(shop.store, shop.cache_dir, config) as process:
        client, decoding = process.client, process.service.decoding
        huge = PhotoInfo("WEBP", 4_000, 3_000).decoding_bytes
        with decoding.hold(huge, time.monotonic()):
            late = client.post("/v1/search", content=VASE)
            assert (late.status_code, "retry-after" in late.headers) == (503, True)
            assert "decoded" in late.json()["detail"]
            assert client.post("/v1/search?listing_id=3-005").status_code == 200, "there is nothing to decode"
        with decoding.hold(huge - PhotoInfo("JPEG", 96, 96).decoding_bytes, time.monotonic()):
            assert client.post("/v1/search", content=VASE).status_code == 200, "it is small enough"
        assert client.post("/v1/search", content=VASE).status_code == 200


def test_decoding_that_waits_begins_when_memory_is_free() -> None:
    budget, order = DecodingBudget(10, Metrics()), []
    inside, leave = Event(), Event()

    def decode(name: str, size: int) -> None:
        with budget.hold(size, time.monotonic() + 60):
            order.append(name)
            if name == "first":
                inside.set()
                leave.wait(60)

    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(decode, "first", 8)
        inside.wait(60)
        second = pool.submit(decode, "second", 8)
        pool.submit(decode, "small", 2).result()
        leave.set()
        first.result()
        second.result()
    assert order == ["first", "small", "second"]


def test_the_memory_of_bodies_is_one_budget(hasty: Running) -> None:
    """Ten clients that hold 1 MB each are more than the budget of 8: some are refused, one that asks later is not."""
    sockets = [connect(hasty) for _ in range(10)]
    try:
        for sock in sockets:
            sock.sendall(
                b"POST /v1/search HTTP/1.1\r\nHost: x\r\nContent-Length: 1500000\r\n\r\n" + bytes(1_000_000)
            )
        replies = [sock.recv(100).split(b"\r\n")[0] for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()
    assert sum(b"503" in reply for reply in replies) >= 2
    assert all(b"503" in reply or b"408" in reply or reply == b"" for reply in replies)
    assert hasty.client.post("/v1/search", content=VASE).status_code == 200
