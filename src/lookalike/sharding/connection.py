"""HTTP/1.1 to one ranker, over connections that stay open.

A coordinator asks a few rankers many small questions, so the client is as small as that allows: one request at a time
on a connection, bodies of a stated length, nothing followed or decoded. Whatever is not that closes the connection
and is a `ConnectionFailed`; asking somebody else is the caller's business. Used on one event loop only.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from lookalike.errors import LookalikeError

_MAXIMUM_HEAD = 16_384
_MAXIMUM_BODY = 1 << 30
_CONNECT_SECONDS = 0.3
"""The kernel takes a connection even for a process that is busy, so an address that takes longer has nobody."""


class ConnectionFailed(LookalikeError):
    """A ranker could not be reached, hung up, or answered in a way that we do not read."""


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: bytes


@dataclass(slots=True)
class _Open:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    fresh: bool = True


class Connections:
    """The connections to one address, made when they are needed and kept for the next request."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._idle: deque[_Open] = deque()

    async def request(
        self, method: str, target: str, body: bytes = b"", content_type: str = "application/json"
    ) -> Reply:
        """Send one request, which must do no harm if it arrives twice. Raises `ConnectionFailed`.

        A connection that was kept may have been closed at the other end meanwhile: then it is made anew, once.
        """
        head = (
            f"{method} {target} HTTP/1.1\r\nHost: {self.address}\r\nContent-Length: {len(body)}\r\n"
            f"Content-Type: {content_type}\r\n\r\n"
        ).encode()
        while True:
            connection = await self._take()
            try:
                reply, keep = await _exchange(connection, head + body)
            except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
                connection.writer.close()
                if not connection.fresh:
                    continue
                raise ConnectionFailed(f"{self.address}: {str(error) or type(error).__name__}") from error
            except BaseException:  # cancelled: the answer may still come, and nobody would expect it
                connection.writer.close()
                raise
            if keep:
                connection.fresh = False
                self._idle.append(connection)
            else:
                connection.writer.close()
            return reply

    def close(self) -> None:
        """Close what is idle; requests under way fail by themselves."""
        while self._idle:
            self._idle.pop().writer.close()

    async def _take(self) -> _Open:
        while self._idle:
            connection = self._idle.pop()
            if not (connection.reader.at_eof() or connection.writer.is_closing()):
                return connection
            connection.writer.close()
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                opening = asyncio.open_connection(self.host, self.port, limit=_MAXIMUM_HEAD)
                reader, writer = await opening
        except (OSError, TimeoutError) as error:
            raise ConnectionFailed(f"{self.address}: {str(error) or 'no connection in time'}") from error
        return _Open(reader, writer)


async def _exchange(connection: _Open, request: bytes) -> tuple[Reply, bool]:
    """One request and its reply, and whether the connection may be used again."""
    connection.writer.write(request)
    await connection.writer.drain()
    head = await connection.reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    version, status, *_ = lines[0].split(" ", 2)
    if version != "HTTP/1.1":
        raise ValueError(f"it speaks {version[:20]}")
    headers = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(":") for line in lines[1:] if line)
    }
    length = int(headers.get("content-length", "-1"))
    if not 0 <= length <= _MAXIMUM_BODY:
        raise ValueError("a reply without a length that we take")
    body = await connection.reader.readexactly(length)
    return Reply(int(status), body), headers.get("connection", "").lower() != "close"
