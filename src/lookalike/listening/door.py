"""Who comes in next at a port: clients in turn, and a crowd that says nothing hardly costs anything.

Enters: connections, as the kernel has them. Leaves: those to talk to, a few in each turn of the event loop, since each
costs it 0.15 ms in all. Linux keeps a connection to itself until something has come over it, and
those that are gone by then are closed here. The rest are served an address after another, so that whoever comes alone
passes a crowd of hundreds.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import uvicorn

from lookalike.errors import SettingsError
from lookalike.listening.connections import network_of
from lookalike.listening.files import waiting_places

_LOG = logging.getLogger("lookalike.serving")
BACKLOG = 4096
"""Connections that the kernel keeps for a port until they are looked at, as many as Linux lets it. What is more it
passes over, whoever it is from, and that client asks again after a second, then after three: crowds of 300 overflow
256 places, and shoppers with them."""
SILENT_SECONDS = 3
"""How long the kernel keeps a connection over which nothing has come (tcp(7), TCP_DEFER_ACCEPT). A browser opens some
ahead of need."""
AT_ONCE = 8
"""Connections that are handed on in one turn of the event loop: 256 kept every other one waiting for 160 ms."""
_LOOKED_AT = 64
"""Connections that are taken from the kernel in one turn, and of those that wait here looked at."""
_PAUSE_SECONDS = 1.0
"""Without a file left to take a connection over with, the port rests."""


class Door:
    """One listening socket. Used on the event loop."""

    def __init__(self, listener: socket.socket) -> None:
        """It listens from now on, and the kernel keeps who comes before `open`."""
        self._listener = listener
        self._waiting: dict[str, deque[socket.socket]] = {}
        """Of each address the connections that wait; whose turn is next first."""
        self._count, self._limit = 0, waiting_places()
        self._reading = self._full = self._handing_on = False
        self._made: set[asyncio.Task[Any]] = set()
        listener.setblocking(False)
        listener.listen(BACKLOG)
        self.address: tuple[str, int] = listener.getsockname()[:2]

    def open(self, protocol: Callable[[], asyncio.Protocol]) -> None:
        """Hand connections on to protocols of their own."""
        self._loop, self._protocol = asyncio.get_running_loop(), protocol
        self._read()

    def close(self) -> None:
        """Take no more connections, and let those go that wait."""
        self._rest()
        self._listener.close()
        for connection in (c for queue in self._waiting.values() for c in queue):
            connection.close()
        self._waiting.clear()

    async def wait_closed(self) -> None:
        """Until those that were handed on are with their protocols, which have an end of their own."""
        if self._made:
            await asyncio.wait(self._made)

    def _read(self) -> None:
        if not self._reading and self._listener.fileno() >= 0:
            self._reading = True
            self._loop.add_reader(self._listener.fileno(), self._arrived)

    def _rest(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._listener.fileno())

    def _arrived(self) -> None:
        """Take connections from the kernel."""
        for _ in range(_LOOKED_AT):
            if self._count >= self._limit:
                self._full = True
                self._rest()
                break
            try:
                connection, address = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                break
            except OSError as error:
                _LOG.warning("no connection can be taken over for a second: %s", error.strerror)
                self._rest()
                self._loop.call_later(_PAUSE_SECONDS, self._read)
                break
            connection.setblocking(False)
            self._waiting.setdefault(network_of(address[0]), deque()).append(connection)
            self._count += 1
        if self._waiting and not self._handing_on:
            self._handing_on = True
            self._loop.call_soon(self._hand_on)

    def _hand_on(self) -> None:
        """Begin to talk to some, an address after another."""
        handed_on = 0
        for _ in range(_LOOKED_AT):
            if not self._waiting or handed_on == AT_ONCE:
                break
            connection = self._next()
            if _is_gone(connection):
                connection.close()
                continue
            handed_on += 1
            made = self._loop.create_task(self._make(connection))
            self._made.add(made)
            made.add_done_callback(self._made.discard)
        if self._full and self._count <= self._limit // 2:
            self._full = False
            self._read()
        self._handing_on = bool(self._waiting)
        if self._handing_on:
            self._loop.call_soon(self._hand_on)

    def _next(self) -> socket.socket:
        network = next(iter(self._waiting))
        queue = self._waiting.pop(network)
        connection = queue.popleft()
        if queue:
            self._waiting[network] = queue
        self._count -= 1
        return connection

    async def _make(self, connection: socket.socket) -> None:
        with suppress(OSError):  # it went at that moment
            await self._loop.connect_accepted_socket(self._protocol, connection)


def _is_gone(connection: socket.socket) -> bool:
    """Whether its client has closed it and had said nothing."""
    try:
        return not connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:  # silent for longer than the kernel keeps it, or no Linux
        return False
    except OSError:
        return True


def bind(host: str, port: int) -> list[socket.socket]:
    """Sockets bound to every address of a host; port 0 takes a free one. Raises `SettingsError` where one cannot be."""
    bound: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in dict.fromkeys(found):
            listener = socket.socket(family, kind, protocol)
            bound.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if hasattr(socket, "TCP_DEFER_ACCEPT"):
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, SILENT_SECONDS)
            listener.bind(address)
    except OSError as error:
        for listener in bound:
            listener.close()
        raise SettingsError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return bound


class ListeningServer(uvicorn.Server):
    """uvicorn's server behind such doors."""

    doors: list[Door]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Raises `SettingsError` where its address cannot be listened on."""
        config = self.config
        self.doors = [Door(listener) for listener in sockets or bind(config.host, config.port)]
        await super().startup([])
        self.servers = self.doors  # type: ignore[assignment]  # uvicorn closes them and waits for that
        for door in self.doors:
            door.open(
                lambda: config.http_protocol_class(  # type: ignore[call-arg]
                    config=config, server_state=self.server_state, app_state=self.lifespan.state
                )
            )
