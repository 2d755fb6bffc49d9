"""Crowds that connect and say nothing, drip a head or never read: probes answer, ordinary searches go on."""

from __future__ import annotations

import re
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import psutil
import pytest

from lookalike.errors import SettingsError
from lookalike.serving.app import SearchService, create_app
from lookalike.serving.config import ServingConfig
from lookalike.serving.server import make_server
from tests.serving.running import Running, eventually, running
from tests.shop import Shop, render

VASE = render("home/vase", 5)
LONG = 1.0
"""Seconds that 19 of 20 probes may take longer than without the crowd: the machine does other work, too."""
KUBELETS = 5.0
"""Seconds that any may take: `timeoutSeconds` in the manifests."""
CONFIG = ServingConfig(notice_seconds=0, connections_per_address=0)
LIVE = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
SCRIPT = b"GET /web/app.js HTTP/1.1\r\nHost: x\r\n\r\n"
"""Some 13 kB, as often as somebody asks."""


@pytest.fixture(autouse=True)
def many_files() -> Iterator[None]:
    """Both ends of every connection are files of this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 6000:
        pytest.skip(f"only {hard} open files are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 6000), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def process(shop: Shop, **changes: object) -> Iterator[Running]:
    with running(shop.store, shop.cache_dir, replace(CONFIG, index=shop.index, **changes)) as found:  # type: ignore[arg-type]
        yield found


def connect(port: int, source: str = "127.0.0.1", *, receive: int | None = None) -> socket.socket:
    sock = socket.socket()
    if receive is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    sock.bind((source, 0))
    sock.settimeout(30)
    sock.connect(("127.0.0.1", port))
    return sock


def refused(found: Running | Alone, reason: str) -> float:
    text = found.probes.get("/metrics").text
    name = "lookalike_connections_refused_total"
    match = re.search(rf'^{name}{{reason="{reason}"}} (\S+)$', text, re.MULTILINE)
    assert match, text
    return float(match[1])


def open_now(found: Running | Alone) -> dict[str, float]:
    text = found.probes.get("/metrics").text
    states = re.findall(r'^lookalike_connections{state="(\w+)"} (\S+)$', text, re.MULTILINE)
    return {state: float(count) for state, count in states}


def busy(found: Running) -> float:
    return open_now(found)["busy"]


def lives(sock: socket.socket) -> bool:
    """Whether the other side answers a probe, over a connection that is kept."""
    sock.sendall(LIVE)
    reply = b""
    while not reply.endswith(b"}"):
        received = sock.recv(65536)
        if not received:
            return False
        reply += received
    return reply.startswith(b"HTTP/1.1 200 OK")


def gone(sock: socket.socket) -> bool:
    """Whether the other side has closed, all that it sent being read."""
    try:
        while sock.recv(65536):
            pass
    except ConnectionError:
        pass
    except TimeoutError:
        return False
    return True


def probed(found: Running | Alone, seconds: float) -> list[float]:
    """Asks all probes, each over a new connection and a kept one, for as long; what each took, sorted."""
    took, until = [], time.monotonic() + seconds
    base = str(found.probes.base_url)
    while time.monotonic() < until:
        for path in ("/livez", "/readyz", "/metrics"):
            for ask in (found.probes.get, lambda path: httpx.get(f"{base}{path}", timeout=60)):
                started = time.monotonic()
                assert ask(path).status_code == 200
                took.append(time.monotonic() - started)
        time.sleep(0.02)
    return sorted(took)


def fast(took: list[float], quiet: list[float]) -> bool:
    late, late_when_quiet = (found[len(found) * 19 // 20] for found in (took, quiet))
    return late < LONG + 2 * late_when_quiet and took[-1] < KUBELETS


def search(found: Running | Alone) -> int:
    """As somebody does who comes anew."""
    return httpx.post(f"http://127.0.0.1:{found.port}/v1/search?k=3", content=VASE, timeout=60).status_code


def test_a_thousand_begun_heads_keep_nobody_out(shop: Shop) -> None:
    with process(shop) as found, ExitStack() as stack:
        quiet = probed(found, 1)
        for _ in range(1001):
            stack.enter_context(connect(found.port)).sendall(b"G")
        assert fast(probed(found, 1), quiet)
        assert search(found) == 200
        assert found.client.get("/livez").status_code == 200, "the public port still has it"
        assert refused(found, "waiting") >= 500, "half of the connections may wait for a head"
        assert sum(open_now(found).values()) <= 1000


@dataclass(frozen=True)
class Alone:
    """A search process of its own."""

    process: psutil.Process
    port: int
    probes: httpx.Client


@contextmanager
def alone(shop: Shop, tmp_path: Path) -> Iterator[Alone]:
    """`lookalike serve` as a process, with short times and no limit per address: all come from 127.0.0.1 here."""
    program = (
        "import sys; from pathlib import Path; from lookalike import serving; "
        "config = serving.ServingConfig(connections_per_address=0, header_seconds=3, write_seconds=3, "
        "notice_seconds=0); "
        "serving.run(sys.argv[1], port=0, probe_port=0, index=sys.argv[2], threads=1, cache_dir=Path(sys.argv[3]), "
        "config=config)"
    )
    log = tmp_path / "log"
    arguments = [shop.store.uri, str(shop.index), str(shop.cache_dir)]
    with (
        log.open("wb") as out,
        subprocess.Popen([sys.executable, "-c", program, *arguments], stderr=out) as started,
    ):
        try:
            eventually(lambda: b"listening on" in log.read_bytes() or started.poll() is not None)
            said = log.read_text()
            public, probes = (
                re.search(rf"{what} on http://127.0.0.1:(\d+)", said) for what in ("listening", "probes")
            )
            assert public, said
            assert probes, said
            with httpx.Client(base_url=f"http://127.0.0.1:{probes[1]}", timeout=60) as client:
                eventually(lambda: client.get("/readyz").status_code == 200)
                yield Alone(psutil.Process(started.pid), int(public[1]), client)
        finally:
            started.terminate()


def test_a_crowd_of_every_kind(shop: Shop, tmp_path: Path) -> None:
    """1,001 that say nothing or a letter, 500 that drip a head, 200 that never read, and people who search."""
    with alone(shop, tmp_path) as found, ExitStack() as stack:
        for _ in range(3):
            assert search(found) == 200
        before = found.process.memory_info().rss
        stop, done, slow = threading.Event(), [], []

        def people() -> None:
            while not stop.wait(0.05):
                done.append(search(found))

        def drip() -> None:
            while not stop.wait(0.5):
                for sock in slow:
                    with suppress(OSError):
                        sock.send(b"a")

        threads = [threading.Thread(target=target) for target in (people, people, drip)]
        for thread in threads:
            thread.start()
        quiet = probed(found, 3)
        for number in range(1001):
            stack.enter_context(connect(found.port)).sendall(b"G" * (number % 2))
        for _ in range(500):
            slow.append(stack.enter_context(connect(found.port)))
            slow[-1].sendall(b"GET /livez HTTP/1.1\r\nX-A: ")
            slow[-1].setblocking(False)
        for _ in range(200):
            stack.enter_context(connect(found.port, receive=4096)).sendall(SCRIPT * 16)
        try:
            took = probed(found, 8)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        grown = found.process.memory_info().rss - before
        for name, times in ("without", quiet), ("with", took):
            print(
                f"{name} the crowd {len(times)} probes: median {times[len(times) // 2] * 1e3:.0f} ms, ",
                end="",
            )
            print(f"95 % {times[len(times) * 19 // 20] * 1e3:.0f}, slowest {times[-1] * 1e3:.0f}")
        print(f"{len(done)} searches; {grown:,} bytes more")
        assert fast(took, quiet)
        assert done
        assert set(done) == {200}
        eventually(lambda: refused(found, "write") == 200)
        eventually(lambda: refused(found, "head_seconds") + refused(found, "waiting") >= 1501)
        assert grown < 100_000_000, f"{grown:,} bytes more"
        eventually(lambda: sum(open_now(found).values()) == 0)


def test_the_longest_idle_goes_for_who_comes(shop: Shop) -> None:
    with process(shop, connections=4) as found, ExitStack() as stack:
        found.client.close()
        kept = []
        for _ in range(4):
            kept.append(stack.enter_context(connect(found.port)))
            assert lives(kept[-1])
        assert lives(kept[0])
        assert lives(stack.enter_context(connect(found.port)))
        assert gone(kept[1]), "it has been idle longest"
        assert refused(found, "idle") == 1
        assert lives(kept[0])


def test_where_all_are_busy_one_more_is_refused(shop: Shop) -> None:
    upload = b"POST /v1/search HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    with process(shop, connections=3) as found, ExitStack() as stack:
        found.client.close()
        for number in range(3):
            stack.enter_context(connect(found.port)).sendall(upload)
            eventually(lambda number=number: busy(found) == number + 1)  # type: ignore[misc]
        with connect(found.port) as sock:
            reply = sock.recv(65536)
        assert reply.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1" in reply
        assert b"urn:lookalike:problem:busy" in reply
        assert refused(found, "full") == 1
        assert found.probes.get("/readyz").status_code == 200


def test_an_address_has_its_share(shop: Shop) -> None:
    """127.0.0.1 to 127.0.0.3 are three clients."""
    upload = b"POST /v1/search HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    with process(shop, connections=50, connections_per_address=5) as found, ExitStack() as stack:
        silent = [stack.enter_context(connect(found.port, "127.0.0.2")) for _ in range(8)]
        assert [gone(sock) for sock in silent[:3]] == [True] * 3, "their own oldest make room"
        uploading = [stack.enter_context(connect(found.port, "127.0.0.3")) for _ in range(5)]
        for sock in uploading:
            sock.sendall(upload)
        eventually(lambda: busy(found) == 5)
        with connect(found.port, "127.0.0.3") as sock:
            assert sock.recv(65536).startswith(b"HTTP/1.1 503 ")
        assert refused(found, "address") == 1
        assert search(found) == 200


def test_a_reply_that_is_not_read_ends_and_one_that_is_read_slowly_does_not(shop: Shop) -> None:
    with process(shop, write_seconds=2) as found, ExitStack() as stack:
        never, slowly = (stack.enter_context(connect(found.port, receive=4096)) for _ in range(2))
        slowly.sendall(SCRIPT)
        ending = found.client.get("/web/app.js").content[-60:]
        reply = b""
        while not reply.endswith(ending):
            reply += slowly.recv(65536)
        never.sendall(SCRIPT * 16)
        asked = received = 0
        while not refused(found, "write"):
            if received == asked * len(reply):
                slowly.sendall(SCRIPT * 16)
                asked += 16
            received += len(slowly.recv(5000))
            time.sleep(0.05)
        while received < asked * len(reply):
            received += len(slowly.recv(65536))
        assert lives(slowly)
        assert refused(found, "write") == 1


def test_requests_far_ahead_of_their_replies_end_a_connection(shop: Shop) -> None:
    with process(shop) as found:
        with connect(found.port) as some, connect(found.port) as many:
            some.sendall(LIVE * 16)
            many.sendall(LIVE * 5000)
            assert gone(many)
            received = b""
            while received.count(b'{"alive":true}') < 16:
                received += some.recv(65536)
            assert lives(some)
        assert refused(found, "pipeline") == 1


def test_a_dripped_head_ends_and_is_counted(shop: Shop) -> None:
    with process(shop, header_seconds=0.4) as found:
        with connect(found.port) as silent, connect(found.port) as dripping:
            dripping.sendall(b"GET /livez HTTP/1.1\r\nX-A")
            assert gone(silent)
            assert gone(dripping)
        assert refused(found, "head_seconds") == 2
        with connect(found.port) as endless:
            endless.sendall(b"GET /livez HTTP/1.1\r\nX-A: " + b"a" * 200_000)
            assert gone(endless)
        assert refused(found, "head_bytes") == 1


def test_the_probes_port_has_the_probes_alone_and_outlives_the_public_one(shop: Shop) -> None:
    with process(shop) as found:
        for path in ("/livez", "/readyz", "/metrics"):
            ours, public = found.probes.get(path), found.client.get(path)
            assert (ours.status_code, public.status_code) == (200, 200)
        for path in ("/", "/v1/catalogue", "/openapi.json", "/web/app.js"):
            assert found.probes.get(path).status_code == 404
        assert found.probes.post("/v1/search", content=VASE).status_code == 404
        with connect(found.port) as upload:
            upload.sendall(b"POST /v1/search HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(VASE))
            eventually(lambda: busy(found) == 1)
            found.service.lifecycle.drain()
            found.server.should_exit = True
            eventually(lambda: refuses(found.port))
            reply = httpx.get(f"{found.probes.base_url}/readyz")
            assert reply.status_code == 503
            assert reply.json()["reasons"] == ["draining"]
            upload.sendall(VASE)
            assert b"200 OK" in upload.recv(65536)
        eventually(lambda: refuses(found.probes.base_url.port))


def refuses(port: int | None) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port or 0), timeout=5).close()
    except OSError:
        return True
    return False


def test_a_probe_port_that_is_taken_is_said_before_anything_is_loaded(shop: Shop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        service = SearchService(shop.store, CONFIG, cache_dir=shop.cache_dir, threads=1)
        server = make_server(service, create_app(service), "127.0.0.1", 0, port)
        with pytest.raises(SettingsError, match=f"cannot listen on 127.0.0.1:{port}: .*; --probe-port"):
            server.run()
