"""The HTTP server around the application: uvicorn with a time limit on headers, and an orderly end.

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
from starlette.types import ASGIApp

from lookalike.errors import SettingsError
from lookalike.serving.app import SearchService, create_app
from lookalike.serving.config import ServingConfig
from lookalike.serving.connections import limited_protocol
from lookalike.serving.holdings import Part
from lookalike.serving.memory import return_freed_memory
from lookalike.serving.observing import MAXIMUM_HEAD_BYTES, JsonFormatter
from lookalike.serving.ranker import RankerService
from lookalike.settings import Settings
from lookalike.storage.artefacts import Kind, Ref, find
from lookalike.storage.objects import ObjectStore, open_store

_LOG = logging.getLogger("lookalike.serving")


def run(
    store: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    index: str | None = None,
    threads: int = 0,
    cache_dir: Path | None = None,
    config: ServingConfig | None = None,
) -> None:
    """Serve until a signal ends it. `index` (a reference, or the start of an id) pins what is served.

    Raises `SettingsError` where the address cannot be listened on, and the errors of opening the store.
    """
    log_as_json()
    opened = open_store(store)
    config = config or ServingConfig()
    if index is not None:
        config = replace_index(config, opened, index)
    service = SearchService(opened, config, cache_dir=cache_dir or Settings().cache_dir, threads=threads)
    _serve(make_server(service, create_app(service), host, port))


def run_ranker(
    store: str,
    part: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8001,
    threads: int = 0,
    cache_dir: Path | None = None,
    config: ServingConfig | None = None,
) -> None:
    """Hold the shards of `part` (`holdings.Part`) for fronts until a signal ends it. Raises as `run` does."""
    log_as_json()
    service = RankerService(
        open_store(store),
        Part.parse(part),
        config or ServingConfig(),
        cache_dir=cache_dir or Settings().cache_dir,
        threads=threads,
    )
    _serve(make_server(service, service.app(), host, port))


def _serve(server: DrainingServer) -> None:
    return_freed_memory()
    try:
        server.run()
    except SystemExit as error:  # uvicorn's way to say that it could not listen
        if error.code:
            address = f"{server.config.host}:{server.config.port}"
            raise SettingsError(f"cannot listen on {address}: the address is in use or not ours") from error


def replace_index(config: ServingConfig, store: ObjectStore, index: str) -> ServingConfig:
    """`config` with its index set to what `index` names. Raises `SettingsError`, `ObjectNotFound`."""
    ref = Ref.parse(index) if "@" in index else find(store, Kind.INDEX, index.removeprefix("index/"))
    if ref.kind is not Kind.INDEX:
        raise SettingsError(f"{index} is no index snapshot")
    return replace(config, index=ref)


class Drainable(Protocol):
    """What can say that it is stopping before it stops."""

    def drain(self) -> None: ...

    @property
    def draining(self) -> bool: ...


class Service(Protocol):
    """What is served: its settings, and the life that ends with it."""

    @property
    def config(self) -> ServingConfig: ...

    @property
    def lifecycle(self) -> Drainable: ...


def make_server(service: Service, app: ASGIApp, host: str, port: int) -> DrainingServer:
    """A server for the application of a service; port 0 takes a free one."""
    config = service.config
    settings = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=limited_protocol(config.header_seconds, 2 * MAXIMUM_HEAD_BYTES),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=config.connections,
        timeout_graceful_shutdown=config.drain_seconds,
    )
    return DrainingServer(settings, service)


class DrainingServer(uvicorn.Server):
    """Says that it is stopping before it stops."""

    def __init__(self, settings: uvicorn.Config, service: Service) -> None:
        super().__init__(settings)
        self.service = service

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
        await super().startup(sockets)
        for server in getattr(self, "servers", ()):
            for socket in server.sockets:
                host, port = socket.getsockname()[:2]
                _LOG.info("listening on http://%s:%d", host, port)


def log_as_json() -> None:
    """Send the process's log to standard error, one JSON object a line."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("lookalike").setLevel(logging.INFO)
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # it logs each bad byte of a form
