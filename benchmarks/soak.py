"""A search process under ordinary traffic with attacks mixed in, for ten minutes.

    python -m benchmarks.soak --store .demo/store --seconds 600 --json soak.json

The process is that of `benchmarks.search_load`, with keys and rates on and a port for probes. Ordinary clients search
by photo, turn pages by `query_id`, narrow down with filters and facets, and send batches, each from an address of its
own, since clients take turns by key and address. In the first fifth they are alone; then attackers join them from one
more address, each doing one thing in turn: photos that cost much to decode, connections by the hundred that say nothing
or begin a head, heads that never end, huge heads, broken and deeply nested JSON, forged query ids, wrong keys, batches
of the most and the worst, photos that are broken and still decode. Shown are the slowest probe, ordinary latencies with
and without attackers, what ordinary clients were refused, and resident memory over time.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import multiprocessing
import random
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.grown import Grown, grow, live_photos, open_live
from benchmarks.report import entries, machine, write
from benchmarks.search_load import KEY, serving

CLIENTS, ATTACKERS = 4, 4
FOREIGN = "127.0.0.2"
"""The attackers' address."""
IP_BIND_ADDRESS_NO_PORT = 24
"""Linux, ip(7). Without it the kernel looks for a free port while it holds a lock, for milliseconds once 20,000 closed
connections linger: time that shoppers would lack, too."""
QUIET = 0.2
"""Share of the time without attackers."""
TARGETS = {
    "probes: slowest_ms": 100.0,
    "ordinary: p99 with attacks / without": 2.0,
    "memory: growth after the first minute of attacks": 1.1,
    "ordinary: failed": 0.0,
}
PEERS = {"ordinary: p99 with attacks / without": "ordinary: p99_ms_without"}
HEADERS = {"Authorization": f"Bearer {KEY}", "Host": "search"}
BOMB = base64.b64decode("UklGRh4AAABXRUJQVlA4TBEAAAAv/////wAHEP1P/Yj+BwA=")
"""A WebP of a few bytes that claims 16384 x 16384 pixels."""


@dataclass
class Seen:
    """What one kind of client saw: (when, seconds, status) of each request, since the start."""

    records: list[tuple[float, float, int]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, began: float, start: float, status: int) -> None:
        with self.lock:
            self.records.append((began - start, time.monotonic() - began, status))

    def milliseconds(self, first: float, last: float) -> np.ndarray:
        """f64[n] of those that were answered and began in between."""
        return np.array([s * 1e3 for at, s, status in self.records if first <= at < last and status == 200])


def main() -> None:
    conduct(__doc__, measure, TARGETS, PEERS, listings=100_000, seconds=600)


