"""What a port hands on: connections that have said something, and whose client is still there."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack

import pytest

from lookalike.errors import SettingsError
from lookalike.listening import Door, allow_files, bind
from lookalike.listening.door import SILENT_SECONDS
from lookalike.listening.files import WAITING

deferring = pytest.mark.skipif(sys.platform != "linux", reason="Linux keeps silent connections to itself")
CROWD = 300


class Heard(asyncio.Protocol):
    """Notes when each connection was made, and what came over it."""

    def __init__(self, made: list[float], said: list[bytes], open_: set[asyncio.BaseTransport]) -> None:
        self.made, self.said, self.open = made, said, open_

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.made.append(time.monotonic())
        self.transport = transport
        self.open.add(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.open.discard(self.transport)

    def data_received(self, data: bytes) -> None:
        self.said.append(data)


def heard_while(
    clients: Callable[[int, list[bytes]], Awaitable[None]],
) -> tuple[list[float], list[bytes]]:
    """What a server on such a port hears while these clients, given the port and what was said, do their part."""
    open_: set[asyncio.BaseTransport] = set()
    made: list[float] = []
    said: list[bytes] = []

    async def serve() -> None:
        (listener,) = bind("127.0.0.1", 0)
        door = Door(listener)
        door.open(lambda: Heard(made, said, open_))
        try:
            await clients(door.address[1], said)
        finally:
            door.close()
            await door.wait_closed()
            for transport in open_:
                transport.close()
            await until(lambda: not open_)

    asyncio.run(serve())
    return made, said


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not happened():
            await asyncio.sleep(0.01)


@deferring
def test_a_connection_is_heard_of_once_it_says_something_or_after_a_while() -> None:
    began = time.monotonic()

    async def clients(port: int, said: list[bytes]) -> None:
        with (
            socket.create_connection(("127.0.0.1", port)) as silent,
            socket.create_connection(("127.0.0.1", port)) as talking,
        ):
            talking.sendall(b"GET")
            await until(lambda: said == [b"GET"])
            await asyncio.sleep(SILENT_SECONDS + 1.5)
            silent.sendall(b"POST")
            await until(lambda: said == [b"GET", b"POST"])

    made, _ = heard_while(clients)
    assert len(made) == 2
    assert made[0] - began < 1
    assert made[1] - began > SILENT_SECONDS - 1, "the kernel's timer, from its first answer on"


@deferring
def test_a_crowd_that_says_nothing_and_goes_is_never_heard_of() -> None:
    async def clients(port: int, said: list[bytes]) -> None:
        crowd = [socket.create_connection(("127.0.0.1", port)) for _ in range(CROWD)]
        for each in crowd:
            each.close()
        with socket.create_connection(("127.0.0.1", port)) as shopper:
            shopper.sendall(b"GET")
            await until(lambda: bool(said))

    made, said = heard_while(clients)
    assert len(made) == 1
    assert said == [b"GET"]


@pytest.mark.parametrize("size", [2 * CROWD, WAITING + CROWD])
def test_a_crowd_that_talks_is_kept_until_it_is_looked_at(size: int) -> None:
    """One that is passed over is tried again after a second."""
    allow_files(2 * size)
    crowd: list[socket.socket] = []

    async def clients(port: int, said: list[bytes]) -> None:
        for _ in range(size):  # on the loop's thread: nothing is accepted meanwhile
            crowd.append(socket.create_connection(("127.0.0.1", port), timeout=0.9))
            crowd[-1].sendall(b"GET")
        await until(lambda: len(said) == size)

    try:
        made, said = heard_while(clients)
    finally:
        for each in crowd:
            each.close()
    assert len(made) == len(said) == size


def test_an_address_that_is_taken_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            SettingsError, match=rf"cannot listen on 127\.0\.0\.1:{port}: Address already in use"
        ):
            bind("127.0.0.1", port)


def test_a_host_that_is_unknown_is_said() -> None:
    with pytest.raises(SettingsError, match=r"cannot listen on no-such-host\.invalid:8000"):
        bind("no-such-host.invalid", 8000)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_every_address_of_a_host_is_bound(host: str) -> None:
    wanted = {found[4][0] for found in socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)}
    bound = bind(host, 0)
    try:
        assert {listener.getsockname()[0] for listener in bound} == wanted
    finally:
        for listener in bound:
            listener.close()


def connect(port: int, source: str = "127.0.0.1", say: bytes = b"") -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=5, source_address=(source, 0))
    sock.sendall(say)
    return sock


def test_whoever_comes_alone_passes_a_crowd() -> None:
    crowd: list[socket.socket] = []

    async def clients(port: int, said: list[bytes]) -> None:
        crowd.extend(connect(port, "127.0.0.2", b"crowd") for _ in range(CROWD))
        crowd.append(connect(port, "127.0.0.3", b"shopper"))
        await until(lambda: len(said) == CROWD + 1)

    try:
        _, said = heard_while(clients)
    finally:
        for each in crowd:
            each.close()
    assert said.index(b"shopper") < CROWD // 3, (
        "behind what was handed on before it was taken from the kernel"
    )


_ECHO = """
import asyncio, resource
from lookalike.listening import Door, bind
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))

class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)

async def serve():
    door = Door(bind("127.0.0.1", 0)[0])
    door.open(Echo)
    print(door.address[1], flush=True)
    await asyncio.Event().wait()

asyncio.run(serve())
"""


def test_a_port_without_files_left_rests_and_comes_back() -> None:
    with (
        subprocess.Popen(
            [sys.executable, "-c", _ECHO], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as echo,
        ExitStack() as stack,
    ):
        stack.callback(echo.kill)
        assert echo.stdout is not None
        port = int(echo.stdout.readline())
        crowd = [stack.enter_context(connect(port, say=b"?")) for _ in range(60)]
        assert crowd[0].recv(1) == b"?"
        crowd[-1].settimeout(1.5)
        with pytest.raises(TimeoutError):
            crowd[-1].recv(1)
        for each in crowd[:-1]:
            each.close()
        crowd[-1].settimeout(10)
        assert crowd[-1].recv(1) == b"?"
        echo.kill()
        said = echo.communicate()[1]
        assert 1 <= said.count("no connection can be taken over for a second: Too many open files") <= 6, said
