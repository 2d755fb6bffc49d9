"""A thousand hostile bodies, slow clients and huge headers: no crash, no 500, memory bounded."""

from __future__ import annotations

import asyncio
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

from lookalike.errors import ServiceBusy
from lookalike.imaging.limits import QueryLimits
from lookalike.imaging.photos import load_square
from lookalike.serving.bodies import BodyBudget
from lookalike.serving.config import ServingConfig
from lookalike.serving.decoding import HEAVY_BYTES, DecodingTurns, Effort
from lookalike.serving.metrics import Metrics
from tests.attacks.photos import ATTACKS
from tests.serving.running import Running, eventually, running
from tests.shop import Shop, render

VASE = render("home/vase", 5)
BODIES = 1000
CONFIG = ServingConfig(
    photo=QueryLimits(max_bytes=2_000_000, max_pixels=12_000_000),
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


@pytest.fixture(scope="module")
def patient(shop: Shop) -> Iterator[Running]:
    """One with the limits of every day."""
    with running(shop.store, shop.cache_dir, ServingConfig(index=shop.index, notice_seconds=0)) as process:
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
    many = [("categories", "home")] * 1001
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


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_with_the_limit_it_breaks_or_answered(name: str, patient: Running) -> None:
    make, rule = ATTACKS[name]
    reply = patient.client.post("/v1/search", content=make())
    statuses = {"": 200, "type": 415, "pixels": 413, "effort": 413, "damaged": 422, "truncated": 422}
    assert reply.status_code == statuses[rule]
    if rule:
        assert reply.json()["rule"] == rule
        assert reply.json()["type"] == f"urn:lookalike:problem:photo-{rule}"
    assert patient.client.get("/livez").elapsed.total_seconds() < 1


def test_ordinary_photos_overtake_heavy_ones_however_many_wait(shop: Shop) -> None:
    """Seven heavy photos, and one thread that is held up by the first: the others take none."""
    heavy = saved("WEBP", (2000, 1900), quality=10)
    begun, held = Event(), Event()

    def slowly(data: bytes, *rest: object, **options: object) -> np.ndarray:
        if data == heavy:
            begun.set()
            held.wait(60)
        return load_square(data, *rest, **options)  # type: ignore[arg-type]

    with (
        running(shop.store, shop.cache_dir, ServingConfig(index=shop.index, notice_seconds=0)) as process,
        pytest.MonkeyPatch.context() as patch,
        ThreadPoolExecutor(7) as pool,
    ):
        patch.setattr("lookalike.imaging.photos.load_square", slowly)
        huge = [pool.submit(process.client.post, "/v1/search", content=heavy) for _ in range(7)]
        try:
            assert begun.wait(60)
            eventually(lambda: len(process.service.queue.decoding.heavy.waiting) == 6)
            for _ in range(3):
                assert process.client.post("/v1/search", content=VASE).status_code == 200
            assert not any(reply.done() for reply in huge)
        finally:
            held.set()
        assert [reply.result().status_code for reply in huge] == [200] * 7
        eventually(lambda: process.service.queue.decoding.heavy.used == 0)


def test_too_many_heavy_photos_get_503_and_late_ones_too(shop: Shop) -> None:
    heavy = saved("WEBP", (2000, 1900), quality=10)
    config = ServingConfig(index=shop.index, notice_seconds=0, heavy_limit=1, deadline_seconds=3)
    with running(shop.store, shop.cache_dir, config) as process, ThreadPoolExecutor(2) as pool:
        lane = process.service.queue.decoding.heavy
        lane.used = 1  # as if one were being decoded
        late = pool.submit(process.client.post, "/v1/search", content=heavy)
        eventually(lambda: len(lane.waiting) == 1)
        crowded = process.client.post("/v1/search", content=heavy)
        assert (crowded.status_code, "retry-after" in crowded.headers) == (503, True)
        assert "large photos are being decoded" in crowded.json()["detail"]
        assert process.client.post("/v1/search", content=VASE).status_code == 200
        assert late.result().status_code == 503
        lane.used = 0
        assert process.client.post("/v1/search", content=heavy).status_code == 200


def test_turns_come_in_order_as_memory_is_freed_and_are_given_back() -> None:
    async def play() -> list[str]:
        turns, order = DecodingTurns(HEAVY_BYTES, 10, Metrics()), []
        first = await turns.take(Effort(1, 1, HEAVY_BYTES - 2), time.monotonic() + 60)

        async def decode(name: str, size: int) -> None:
            turn = await turns.take(Effort(1, 1, size), time.monotonic() + 60)
            order.append(name)
            turn.end()
            turn.end()

        await decode("small", 2)
        waiting = [asyncio.create_task(decode(name, size)) for name, size in (("a", 8), ("b", 8), ("c", 8))]
        await asyncio.sleep(0)
        waiting[1].cancel()
        with pytest.raises(ServiceBusy):
            await turns.take(Effort(1, 1, 8), time.monotonic() - 1)
        await asyncio.to_thread(first.end)
        await asyncio.gather(*waiting, return_exceptions=True)
        await asyncio.sleep(0)
        assert (turns.ordinary.used, len(turns.ordinary.waiting)) == (0, 0)
        return order

    assert asyncio.run(play()) == ["small", "a", "c"]


def test_large_bodies_leave_room_for_usual_ones() -> None:
    budget = BodyBudget(80_000_000, Metrics())
    with budget.reservation() as large, budget.reservation() as more, budget.reservation() as usual:
        large.grow(60_000_000)
        with pytest.raises(ServiceBusy):
            more.grow(11_000_000)
        usual.grow(5_000_000)


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
