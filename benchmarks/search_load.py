"""The search process under load: overhead, latency percentiles, throughput, reload, and time to start.

    python -m benchmarks.search_load --store .demo/store --listings 1000000 --json results.json

The model release is the live one of `--store`; its index is grown to `--listings` rows of one category
(`benchmarks.grown`). A search process of its own serves it, as `lookalike serve` does, and clients in further processes
send photos of the catalogue over HTTP. "Alone" is the same encoder and scanner called directly, one photo at a time,
while nothing else runs: the peer of the times over HTTP. One client and alone take turns, as memory on a shared machine
is faster in one minute than in the next. Clients show an API key, and rates are counted (`--open`: neither).
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.grown import CATEGORY, Grown, grow, live_photos, make_index, open_live
from benchmarks.report import entries, machine, write
from lookalike.catalogue.snapshot import CuratedSnapshot
from lookalike.imaging import photos
from lookalike.index.reader import IndexSnapshot
from lookalike.publishing.live_ref import publish, read_live
from lookalike.ranking.local import MappedListings
from lookalike.ranking.search import Searcher, open_searcher
from lookalike.serving.keys import line_of
from lookalike.storage.artefacts import ArtefactWriter, Kind, fetch
from lookalike.storage.objects import ObjectStore

CANDIDATES = 300
QUERIES = 32
KEY = "lk_" + "benchmark" * 4
SEARCH = f"/v1/search?categories={CATEGORY}"
ROUNDS = 7
"""How often one client and no client take turns."""
TARGETS = {
    "start: ready_seconds": 5.0,
    "reload: failed": 0.0,
    "reload: p99 during / steady": 2.0,
    "clients_1: server_overhead_p50_ms": 5.0,
    "ratios: one photo over HTTP / encode + scan alone": 1.15,
    "ratios: throughput 16 clients / 1 client": 2.5,
}
PEERS = {
    "reload: p99 during / steady": "reload: steady: p99_ms",
    "ratios: one photo over HTTP / encode + scan alone": "alone: encode_and_scan_p50_ms",
    "ratios: throughput 16 clients / 1 client": "clients_1: per_second",
}


@dataclass(frozen=True)
class Load:
    """What clients that never paused got in one period."""

    clients: int
    seconds: float
    requests: int
    failed: int
    per_second: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    server_overhead_p50_ms: float
    """Time in the server but encode and scan, waiting for others' batches not counted."""
    encode_and_scan_p50_ms: float


def main() -> None:
    options = parse_options()
    before = machine()
    workdir = Path(tempfile.mkdtemp(prefix="search-load-", dir=options.work))
    try:
        results = measure(options, workdir)
    finally:
        shutil.rmtree(workdir)
    found = list(entries(results, TARGETS, PEERS))
    data = {"store": options.store, "listings": options.listings, "seed": options.seed}
    write(options.json, before, found, data=data)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", required=True, help="a store with something live, such as the demo's")
    parser.add_argument("--listings", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=10, help="of each load")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--open", action="store_true", help="serve without keys and rates, to compare")
    parser.add_argument("--work", type=Path, default=None, help="where the grown store is put meanwhile")
    parser.add_argument("--json", type=Path, default=None)
    return parser.parse_args()


def measure(options: argparse.Namespace, workdir: Path) -> dict[str, Any]:
    cache = workdir / "cache"
    source, live, snapshot = open_live(options.store, cache)
    queries = live_photos(source, live.index, cache, QUERIES)
    results: dict[str, Any] = {}
    small = grow(source, live, snapshot, workdir / "small", min(100_000, options.listings), options.seed)
    results["start"] = start_times(small, options.threads)
    print("start", json.dumps(results["start"]), file=sys.stderr)
    results["reload"] = reload_under_load(small, source, live, snapshot, queries, options)
    print("reload", json.dumps(results["reload"]), file=sys.stderr)
    large = grow(source, live, snapshot, workdir / "large", options.listings, options.seed)
    searcher = open_searcher(
        fetch(large.store, large.release, large.cache),
        fetch(large.store, large.index, large.cache),
        threads=options.threads,
    )
    with serving(large, options.threads, keys=not options.open) as port:
        turns = [
            (alone(searcher, queries), asdict(run_load(port, queries, 1, options.seconds / ROUNDS)))
            for _ in range(ROUNDS)
        ]
        crowd = asdict(run_load(port, queries, 16, options.seconds))
    for name, found in zip(("alone", "clients_1"), zip(*turns, strict=True), strict=True):
        results[name] = {number: [turn[number] for turn in found] for number in found[0]}
    results["clients_1"]["failed"] = sum(results["clients_1"]["failed"])
    results["clients_16"] = crowd
    results["ratios"] = {
        "one photo over HTTP / encode + scan alone": [
            round(one["p50_ms"] / without["encode_and_scan_p50_ms"], 3) for without, one in turns
        ],
        "throughput 16 clients / 1 client": round(
            crowd["per_second"] / statistics.median(results["clients_1"]["per_second"]), 2
        ),
    }
    return results


