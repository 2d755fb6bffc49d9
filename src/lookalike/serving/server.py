"""The HTTP server around the application: uvicorn with limits on connections, a port for probes, and an orderly end.

At SIGTERM the process first says that it is not ready and goes on answering for `notice_seconds`, so that whoever
sends requests can learn of it; then it takes no more connections, finishes what it has, and ends. At SIGINT the
notice is left out; a second signal ends it at once.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import uvicorn
from starlette.routing import Route
from starlette.types import ASGIApp

from lookalike.errors import SettingsError
from lookalike.index.generation import find_tip
from lookalike.listening import (
    ConnectionLimits,
    Connections,
    ListeningServer,
    allow_files,
    bind,
    limited_protocol,
)
from lookalike.serving.app import SearchService, create_app
from lookalike.serving.config import ServingConfig
from lookalike.serving.holdings import Part
from lookalike.serving.interpreter import share_interpreter
from lookalike.serving.memory import return_freed_memory
from lookalike.serving.metrics import Metrics
from lookalike.serving.observing import MAXIMUM_HEAD_BYTES, JsonFormatter, TerminalFormatter
from lookalike.serving.probes import ProbeServer
from lookalike.serving.ranker import RankerService
from lookalike.settings import Settings
from lookalike.storage.artefacts import Kind, Ref
from lookalike.storage.objects import ObjectStore
from lookalike.storage.stores import open_store

_LOG = logging.getLogger("lookalike.serving")


def run(
    store: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    probe_port: int | None = None,
    index: str | None = None,
    threads: int = 0,
    cache_dir: Path | None = None,
    config: ServingConfig | None = None,
) -> None:
    """Serve until a signal ends it. `index` (a reference, or the start of an id) pins what is served.

    `probe_port` answers `/livez`, `/readyz` and `/metrics` alone, whatever goes on at `port`; None: no such port.

    Raises `SettingsError` where the address cannot be listened on, and the errors of opening the store.
    """
    log_to_stderr()
    opened = open_store(store)
    config = _with_files(config or ServingConfig())
    if index is not None:
        config = replace(config, index=index_named(opened, index))
    service = SearchService(opened, config, cache_dir=cache_dir or Settings().cache_dir, threads=threads)
    _serve(make_server(service, create_app(service), host, port, probe_port))


def run_ranker(
    store: str,
    part: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8001,
    probe_port: int | None = None,
    threads: int = 0,
    cache_dir: Path | None = None,
    config: ServingConfig | None = None,
) -> None:
    """Hold the shards of `part` (`holdings.Part`) for coordinators until a signal ends it. Raises as `run` does."""
    log_to_stderr()
    service = RankerService(
        open_store(store),
        Part.parse(part),
        _with_files(config or ServingConfig(connections_per_address=0)),  # search pods are few and ask much
        cache_dir=cache_dir or Settings().cache_dir,
        threads=threads,
    )
    _serve(make_server(service, service.app(), host, port, probe_port))


def _with_files(config: ServingConfig) -> ServingConfig:
    """As many connections as this process may open files for."""
    return replace(config, connections=allow_files(config.connections))


def require_free(host: str, port: int) -> None:
    """Raises `SettingsError` where nothing could listen there: before a snapshot is fetched and warmed up."""
    try:
        bound = bind(host, port)
    except SettingsError as error:
        raise SettingsError(f"{error}; --port takes another, 0 any that is free") from error
    for listener in bound:
        listener.close()


def _serve(server: uvicorn.Server) -> None:
    return_freed_memory()
    share_interpreter()
    server.run()


def index_named(store: ObjectStore, index: str) -> Ref:
    """The index snapshot or delta of that reference, or whose id begins so.

    Raises `SettingsError`, `ObjectNotFound`.
    """
    ref = Ref.parse(index) if "@" in index else find_tip(store, index.rpartition("/")[2])
    if ref.kind not in (Kind.INDEX, Kind.DELTA):
        raise SettingsError(f"{index} is no index snapshot")
    return ref


class Drainable(Protocol):
    """What can say that it is stopping before it stops."""

    def drain(self) -> None: ...

    @property
    def draining(self) -> bool: ...


class Service(Protocol):
    """What is served: its settings and counters, what probes ask, and the life that ends with it."""

    @property
    def config(self) -> ServingConfig: ...

    @property
    def metrics(self) -> Metrics: ...

    def probe_routes(self) -> list[Route]: ...

    @property
    def lifecycle(self) -> Drainable: ...


def make_server(
    service: Service, app: ASGIApp, host: str, port: int, probe_port: int | None = None
) -> DrainingServer:
    """A server for the application of a service, and one for its probes; port 0 takes a free one."""
    config, metrics = service.config, service.metrics
    public = Connections(
        ConnectionLimits(
            config.connections,
            config.connections_per_address,
            header_seconds=config.header_seconds,
            header_bytes=2 * MAXIMUM_HEAD_BYTES,
            write_seconds=config.write_seconds,
        ),
        metrics.refuse_connection,
    )
    metrics.watch(public)
    probes = None
    if probe_port is not None:
        draining = lambda: service.lifecycle.draining  # noqa: E731
        probes = ProbeServer(service.probe_routes(), metrics, host, probe_port, draining=draining)
    settings = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=limited_protocol(public),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=config.drain_seconds,
    )
    return DrainingServer(settings, service, probes)


class DrainingServer(ListeningServer):
    """Says that it is stopping before it stops."""

    def __init__(self, settings: uvicorn.Config, service: Service, probes: ProbeServer | None = None) -> None:
        super().__init__(settings)
        self.service, self.probes = service, probes

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Unlike uvicorn's own, it does not raise the signal again at the end: an orderly end is exit code 0."""
        if self.service.lifecycle.draining:
            self.force_exit = self.should_exit = True
            return
        self.service.lifecycle.drain()
        notice = 0.0 if sig == signal.SIGINT else self.service.config.notice_seconds
        _LOG.info("draining: no more connections in %g s", notice)
        asyncio.get_running_loop().call_later(notice, setattr, self, "should_exit", True)

    async def startup(self, sockets: list[Any] | None = None) -> None:
        if self.probes is not None:
            await self.probes.open()
        await super().startup(sockets)
        for door in self.doors:
            _LOG.info("listening on http://%s:%d", *door.address)

    async def shutdown(self, sockets: list[Any] | None = None) -> None:
        try:
            await super().shutdown(sockets)
        finally:
            if self.probes is not None:
                await self.probes.close()


def log_to_stderr() -> None:
    """Send the process's log to standard error: a JSON object a line, or on a terminal a line that people read."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TerminalFormatter() if sys.stderr.isatty() else JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("lookalike").setLevel(logging.INFO)
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # it logs each bad byte of a form
