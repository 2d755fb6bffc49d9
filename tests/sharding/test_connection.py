"""HTTP to a ranker: connections are kept, made anew when they have died, and given up when they make no sense."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from lookalike.sharding.connection import ConnectionFailed, Connections

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


async def head(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


def talk(serve: Serve, requests: int = 1) -> tuple[list[bytes], int]:
    """The bodies of so many requests to a server, and how many connections it saw."""
    seen = 0

    async def counted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        seen += 1
        try:
            await serve(reader, writer)
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    async def run() -> list[bytes]:
        async with await asyncio.start_server(counted, "127.0.0.1", 0) as server:
            connections = Connections("127.0.0.1", server.sockets[0].getsockname()[1])
            try:
                bodies = []
                for _ in range(requests):
                    bodies.append((await connections.request("GET", "/")).body)
                    await asyncio.sleep(0.02)
                return bodies
            finally:
                connections.close()
                await asyncio.sleep(0.02)

    return asyncio.run(run()), seen


def test_a_connection_is_used_again() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await head(reader)
            writer.write(GOOD)

    assert talk(serve, 3) == ([b"hi"] * 3, 1)


@pytest.mark.parametrize("said", [b"", b"Connection: close\r\n"], ids=["silently", "announced"])
def test_a_connection_that_was_closed_meanwhile_is_made_anew(said: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(GOOD.replace(b"\r\n\r\n", b"\r\n" + said + b"\r\n"))
        await writer.drain()

    assert talk(serve, 3) == ([b"hi"] * 3, 3)


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nhi",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"x" * 100_000,
    ],
    ids=["nothing", "no length", "cut off", "endless", "no number", "another protocol", "no head"],
)
def test_a_reply_that_makes_no_sense_is_given_up(reply: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(reply)
        await writer.drain()

    with pytest.raises(ConnectionFailed, match=r"127\.0\.0\.1"):
        talk(serve)


def test_nobody_there_is_said_at_once() -> None:
    with pytest.raises(ConnectionFailed, match=r"127\.0\.0\.1:1"):
        asyncio.run(Connections("127.0.0.1", 1).request("GET", "/"))
