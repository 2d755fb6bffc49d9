"""One HTTP connection: uvicorn's protocol on httptools, with the limits on headers that it lacks.

httptools (Node's parser in C) costs half a millisecond a search less than h11. It takes headers of any size, as slowly
as a client likes to send them; so a head that takes too long is disconnected here, and one that grows too large is
answered with 431. A body has its own limits, once the application reads it.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


def limited_protocol(header_seconds: float, header_bytes: int) -> type[HttpToolsProtocol]:
    """The protocol class for heads that arrive within `header_seconds` and have about `header_bytes` at most.

    The bytes are counted by whole reads from the socket, so the limit is a bound on memory, not an exact one.
    """

    class LimitedProtocol(HttpToolsProtocol):
        _timer: asyncio.TimerHandle | None = None
        _in_head = False
        _head_bytes = 0

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._await_headers()

        def data_received(self, data: bytes) -> None:
            before, in_head = self.cycle, self._in_head
            super().data_received(data)
            if self._in_head and in_head:
                self._head_bytes += len(data)
                if self._head_bytes > header_bytes:
                    self.transport.write(_TOO_LARGE)
                    self.transport.close()
            if self.cycle is not before:  # the headers are complete
                self._forget_timer()
            elif self._timer is None and (before is None or before.response_complete):
                self._await_headers()

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._in_head, self._head_bytes = True, 0

        def on_headers_complete(self) -> None:
            self._in_head = False
            super().on_headers_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget_timer()
            super().connection_lost(exc)

        def _await_headers(self) -> None:
            self._timer = self.loop.call_later(header_seconds, self.transport.close)

        def _forget_timer(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    return LimitedProtocol
