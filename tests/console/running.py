"""A console in this process: the real server on a free port, in a thread, until the block ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from lookalike.console.access import Access
from lookalike.console.app import Console
from lookalike.console.orchestrator import Orchestrator
from lookalike.console.overview import Overview
from lookalike.console.server import make_server
from lookalike.storage.objects import ObjectStore

TOKEN = "a token of some length"
NOBODY_LISTENS = "http://127.0.0.1:9/api"


@contextmanager
def running(
    store: ObjectStore, cache_dir: Path, *, prefect: str = NOBODY_LISTENS, hosts: Sequence[str] = ()
) -> Iterator[httpx.Client]:
    """A client of the console of `store`."""
    console = Console(Overview(store), Orchestrator(prefect), Access(TOKEN), cache_dir=cache_dir)
    server = make_server(console, "127.0.0.1", 0, hosts)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    port = server.doors[0].address[1]
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()