def conduct(
    said: str | None,
    measured: Callable[[Grown, Sequence[bytes], float], dict[str, Any]],
    targets: dict[str, float],
    peers: dict[str, str],
    *,
    listings: int,
    seconds: float,
) -> None:
    """A benchmark of a grown shop, from its command line to its report.

    `measured` gets the shop, photos to ask with, and seconds; `listings` and `seconds` are defaults.
    """
    parser = argparse.ArgumentParser(description=said, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", required=True, help="a store with something live, such as the demo's")
    parser.add_argument("--listings", type=int, default=listings)
    parser.add_argument("--seconds", type=float, default=seconds)
    parser.add_argument("--work", type=Path, default=None, help="where the grown store is put meanwhile")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    before, workdir = machine(), Path(tempfile.mkdtemp(prefix="shop-", dir=options.work))
    try:
        source, live, snapshot = open_live(options.store, workdir / "cache")
        photos = live_photos(source, live.index, workdir / "cache", 32)
        grown = grow(source, live, snapshot, workdir / "large", options.listings, 0)
        results = measured(grown, photos, options.seconds)
    finally:
        shutil.rmtree(workdir)
    data = {"store": options.store, "listings": options.listings, "seconds": options.seconds, "seed": 0}
    write(options.json, before, list(entries(results, targets, peers)), data=data)


def measure(grown: Grown, photos: Sequence[bytes], seconds: float) -> dict[str, Any]:
    with serving(grown, 0, keys=True, probes=True) as port:
        return soak(port, photos, seconds)


def soak(port: int, photos: Sequence[bytes], seconds: float) -> dict[str, Any]:
    """Ordinary clients all the time, attackers after a fifth of it, probes and memory throughout."""
    for photo in photos[:4]:
        ask(port, "POST", "/v1/search", photo)
    start, stop = time.monotonic(), threading.Event()
    ordinary, probes, attacks = Seen(), Seen(), Seen()
    memory: list[tuple[float, float]] = []
    quiet = seconds * QUIET
    threads = [
        *(
            threading.Thread(target=shop, args=(port, photos, n, start, stop, ordinary))
            for n in range(CLIENTS)
        ),
        threading.Thread(target=probe, args=(port + 1, start, stop, probes, memory)),
    ]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        attackers = pool.apply_async(attack_together, (port, photos, start, quiet, seconds))
        for thread in threads:
            thread.start()
        time.sleep(seconds)
        stop.set()
        for thread in threads:
            thread.join(60)
        attacks.records = attackers.get(60)
    without, with_ = ordinary.milliseconds(1, quiet), ordinary.milliseconds(quiet, seconds)
    settled = min(60.0, (seconds - quiet) / 4)
    early = max(mb for at, mb in memory if at <= quiet + settled)
    late = max(mb for at, mb in memory if at > quiet + settled)
    statuses = Counter(status for _, _, status in ordinary.records)
    alone = np.array([s * 1e3 for at, s, _ in probes.records if at < quiet])
    all_probes = np.array([s * 1e3 for _, s, _ in probes.records])
    p99 = [round(float(np.percentile(found, 99)), 1) for found in (without, with_)]
    return {
        "probes": {
            "count": len(all_probes),
            "p99_ms": round(float(np.percentile(all_probes, 99)), 1),
            "slowest_ms": round(float(all_probes.max()), 1),
            "p99_ms_without": round(float(np.percentile(alone, 99)), 1),
            "slowest_ms_without": round(float(alone.max()), 1),
        },
        "ordinary": {
            "requests": len(ordinary.records),
            "failed": sum(n for status, n in statuses.items() if status not in (200, 503)),
            "busy": statuses[503],
            "disconnected": statuses[0],
            "p50_ms_without": round(float(np.median(without)), 1),
            "p50_ms_with": round(float(np.median(with_)), 1),
            "p99_ms_without": p99[0],
            "p99_ms_with": p99[1],
            "p99 with attacks / without": round(p99[1] / p99[0], 2),
        },
        "attacks": {
            "count": len(attacks.records),
            "server errors": sum(status == 500 for _, _, status in attacks.records),
        },
        "memory": {
            "mb": [round(mb) for _, mb in memory[:: max(1, len(memory) // 12)]],
            "growth after the first minute of attacks": round(late / early, 3),
        },
    }


def shop(
    port: int, photos: Sequence[bytes], number: int, start: float, stop: threading.Event, seen: Seen
) -> None:
    """One shopper after another, at an address of their own: a photo, two further pages, a filter, now and then a
    batch."""
    rng, source = random.Random(number), f"127.0.1.{number + 1}"
    while not stop.is_set():
        photo = rng.choice(photos)
        query_id = timed(port, "POST", "/v1/search?k=12", photo, start, seen, source).get("query_id")
        if query_id is None:
            continue
        for more in ("offset=12", "offset=24&facets=true", "price=..50&sort=price"):
            timed(port, "GET", f"/v1/search?k=12&query_id={query_id}&{more}", b"", start, seen, source)
        if rng.random() < 0.1:
            searches = [{"query_id": query_id, "k": 5}, {"photo": base64.b64encode(photo).decode(), "k": 5}]
            body = json.dumps({"searches": searches}).encode()
            json_body = {"Content-Type": "application/json"}
            timed(port, "POST", "/v1/search/batch", body, start, seen, source, json_body)


def timed(
    port: int,
    method: str,
    target: str,
    body: bytes,
    start: float,
    seen: Seen,
    source: str,
    headers: dict[str, str] | None = None,
) -> dict[str, Any]:
    began = time.monotonic()
    status, data = ask(port, method, target, body, headers, source)
    seen.add(began, start, status)
    found: dict[str, Any] = json.loads(data) if status == 200 else {}
    return found


def ask(
    port: int,
    method: str,
    target: str,
    body: bytes = b"",
    headers: dict[str, str] | None = None,
    source: str = "127.0.0.1",
) -> tuple[int, bytes]:
    """Status and body; 0 where the connection failed."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60, source_address=(source, 0))
    try:
        connection.request(method, target, body or None, {**HEADERS, **(headers or {})})
        reply = connection.getresponse()
        return reply.status, reply.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def probe(
    port: int, start: float, stop: threading.Event, seen: Seen, memory: list[tuple[float, float]]
) -> None:
    """As Kubernetes does, but ten times a second; and what Prometheus would read."""
    while not stop.wait(0.1):
        began = time.monotonic()
        status, _ = ask(port, "GET", "/readyz" if len(seen.records) % 2 else "/livez")
        seen.add(began, start, status)
        if len(seen.records) % 20 == 0:
            _, text = ask(port, "GET", "/metrics")
            name = b"process_resident_memory_bytes "
            memory.extend(
                (time.monotonic() - start, float(line.split()[1]) / 1e6)
                for line in text.splitlines()
                if line.startswith(name)
            )


def attack_together(
    port: int, photos: Sequence[bytes], start: float, first: float, last: float
) -> list[tuple[float, float, int]]:
    """All attackers, from `first` to `last` seconds after `start`, and what they saw. They have a process of their own:
    ordinary clients that waited for it to build its bodies would take that for the service's time."""
    stop, seen = threading.Event(), Seen()
    threads = [
        threading.Thread(target=attack, args=(port, photos, n, start, stop, seen)) for n in range(ATTACKERS)
    ]
    time.sleep(max(0.0, start + first - time.monotonic()))
    for thread in threads:
        thread.start()
    time.sleep(max(0.0, start + last - time.monotonic()))
    stop.set()
    for thread in threads:
        thread.join(60)
    return seen.records


def attack(
    port: int, photos: Sequence[bytes], number: int, start: float, stop: threading.Event, seen: Seen
) -> None:
    """One attack after another, beginning with another one each."""
    rng = random.Random(1000 + number)
    kinds = list(KINDS.values())
    turn = number * 2
    while not stop.is_set():
        began = time.monotonic()
        with suppress(OSError):
            seen.add(began, start, kinds[turn % len(kinds)](port, photos, rng))
        turn += 1


def bombs(port: int, photos: Sequence[bytes], rng: random.Random) -> int:
    return ask(port, "POST", "/v1/search", BOMB, source=FOREIGN)[0]


def idlers(port: int, photos: Sequence[bytes], rng: random.Random) -> int:
    return hold_300(port, b"")


def begun_heads(port: int, photos: Sequence[bytes], rng: random.Random) -> int:
    return hold_300(port, b"G")


def hold_300(port: int, said: bytes) -> int:
    """Open as many connections that say this and no more."""
    held = []
    try:
        for _ in range(300):
            each = socket.socket()
            held.append(each)
            each.settimeout(5)
            each.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            each.bind((FOREIGN, 0))
            each.connect(("127.0.0.1", port))
            each.sendall(said)
        time.sleep(0.5)
    finally:
        for each in held:
            each.close()
    return 0


def slow_heads(port: int, photos: Sequence[bytes], rng: random.Random) -> int:
    with socket.create_connection(("127.0.0.1", port), timeout=15, source_address=(FOREIGN, 0)) as mine:
        for letter in b"POST /v1/search HTTP/1.1\r\nhost: search\r\nx: ":
            mine.send(bytes([letter]))
            time.sleep(0.01)
    return 0


def huge_heads(port: int, photos: Sequence[bytes], rng: random.Random) -> int:
    return ask(port, "GET", "/v1/search?query_id=" + "A" * 60_000, source=FOREIGN)[0]


def broken_json(port: int, photos: Sequence[bytes], rng: random.Random) -> int:
    body = rng.choice(
        [b"[" * 200_000, b'{"k":' + b"9" * 100_000 + b"}", b'{"photo":"' + b"A" * 4_000_000 + b'"}']
    )
    return ask(port, "POST", "/v1/search", body, {"Content-Type": "application/json"}, source=FOREIGN)[0]


def forged_ids(port: int, photos: Sequence[bytes], rng: random.Random) -> int:
    forged = base64.urlsafe_b64encode(b"\x01" + rng.randbytes(3000)).decode()
    return ask(port, "GET", f"/v1/search?query_id={forged}", source=FOREIGN)[0]


def wrong_keys(port: int, photos: Sequence[bytes], rng: random.Random) -> int:
    return ask(
        port, "POST", "/v1/search", photos[0], {"Authorization": f"Bearer lk_{rng.random()}"}, source=FOREIGN
    )[0]


def worst_batches(port: int, photos: Sequence[bytes], rng: random.Random) -> int:
    bomb = base64.b64encode(BOMB).decode()
    body = json.dumps({"searches": [{"photo": bomb, "k": 200, "offset": 800, "facets": True}] * 16}).encode()
    return ask(port, "POST", "/v1/search/batch", body, {"Content-Type": "application/json"}, source=FOREIGN)[
        0
    ]


def broken_photos(port: int, photos: Sequence[bytes], rng: random.Random) -> int:
    data = bytearray(rng.choice(photos))
    for _ in range(20):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return ask(port, "POST", "/v1/search", bytes(data), source=FOREIGN)[0]


KINDS: dict[str, Callable[[int, Sequence[bytes], random.Random], int]] = {
    attack.__name__: attack
    for attack in (
        bombs,
        idlers,
        begun_heads,
        slow_heads,
        huge_heads,
        broken_json,
        forged_ids,
        wrong_keys,
        worst_batches,
        broken_photos,
    )
}
"""Each attack by its name."""


if __name__ == "__main__":
    sys.exit(main())
