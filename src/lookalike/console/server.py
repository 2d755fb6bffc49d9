"""The console's process: settings from the environment, uvicorn around the application."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Collection
from pathlib import Path

import uvicorn

from lookalike.console.access import Access
from lookalike.console.app import Console, create_app
from lookalike.console.orchestrator import Orchestrator
from lookalike.console.overview import Overview
from lookalike.listening import (
    LOOPBACK,
    ConnectionLimits,
    Connections,
    ListeningServer,
    allow_files,
    limited_protocol,
)
from lookalike.settings import ConsoleSettings
from lookalike.storage.objects import ObjectStore

_LIMITS = ConnectionLimits(connections=200)
"""Operators are few, and often behind one proxy. A crowd that says nothing pushes out itself, so `/livez` needs no port
of its own here."""


def run(
    store: ObjectStore,
    *,
    cache_dir: Path,
    host: str = "127.0.0.1",
    port: int = 8001,
    settings: ConsoleSettings | None = None,
) -> None:
    """Serve until a signal ends it. Raises `SettingsError` where the address cannot be listened on."""
    settings = settings or ConsoleSettings()
    token = settings.token
    if not token:
        token = secrets.token_urlsafe(24)
        print(f"the console's token, for this run: {token}", file=sys.stderr)
    console = Console(
        Overview(store),
        Orchestrator(
            settings.prefect_api, settings.prefect_ui, key=settings.prefect_key, auth=settings.prefect_auth
        ),
        Access(token),
        cache_dir=cache_dir,
        search_url=settings.search_url,
    )
    allow_files(_LIMITS.connections)
    hosts = settings.hosts or (LOOPBACK if host in LOOPBACK else ())
    server = make_server(console, host, port, hosts)
    print(f"console on http://{host}:{port}", file=sys.stderr)
    server.run()


def make_server(console: Console, host: str, port: int, hosts: Collection[str] = ()) -> ListeningServer:
    """A server for a console, which answers to the names `hosts` (none: to any); port 0 takes a free one."""
    return ListeningServer(
        uvicorn.Config(
            create_app(console, hosts),
            host=host,
            port=port,
            http=limited_protocol(Connections(_LIMITS)),
            log_level="warning",
            access_log=False,
            server_header=False,
        )
    )
