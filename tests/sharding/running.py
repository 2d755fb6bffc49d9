"""Rankers in this process: real servers on free ports, reached through wires that a test can cut or clog."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lookalike.serving.config import ServingConfig
from lookalike.serving.holdings import Part
from lookalike.serving.ranker import RankerService
from lookalike.serving.server import make_server
from lookalike.storage.objects import ObjectStore
from tests.serving.running import eventually


class Wire:
    """A TCP relay to one port. `cut` ends it as the death of a machine would; `clog` lets nothing through any more."""

    def __init__(self, loop: asyncio.AbstractEventLoop, target: int) -> None:
        self._loop, self._target = loop, target
        self._writers: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._relay, "127.0.0.1", 0), loop
        ).result()
        self.port: int = self._server.sockets[0].getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cut(self) -> None:
        def act() -> None:
            self._server.close()
            for writer in self._writers:
                writer.transport.abort()

        self._loop.call_soon_threadsafe(act)
        eventually(lambda: not self._server.is_serving())

    def close(self) -> None:
        """On the loop."""
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    def clog(self) -> None:
        self._loop.call_soon_threadsafe(self._flows.clear)

    def clear(self) -> None:
        self._loop.call_soon_threadsafe(self._flows.set)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, there_writer}
        await asyncio.gather(self._pump(reader, there_writer), self._pump(there_reader, writer))

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                await self._flows.wait()
                sink.write(data)
                await sink.drain()
        sink.close()


@dataclass(frozen=True)
class Ranker:
    service: RankerService
    wire: Wire
    port: int
    """Its own, past the wire."""


class Rankers:
    """Starts rankers, and ends them with the block that it is the context of."""

    def __init__(self, store: ObjectStore, cache_dir: Path, *, poll_seconds: float = 0.05) -> None:
        self._store, self._cache_dir = store, cache_dir
        self._config = ServingConfig(poll_seconds=poll_seconds, notice_seconds=0, drain_seconds=1)
        self._running: list[tuple[Any, threading.Thread]] = []
        self._strung: list[Wire] = []
        self._loop = asyncio.new_event_loop()
        self._wires = threading.Thread(target=self._loop.run_forever, name="wires")
        self._wires.start()

    def start(self, part: str) -> Ranker:
        service = RankerService(
            self._store, Part.parse(part), self._config, cache_dir=self._cache_dir, threads=1
        )
        server = make_server(service, service.app(), "127.0.0.1", 0)
        thread = threading.Thread(target=server.run, name=f"ranker {part}")
        thread.start()
        self._running.append((server, thread))
        eventually(lambda: server.started)
        port = server.doors[0].address[1]
        wire = Wire(self._loop, port)
        self._strung.append(wire)
        return Ranker(service, wire, port)

    def stop(self) -> None:
        for server, _ in self._running:
            server.should_exit = server.force_exit = True
        for _, thread in self._running:
            thread.join(20)
        asyncio.run_coroutine_threadsafe(self._unstring(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._wires.join()
        self._loop.close()

    async def _unstring(self) -> None:
        for wire in self._strung:
            wire.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.05)  # transports end one turn of the loop later


@contextmanager
def rankers(store: ObjectStore, cache_dir: Path, parts: list[str]) -> Iterator[list[Ranker]]:
    """One ranker for each of `parts`, such as ``0/3``; a part that is there twice has twins."""
    running = Rankers(store, cache_dir)
    try:
        yield [running.start(part) for part in parts]
    finally:
        running.stop()
