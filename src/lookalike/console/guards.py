"""What stands before every endpoint of the console: headers that keep its page to itself, and whose names it has."""

from __future__ import annotations

from collections.abc import Callable, Collection
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lookalike.listening import wrong_host

_HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)


class Headers:
    """ASGI middleware: headers that keep the page to itself and out of caches."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        await self.app(scope, receive, with_headers if scope["type"] == "http" else send)


class Hosts:
    """ASGI middleware: refuses requests for another host, but for probes, which come by a pod's address."""

    def __init__(
        self, app: ASGIApp, refused: Callable[[HTTPStatus, str], ASGIApp], names: Collection[str]
    ) -> None:
        self.app, self.refused, self.names = app, refused, frozenset(name.lower() for name in names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self.app
        judged = scope["type"] == "http" and scope["path"] not in ("/livez", "/metrics")
        if judged and (detail := wrong_host(scope, self.names)):
            app = self.refused(HTTPStatus.BAD_REQUEST, detail)
        await app(scope, receive, send)