def alone(searcher: Searcher, queries: Sequence[bytes]) -> dict[str, float]:
    """Encode one photo and scan everything for it, with nothing around them."""
    squares = [photos.load_square(q, searcher.card.preset.resize) for q in queries]
    listings = searcher.listings
    assert isinstance(listings, MappedListings)
    (partitions,) = [listings.index.partitions(c) for c in listings.index.categories]
    encodes, scans = [], []
    for square in squares * 2:
        started = time.perf_counter()
        code = searcher.encoder.encode(square[None]).codes
        encoded = time.perf_counter()
        listings.scanner.top_k(code, partitions, CANDIDATES)
        encodes.append(encoded - started)
        scans.append(time.perf_counter() - encoded)
    both = [e + s for e, s in zip(encodes, scans, strict=True)][len(squares) :]
    return {
        "encode_p50_ms": round(statistics.median(encodes[len(squares) :]) * 1e3, 3),
        "scan_p50_ms": round(statistics.median(scans[len(squares) :]) * 1e3, 3),
        "encode_and_scan_p50_ms": round(statistics.median(both) * 1e3, 3),
    }


def start_times(grown: Grown, threads: int, repeats: int = 3) -> dict[str, Any]:
    """Seconds from starting the process to the first 200 of /readyz, and resident bytes then."""
    seconds, resident = [], []
    for _ in range(repeats):
        started = time.perf_counter()
        with serving(grown, threads) as port:
            seconds.append(time.perf_counter() - started)
            resident.append(metric(port, "process_resident_memory_bytes"))
    return {
        "listings": len(IndexSnapshot.open(fetch(grown.store, grown.index, grown.cache))),
        "ready_seconds": [round(s, 2) for s in seconds],
        "resident_mb": round(statistics.median(resident) / 1e6),
    }


