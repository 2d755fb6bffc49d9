"""The open connections of one port: how many there may be, of whom, and which one goes when another comes.

Enters: each connection as it is made, and what its protocol says of it. Leaves: who is refused, and who is closed. A
connection is *waiting* while a request's head is awaited or has come in part, *busy* from the whole head to the end of
the reply, and *idle* between two requests. Idle ones are closed first, the one that has been idle longest before all
others, then waiting ones; busy ones never. So a crowd that connects and says nothing pushes out itself, and whoever
comes with a request gets in. Used on the event loop only.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

from lookalike.errors import SettingsError

REASONS = ("address", "full", "idle", "waiting", "head_seconds", "head_bytes", "pipeline", "write")
"""Why a connection is refused or closed: too many busy ones of its address, or in all; idle, or waiting, where room was
needed; a head that is too slow, or too large; requests sent far ahead of replies; a reply that is not read."""
_LEAST_READ = 4096
"""Bytes of its reply that a client must take in `write_seconds`: what phones on a bad line manage a hundred times."""
_KERNEL_BYTES = 64 * 1024
"""Reply bytes that the kernel keeps for one connection (it doubles the number, and takes more once a third of that is
free); what is beyond waits in our sight."""
_NETWORK_BITS = 64
"""A household, or a rented server, has this much of an IPv6 address for itself."""


class State(StrEnum):
    WAITING = "waiting"
    BUSY = "busy"
    IDLE = "idle"


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What one port bears."""

    connections: int = 1000
    """Open connections, all together; at most half of them may be waiting."""
    per_address: int = 0
    """Open connections of one address (of one /64 where it is IPv6); 0: no limit."""
    header_seconds: float = 10.0
    """Time in which a request's head must have arrived."""
    header_bytes: int = 65_536
    """Bytes that a head may have, counted by whole reads from the socket: a bound on memory, not an exact one."""
    write_seconds: float = 20.0
    """A client that takes (nearly) nothing of its reply for this long is disconnected."""

    def __post_init__(self) -> None:
        if self.connections < 2 or self.per_address < 0:
            raise SettingsError(
                "connections must be at least 2, connections per address 0 (no limit) or more"
            )
        if min(self.header_seconds, self.write_seconds, self.header_bytes) <= 0:
            raise SettingsError("times and sizes of a connection must be above 0")


@dataclass(eq=False, slots=True)
class Connection:
    """One open connection."""

    transport: asyncio.Transport
    address: str
    state: State = State.WAITING
    unsent: int = 0
    """Bytes of its replies that waited when it last got on."""
    slow_since: float | None = None


@dataclass(eq=False)
class Connections:
    """All connections of one port."""

    limits: ConnectionLimits
    count_refusal: Callable[[str], None] = lambda reason: None
    """Called with one of `REASONS`."""
    _open: dict[State, dict[Connection, None]] = field(init=False)
    """Of each state those that have been in it longest first."""
    _of_address: dict[str, dict[Connection, None]] = field(init=False, default_factory=dict)
    _closing: set[Connection] = field(init=False, default_factory=set)
    """Closed by us; what they have not read yet is still being sent."""
    _sweeping: asyncio.TimerHandle | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._open = {state: {} for state in State}

    def __len__(self) -> int:
        return sum(len(found) for found in self._open.values())

    def count(self, state: State) -> int:
        return len(self._open[state])

    def admit(self, transport: asyncio.Transport) -> Connection | None:
        """Take a new connection, closing others where there is no room. None where it is to be refused."""
        address = _address_of(transport)
        mine = self._of_address.get(address, {})
        limit = self.limits.per_address
        if limit and address and len(mine) >= limit and not self._make_room(mine):
            self.count_refusal("address")
            return None
        if len(self) >= self.limits.connections and not self._make_room(None):
            self.count_refusal("full")
            return None
        waiting = self._open[State.WAITING]
        if len(waiting) >= self.limits.connections // 2:
            self.close(next(iter(waiting)), "waiting")
        _bound_kernel(transport, self.limits.write_seconds)
        made = Connection(transport, address)
        waiting[made] = None
        self._of_address.setdefault(address, {})[made] = None
        if self._sweeping is None:
            self._sweep()
        return made

    def move(self, connection: Connection, state: State) -> None:
        """Say what a connection does from now on."""
        if connection.state is not state and connection in self._open[connection.state]:
            del self._open[connection.state][connection]
            connection.state = state
            self._open[state][connection] = None

    def read_on(self, connection: Connection) -> None:
        """Its client has taken so much that more can be written."""
        connection.slow_since = None

    def forget(self, connection: Connection) -> None:
        """It is closed, by whomever."""
        self._closing.discard(connection)
        self._take_out(connection)

    def _make_room(self, among: Iterable[Connection] | None) -> bool:
        """Close the connection that has been idle longest, or else waited longest, of these or of all."""
        for state in (State.IDLE, State.WAITING):
            of_state = self._open[state] if among is None else (c for c in among if c.state is state)
            oldest = next(iter(of_state), None)
            if oldest is not None:
                self.close(oldest, state.value)
                return True
        return False

    def close(self, connection: Connection, reason: str) -> None:
        """Disconnect a client, for one of `REASONS`; what is being sent to it is sent."""
        self.count_refusal(reason)
        self._take_out(connection)
        if len(self._closing) >= self.limits.connections:
            connection.transport.abort()
        else:
            self._closing.add(connection)  # until its protocol says that it is gone
            connection.transport.close()

    def _take_out(self, connection: Connection) -> None:
        self._open[connection.state].pop(connection, None)
        mine = self._of_address.get(connection.address, {})
        mine.pop(connection, None)
        if not mine:
            self._of_address.pop(connection.address, None)

    def _sweep(self) -> None:
        """Every now and then: abort those that do not read."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in [c for found in (*self._open.values(), self._closing) for c in found]:
            unsent = connection.transport.get_write_buffer_size()
            if not unsent:
                connection.slow_since = None
            elif connection.slow_since is None or unsent <= connection.unsent - _LEAST_READ:
                connection.slow_since, connection.unsent = now, unsent
            elif now - connection.slow_since >= self.limits.write_seconds:
                self._take_out(connection)
                self._closing.discard(connection)
                self.count_refusal("write")
                connection.transport.abort()
        if len(self) or self._closing:
            self._sweeping = loop.call_later(min(1.0, self.limits.write_seconds / 4), self._sweep)
        else:
            self._sweeping = None


def _address_of(transport: asyncio.Transport) -> str:
    peer = transport.get_extra_info("peername")
    return network_of(peer[0]) if isinstance(peer, tuple) else ""


@lru_cache(4096)
def network_of(host: str) -> str:
    """Whom an address belongs to: itself, or the network of an IPv6 address."""
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, _NETWORK_BITS), strict=False))
    return str(found)


def _bound_kernel(transport: asyncio.Transport, write_seconds: float) -> None:
    """Keep little of a reply in the kernel, and let it give up a peer that takes nothing (Linux, tcp(7))."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    with suppress(OSError):  # gone already
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _KERNEL_BYTES)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(1, int(write_seconds * 1000)))
