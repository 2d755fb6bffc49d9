"""One HTTP connection: uvicorn's protocol on httptools, with the limits that it lacks.

httptools (Node's parser in C) costs half a millisecond a search less than h11. It takes headers of any size, as slowly
as a client likes to send them; so a head that takes too long is disconnected here, and one that grows too large is
answered with 431. What the connection does it tells its port's `Connections`, which may refuse or close it. A body has
its own limits, once the application reads it.
"""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from lookalike.listening.connections import Connection, Connections, State

_AHEAD = 16
"""Requests that a client may send before it has the reply to its first. Browsers send none; one read from the socket
could bring 4,000, all parsed in one go while every other connection waits."""


_LONGEST_ADDRESS = 65_535


class _TooFarAhead(Exception):
    """Ends the parsing of what was read; uvicorn then asks for a reply with 400."""


def _problem(status: HTTPStatus, kind: str, detail: str, *, headers: str = "") -> bytes:
    body = {
        "type": f"urn:lookalike:problem:{kind}",
        "title": status.phrase,
        "status": status.value,
        "detail": detail,
        "request_id": "",
    }
    data = json.dumps(body, allow_nan=False).encode()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nconnection: close\r\n{headers}"
        f"content-type: application/problem+json\r\ncontent-length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


_REFUSED = _problem(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "busy",
    "too many connections are busy, in all or from your address; try again in a second",
    headers="retry-after: 1\r\n",
)
_TOO_LARGE = _problem(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "head-too-large", "address and headers are too large together"
)
_NOT_HTTP = _problem(HTTPStatus.BAD_REQUEST, "bad-request", "this is no HTTP request that can be parsed")


def limited_protocol(port: Connections) -> type[HttpToolsProtocol]:
    """The protocol class for the connections of one port, with its limits."""
    limits = port.limits

    class LimitedProtocol(HttpToolsProtocol):
        _timer: asyncio.TimerHandle | None = None
        _in_head = False
        _head_bytes = 0
        _connection: Connection | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._connection = port.admit(transport)
            if self._connection is None:
                transport.write(_REFUSED)
                transport.close()
            else:
                self._await_headers()

        def data_received(self, data: bytes) -> None:
            before, in_head = self.cycle, self._in_head
            super().data_received(data)
            if self._in_head and in_head:
                self._head_bytes += len(data)
                if self._head_bytes > limits.header_bytes:
                    self.transport.write(_TOO_LARGE)
                    self._close("head_bytes")
            if self.cycle is not before:  # the headers are complete
                self._forget_timer()
            elif self._timer is None and (before is None or before.response_complete):
                self._await_headers()

        def on_message_begin(self) -> None:
            if len(self.pipeline) >= _AHEAD:
                raise _TooFarAhead
            super().on_message_begin()
            self._in_head, self._head_bytes = True, 0
            if self._connection is not None and self._connection.state is State.IDLE:
                port.move(self._connection, State.WAITING)

        def send_400_response(self, msg: str) -> None:
            if len(self.pipeline) < _AHEAD:
                # The parser takes no address of 64 kB, and says of it only that it is wrong.
                self.transport.write(_TOO_LARGE if len(self.url) > _LONGEST_ADDRESS else _NOT_HTTP)
                self.transport.close()
            elif self._connection is not None:  # amid another reply
                port.close(self._connection, "pipeline")

        def on_headers_complete(self) -> None:
            self._in_head = False
            super().on_headers_complete()
            if self._connection is not None:
                port.move(self._connection, State.BUSY)

        def on_response_complete(self) -> None:
            more = bool(self.pipeline)
            super().on_response_complete()
            if not more and self._connection is not None:
                port.move(self._connection, State.WAITING if self._in_head else State.IDLE)

        def resume_writing(self) -> None:
            super().resume_writing()
            if self._connection is not None:
                port.read_on(self._connection)

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget_timer()
            if self._connection is not None:
                if isinstance(exc, TimeoutError):  # the kernel has waited long enough for its reading
                    port.count_refusal("write")
                port.forget(self._connection)
                self._connection = None
            super().connection_lost(exc)

        def _await_headers(self) -> None:
            self._timer = self.loop.call_later(limits.header_seconds, self._close, "head_seconds")

        def _close(self, reason: str) -> None:
            if self._connection is not None and not self.transport.is_closing():
                port.close(self._connection, reason)

        def _forget_timer(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    return LimitedProtocol