def reload_under_load(
    grown: Grown,
    source: ObjectStore,
    live: Any,
    snapshot: CuratedSnapshot,
    queries: Sequence[bytes],
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Two index swaps, then a release + index swap, under 8 clients; the second release is a copy of the first."""
    first = IndexSnapshot.open(fetch(source, live.index, grown.cache))
    rows = min(100_000, options.listings)
    second = make_index(grown.store, grown.cache, grown.release, first, snapshot, rows, options.seed + 1)
    third = make_index(grown.store, grown.cache, grown.release, first, snapshot, rows, options.seed + 2)
    copy = ArtefactWriter(grown.store, Kind.RELEASE, inputs={"copy of": str(grown.release)}, config={})
    original = fetch(grown.store, grown.release, grown.cache)
    for entry in original.manifest.files:
        copy.add(entry.name, original.path(entry.name))
    other = copy.commit()
    fourth = make_index(grown.store, grown.cache, other, first, snapshot, rows, options.seed + 3)
    with serving(grown, options.threads) as port:
        steady = run_load(port, queries, 8, options.seconds)

        def swap() -> None:
            for release, index in ((grown.release, second), (grown.release, third), (other, fourth)):
                time.sleep(1)
                publish(grown.store, release, index, by="benchmark", expected=read_live(grown.store))
                while get_json(port, "/readyz")["index"] != str(index):
                    time.sleep(0.02)

        swapping = threading.Thread(target=swap)
        swapping.start()
        during = run_load(port, queries, 8, options.seconds)
        swapping.join()
    return {
        "steady": asdict(steady),
        "during": asdict(during),
        "failed": steady.failed + during.failed,
        "p99 during / steady": round(during.p99_ms / steady.p99_ms, 2),
    }


# --- a process and its clients ------------------------------------------------------------


@contextmanager
def serving(grown: Grown, threads: int, *, keys: bool = False, probes: bool = False) -> Iterator[int]:
    """A search process over the store, ready; its port. With `keys` it asks for `KEY`, and counts rates nobody reaches;
    with `probes` the port after it answers probes."""
    port = free_port()
    code = (
        "import sys; from pathlib import Path; from lookalike import serving; "
        "from lookalike.serving.access import AccessConfig; "
        "rates = dict(keys_file=Path(sys.argv[5]), per_key=1e6, per_address=1e6, burst=10**6, hosts=('search', "
        "'127.0.0.1'), origins=('https://shop.example',)) if len(sys.argv) > 5 else {}; "
        "serving.run(sys.argv[1], port=int(sys.argv[2]), probe_port=PROBES, threads=int(sys.argv[3]), "
        "cache_dir=Path(sys.argv[4]), "
        "config=serving.ServingConfig(poll_seconds=0.5, notice_seconds=0, access=AccessConfig(**rates)))"
    )
    code = code.replace("PROBES", "int(sys.argv[2]) + 1" if probes else "None")
    command = [sys.executable, "-c", code, grown.store.uri, str(port), str(threads), str(grown.cache)]
    if keys:
        grown.cache.mkdir(parents=True, exist_ok=True)
        file = grown.cache / "keys.txt"
        file.write_text(line_of(KEY, "benchmark", ("admin",)) + "\n")
        command.append(str(file))
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        until_ready(port, process)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def until_ready(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait for the first 200 of /readyz."""
    while True:
        try:
            if get_json(port, "/readyz")["ready"]:
                return
        except OSError:
            if process.poll() is not None:
                raise SystemExit("the process ended") from None
        time.sleep(0.02)


def run_load(port: int, queries: Sequence[bytes], clients: int, seconds: float, path: str = SEARCH) -> Load:
    """`clients` connections in up to 4 processes, each sending its next query when the last is answered."""
    processes = min(4, clients)
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        pool.map(warm, [(port, queries, path)] * processes)
        jobs = [(port, queries, clients // processes, seconds, path)] * processes
        found = [record for records in pool.map(send_queries, jobs) for record in records]
    good = [record for record in found if record[0] == 200]
    took = np.array([record[1] for record in good]) * 1e3
    return Load(
        clients=clients,
        seconds=seconds,
        requests=len(found),
        failed=len(found) - len(good),
        per_second=round(len(good) / seconds, 2),
        p50_ms=round(float(np.percentile(took, 50)), 2),
        p90_ms=round(float(np.percentile(took, 90)), 2),
        p99_ms=round(float(np.percentile(took, 99)), 2),
        server_overhead_p50_ms=round(statistics.median(record[2] for record in good), 2),
        encode_and_scan_p50_ms=round(statistics.median(record[3] for record in good), 2),
    )


def warm(job: tuple[int, Sequence[bytes], str]) -> None:
    port, queries, path = job
    send_queries((port, queries, 1, 0.5, path))


def send_queries(job: tuple[int, Sequence[bytes], int, float, str]) -> list[tuple[int, float, float, float]]:
    """(status, seconds, server overhead ms, encode + scan ms) of each request."""
    port, queries, threads, seconds, path = job
    records: list[tuple[int, float, float, float]] = []
    end = time.monotonic() + seconds

    def client(number: int) -> None:
        connection: PlainClient | None = None
        turn = number
        while time.monotonic() < end:
            turn += 1
            started = time.perf_counter()
            try:
                connection = connection or PlainClient(port)
                status, received = connection.search(queries[turn % len(queries)], path)
                took = time.perf_counter() - started
                body = json.loads(received)
            except (OSError, ValueError):
                records.append((0, 0.0, 0.0, 0.0))
                connection = None
                continue
            if status != 200:
                records.append((status, took, 0.0, 0.0))
                continue
            stages = body["milliseconds"]
            work = stages["encode"] + stages["scan"]
            records.append((200, took, stages["total"] - stages["wait"] - work, work))

    workers = [threading.Thread(target=client, args=(n * 7,)) for n in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return records


class PlainClient:
    """One connection, and no more of HTTP than a search needs: the time that `http.client` takes for the headers of a
    reply, a third of a millisecond, would be counted as the service's."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def search(self, photo: bytes, path: str) -> tuple[int, bytes]:
        """Status and body of the reply. Raises `OSError`, or `ValueError` where the connection ends within it."""
        self.socket.sendall(
            f"POST {path} HTTP/1.1\r\nhost: search\r\nauthorization: Bearer {KEY}\r\n"
            f"content-length: {len(photo)}\r\n\r\n".encode()
            + photo
        )
        received = b""
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += self._more()
        head = received[:end].lower()
        length = int(head.split(b"\r\ncontent-length:")[1].split(b"\r\n")[0])
        while len(received) < end + 4 + length:
            received += self._more()
        return int(head.split()[1]), received[end + 4 :]

    def _more(self) -> bytes:
        if not (data := self.socket.recv(1 << 16)):
            raise ValueError("the connection ended within a reply")
        return data


def get_json(port: int, path: str) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path)
    body: dict[str, Any] = json.loads(connection.getresponse().read())
    connection.close()
    return body


def metric(port: int, name: str) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    return float(next(line.split()[1] for line in text.splitlines() if line.startswith(name + " ")))


if __name__ == "__main__":
    main()
