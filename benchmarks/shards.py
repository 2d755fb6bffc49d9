"""Rankers against one process: are the answers the same, what does asking cost, and does the memory formula hold?

    python -m benchmarks.shards --store .demo/store --listings 200000 --json results.json

The live index of `--store` is grown to `--listings` rows of one category in three shards (`benchmarks.grown`). The same
index is served twice, by processes of their own as the command line starts them: whole, in one search process; and by
two rankers for each shard with a search process in front. Clients in further processes ask both in turns, so that
whatever else runs on the machine disturbs both. All share the same cores: this measures what the way through rankers
costs, not what more machines gain. Memory is the resident set of each process when it is ready, against
`lookalike.sizing`: its own (anonymous) pages, and those of the index, which are the file's.
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.grown import CATEGORY, Grown, grow, live_photos, open_live
from benchmarks.report import entries, machine, write
from benchmarks.search_load import free_port, run_load, until_ready
from lookalike.imaging.photos import load_square
from lookalike.index.hamming import Scanner
from lookalike.index.reader import IndexSnapshot
from lookalike.ranking.filters import Filters
from lookalike.ranking.listings import Wanted
from lookalike.ranking.local import MappedListings
from lookalike.ranking.request import Query
from lookalike.ranking.search import open_searcher
from lookalike.sharding import wire
from lookalike.sharding.remote import merge_nearest
from lookalike.sizing import Catalogue, Measured
from lookalike.storage.artefacts import fetch, read_manifest

T = TypeVar("T")

SHARDS, COPIES = 3, 2
QUERIES, QUESTIONS = 200, 50
TARGETS = {"answers: equal": float(QUERIES), "memory: index bytes / formula": 1.0}
PEERS = {"one client: sharded p50_ms": "one client: whole p50_ms", "memory: index bytes / formula": "sizing"}


def main() -> None:
    options = parse_options()
    before = machine()
    workdir = Path(tempfile.mkdtemp(prefix="shards-", dir=options.work))
    try:
        results = measure(options, workdir)
    finally:
        shutil.rmtree(workdir)
    data = {"store": options.store, "listings": options.listings, "seed": options.seed}
    write(options.json, before, list(entries(results, TARGETS, PEERS)), data=data)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", required=True, help="a store with something live, such as the demo's")
    parser.add_argument("--listings", type=int, default=200_000)
    parser.add_argument("--seconds", type=float, default=4, help="of each load")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=None, help="where the grown store is put meanwhile")
    parser.add_argument("--json", type=Path, default=None)
    return parser.parse_args()


def measure(options: argparse.Namespace, workdir: Path) -> dict[str, Any]:
    source, live, snapshot = open_live(options.store, workdir / "cache")
    grown = grow(source, live, snapshot, workdir, options.listings, options.seed, shards=SHARDS)
    photos = live_photos(source, live.index, workdir / "cache", QUERIES)[:QUERIES]
    with ExitStack() as stack:
        whole = stack.enter_context(process(grown, "serve"))
        parts = [f"{part}/{SHARDS}" for part in range(SHARDS)] * COPIES
        fleet = [stack.enter_context(process(grown, "rank", "--part", part)) for part in parts]
        urls = [word for ranker in fleet for word in ("--rankers", f"http://127.0.0.1:{ranker[0]}")]
        front = stack.enter_context(process(grown, "serve", *urls))
        results: dict[str, Any] = {"answers": same_answers(whole[0], front[0], photos)}
        results["question"] = question_cpu(grown, photos[:QUESTIONS])
        results["memory"] = memory(grown, options.listings, whole[1], front[1], fleet[0][1])
        for clients, name in ((1, "one client"), (8, "eight clients")):
            found: dict[str, list[Any]] = {"whole": [], "sharded": []}
            for _ in range(options.rounds):
                for kind, (port, _) in (("whole", whole), ("sharded", front)):
                    found[kind].append(run_load(port, photos, clients, options.seconds))
            results[name] = {
                f"{kind} {what}": [getattr(load, what) for load in loads]
                for kind, loads in found.items()
                for what in ("p50_ms", "p99_ms", "per_second", "failed", "server_overhead_p50_ms")
            }
            p50 = {kind: statistics.median(load.p50_ms for load in loads) for kind, loads in found.items()}
            results[name]["sharded / whole"] = round(p50["sharded"] / p50["whole"], 3)
        results["stages"] = {
            f"{kind} scan_ms": scan_ms(port, photos[:50])
            for kind, (port, _) in (("whole", whole), ("sharded", front))
        }
    return results


def same_answers(whole: int, front: int, photos: Sequence[bytes]) -> dict[str, Any]:
    """How many searches of both kinds get the same reply from both, but for the time it took."""
    equal = 0
    for number in range(QUERIES):
        target = f"/v1/search?k=100&categories={CATEGORY}"
        if number % 4 == 3:
            target += f"&listing_id={number * 7:09d}"
        body = b"" if "listing_id" in target else photos[number % len(photos)]
        ours, theirs = (ask(port, target, body) for port in (front, whole))
        del ours["milliseconds"], theirs["milliseconds"]
        equal += ours == theirs and len(ours["hits"]) == 100
    return {"equal": equal, "asked": QUERIES}


def question_cpu(grown: Grown, photos: Sequence[bytes]) -> dict[str, float]:
    """CPU time of a question's parts but the scan, which hardly depends on what else runs here: a ranker reads it, and
    describes and re-scores its 300 candidates; the front writes it once, reads each answer, and merges."""
    release, index = (fetch(grown.store, ref, grown.cache) for ref in (grown.release, grown.index))
    searcher = open_searcher(release, index, threads=1)
    shards = [MappedListings(IndexSnapshot.open(index, shard=n), Scanner(1)) for n in range(SHARDS)]
    side = searcher.card.preset.resize
    found: dict[str, list[float]] = {"ranker cpu_ms": [], "front cpu_ms": [], "front per shard cpu_ms": []}
    for photo in photos:
        (query,) = searcher.encode([Query(photo=load_square(photo, side))])
        aspects = tuple(query.expected.aspects)
        wanted = [Wanted(query.code, (CATEGORY,), Filters(), 300, query.bit_probabilities, aspects)]
        writing, body = cpu_ms(lambda wanted=wanted: wire.wanted_bytes(wanted))
        reading, _ = cpu_ms(lambda body=body: wire.read_wanted(body, searcher.summary.bits))
        candidates = [shard.nearest(wanted) for shard in shards]
        telling = [
            cpu_ms(lambda each=each, wanted=wanted: wire.found_bytes(wanted, each)) for each in candidates
        ]
        answers = [data for _, data in telling]
        taking = [cpu_ms(lambda data=data, wanted=wanted: wire.read_found(data, wanted)) for data in answers]
        parts = [batches[0] for _, batches in taking]
        merging, _ = cpu_ms(lambda parts=parts, wanted=wanted: merge_nearest(wanted[0], parts))
        found["ranker cpu_ms"].append(reading + telling[0][0])
        found["front cpu_ms"].append(writing + sum(ms for ms, _ in taking) + merging)
        found["front per shard cpu_ms"].append((sum(ms for ms, _ in taking) + merging) / SHARDS)
    numbers = {name: round(statistics.median(values), 3) for name, values in found.items()}
    return numbers | {"bytes out": len(body), "bytes back from a shard": len(answers[0])}


def cpu_ms(work: Callable[[], T]) -> tuple[float, T]:
    started = time.thread_time()
    result = work()
    return (time.thread_time() - started) * 1e3, result


def scan_ms(port: int, photos: Sequence[bytes]) -> float:
    """Median of the stage that finds candidates, one search at a time."""
    target = f"/v1/search?categories={CATEGORY}"
    return statistics.median(ask(port, target, photo)["milliseconds"]["scan"] for photo in photos)


def memory(grown: Grown, listings: int, whole: int, front: int, ranker: int) -> dict[str, Any]:
    """What the processes hold, and what the formula says of the index: the real lengths of its texts go in."""
    manifest = read_manifest(grown.store, grown.index)
    on_disk = sum(entry.size for entry in manifest.files)
    texts = grown_texts(grown)
    formula = Catalogue(listings=listings, bits=manifest.meta["bits"], **texts).index_bytes
    measured = Measured()
    found: dict[str, Any] = {"index bytes / formula": round(on_disk / formula, 4)}
    for name, pid, segments, base in (
        ("whole", whole, on_disk, measured.search_gb),
        ("front", front, 0, measured.search_gb),
        ("ranker", ranker, on_disk / SHARDS, measured.ranker_gb),
    ):
        own, mapped = resident(pid)
        found[f"{name}: own_mb"] = round(own / 1e6, 1)
        found[f"{name}: index mapped_mb"] = round(mapped / 1e6, 1)
        found[f"{name}: resident / formula"] = round((own + mapped) / (base * 1e9 + segments), 3)
    return found


def grown_texts(grown: Grown) -> dict[str, float]:
    """Mean lengths of ids and groups, and aspects with values, of the listings that were indexed."""
    index = IndexSnapshot.open(fetch(grown.store, grown.index, grown.cache))
    part = index.partitions(CATEGORY)[0]
    lengths = {
        name: sum(map(len, getattr(part, column)[:1000].to_pylist())) / min(1000, len(part))
        for name, column in (("id_bytes", "listing_ids"), ("group_bytes", "groups"))
    }
    values = sum(len(lists.values) for lists in part.aspects.values()) / len(part) / max(1, len(part.aspects))
    return {**lengths, "aspects": len(part.aspects), "values": values}


def resident(pid: int) -> tuple[int, int]:
    """Bytes of a process in memory: all but the index's segments, and these."""
    total = segments = 0
    mine = False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            mine = "/segment-" in line
        elif line.startswith("Rss:"):
            size = int(line.split()[1]) * 1024
            total += size
            segments += size if mine else 0
    return total - segments, segments


@contextmanager
def process(grown: Grown, verb: str, *words: str) -> Iterator[tuple[int, int]]:
    """`lookalike VERB` over the grown store, ready: its port and its process id."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "lookalike",
        verb,
        "--store",
        grown.store.uri,
        "--port",
        str(port),
        *words,
    ]
    running = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        until_ready(port, running)
        yield port, running.pid
    finally:
        running.terminate()
        running.wait(60)


def ask(port: int, target: str, body: bytes) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", target, body)
    reply: dict[str, Any] = json.loads(connection.getresponse().read())
    connection.close()
    return reply


if __name__ == "__main__":
    main()
