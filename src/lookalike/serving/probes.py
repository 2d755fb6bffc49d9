"""The probes' own port: `/livez`, `/readyz` and `/metrics` for those who run the process, beside the public port.

Whoever fills the public port does not reach this one, so a crowd of strangers makes no orchestrator restart the process
or take it out of service. It runs in the event loop of the public port, so `/livez` still says whether that loop lives.
It opens before the public port and closes after it: a process that drains goes on saying so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route

from lookalike.errors import SettingsError
from lookalike.listening import (
    ConnectionLimits,
    Connections,
    ListeningServer,
    limited_protocol,
)
from lookalike.serving.metrics import Metrics
from lookalike.serving.observing import Observer
from lookalike.serving.problems import HANDLERS

_LOG = logging.getLogger("lookalike.serving")
_LIMITS = ConnectionLimits(connections=100, header_seconds=5, header_bytes=16_384, write_seconds=5)
"""A kubelet, some scrapers and a roll-out need a dozen."""


class ProbeServer(ListeningServer):
    """Opened and closed by the server of the public port, in its event loop; 0 takes a free port."""

    def __init__(
        self, routes: Sequence[Route], metrics: Metrics, host: str, port: int, *, draining: Callable[[], bool]
    ) -> None:
        app = Observer(Starlette(routes=routes, exception_handlers=HANDLERS), metrics, draining=draining)
        super().__init__(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                http=limited_protocol(Connections(_LIMITS)),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=1,
            )
        )
        self._ticking: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Raises `SettingsError` where the address cannot be listened on."""
        self.config.load()
        self.lifespan = self.config.lifespan_class(self.config)
        try:
            await self.startup()
        except SettingsError as error:
            raise SettingsError(f"{error}; --probe-port takes another") from error
        self._ticking = asyncio.create_task(self.main_loop())
        _LOG.info("probes on http://%s:%d", *self.doors[0].address)

    async def close(self) -> None:
        """Answer what was asked, and end."""
        if self._ticking is not None:
            self.should_exit = True
            await self._ticking
            await self.shutdown()
