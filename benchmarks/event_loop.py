"""What holds the event loop of a search process: its longest turns, by kind of request.

    python -m benchmarks.event_loop --store .demo/store --json loop.json

A turn of the loop is everything between two looks at the sockets: whatever it takes, every connection and every probe
waits. Measured is the CPU time of the loop's thread in each turn (the collector's, where that strikes there, included),
so the numbers hold on a busy machine, too. Ordinary searches and each attack of `benchmarks.soak` come from four
threads at once. Waiting for the interpreter while other threads hold it is not in it: that the soak shows.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import soak
from benchmarks.grown import live_photos, open_live
from benchmarks.report import entries, machine, write
from lookalike.serving.app import SearchService, create_app
from lookalike.serving.config import ServingConfig
from lookalike.serving.server import make_server

CLIENTS, TIMES = 4, 6
TARGETS = {f"{name}: longest_ms": 20.0 for name in ("ordinary", *soak.KINDS)}
Asked = Callable[[int, Sequence[bytes], random.Random], int]


class TimedLoop(asyncio.SelectorEventLoop):
    """Notes the CPU seconds of its thread in each turn."""

    turns: list[float]

    def _run_once(self) -> None:
        before = time.thread_time()
        super()._run_once()  # type: ignore[misc]  # asyncio's own name for a turn
        self.turns.append(time.thread_time() - before)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", required=True, help="a store with something live, such as the demo's")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    before = machine()
    with tempfile.TemporaryDirectory(prefix="event-loop-") as work:
        results = measure(options.store, Path(work))
    write(options.json, before, list(entries(results, TARGETS, {})), data={"store": options.store, "seed": 0})


def measure(uri: str, work: Path) -> dict[str, Any]:
    store, live, _ = open_live(uri, work)
    photos = live_photos(store, live.index, work, 20)
    service = SearchService(store, ServingConfig(notice_seconds=0), cache_dir=work)
    server = make_server(service, create_app(service), "127.0.0.1", 0)
    loop = TimedLoop()
    loop.turns = []
    thread = threading.Thread(target=loop.run_until_complete, args=(server.serve(),))
    thread.start()
    try:
        while not (server.started and service.lifecycle.readiness()[0]):
            time.sleep(0.05)
        port = server.doors[0].address[1]
        kinds = {"ordinary": ordinary, **soak.KINDS}
        return {name: turns_of(loop, ask, port, photos) for name, ask in kinds.items()}
    finally:
        server.should_exit = True
        thread.join(60)


def turns_of(loop: TimedLoop, ask: Asked, port: int, photos: Sequence[bytes]) -> dict[str, Any]:
    """The longest turn and the time of all while clients ask."""
    loop.turns.clear()

    def client(number: int) -> None:
        rng = random.Random(number)
        for _ in range(TIMES):
            ask(port, photos, rng)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    time.sleep(0.3)
    return {
        "turns": len(loop.turns),
        "longest_ms": round(max(loop.turns) * 1e3, 1),
        "all_ms": round(sum(loop.turns) * 1e3),
    }


def ordinary(port: int, photos: Sequence[bytes], rng: random.Random) -> int:
    return soak.ask(port, "POST", "/v1/search", rng.choice(photos))[0]


if __name__ == "__main__":
    sys.exit(main())
