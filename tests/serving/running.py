"""A search process in this one: the real server on a free port, in a thread, until the block ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from lookalike.serving.app import SearchService, create_app
from lookalike.serving.config import ServingConfig
from lookalike.serving.server import DrainingServer, make_server
from lookalike.storage.directory import DirectoryStore
from lookalike.storage.objects import ObjectStore


class FarStore(DirectoryStore):
    """A store whose files are not on this machine."""

    def local_path(self, key: str) -> None:
        return None


@dataclass(frozen=True)
class Running:
    service: SearchService
    server: DrainingServer
    client: httpx.Client
    port: int
    probes: httpx.Client
    """Asks the port that probes have for themselves."""

    def until_ready(self, *, seconds: float = 60) -> None:
        eventually(lambda: self.client.get("/readyz").status_code == 200, seconds)

    def until_serving(self, index: object, *, seconds: float = 60) -> None:
        eventually(lambda: self.client.get("/readyz").json()["index"] == str(index), seconds)


@contextmanager
def running(
    store: ObjectStore, cache_dir: Path, config: ServingConfig | None = None, *, wait: bool = True
) -> Iterator[Running]:
    config = config or ServingConfig(poll_seconds=0.05, notice_seconds=0)
    service = SearchService(store, config, cache_dir=cache_dir, threads=1)
    server = make_server(service, create_app(service), "127.0.0.1", 0, 0)
    thread = threading.Thread(target=server.run, name="server")
    thread.start()
    try:
        eventually(lambda: server.started)
        assert server.probes is not None
        port, probes = (found.doors[0].address[1] for found in (server, server.probes))
        with (
            httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
            httpx.Client(base_url=f"http://127.0.0.1:{probes}", timeout=60) as asking,
        ):
            process = Running(service, server, client, port, asking)
            if wait:
                process.until_ready()
            yield process
    finally:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive(), "the server did not stop"


def eventually(holds: object, seconds: float = 60) -> None:
    """Wait until `holds()` is true; fail after `seconds`, which only a test that fails anyway waits for."""
    deadline = time.monotonic() + seconds
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.01)
