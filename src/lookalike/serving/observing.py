"""Around every request: an id, a log line, a count, and headers that keep the page to itself.

Logs are JSON, one object a line, and never hold bytes of a photo. A request id that the client sends is used, so one
search can be followed through a shop's own services.
"""

from __future__ import annotations

import json
import logging
import re
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lookalike.serving.metrics import Metrics
from lookalike.serving.problems import CLIENT_CLOSED_REQUEST, on_huge_head
from lookalike.strict_json import plain

_ACCESS = logging.getLogger("lookalike.access")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9_-]{1,64}")
_QUIET = frozenset({"/livez", "/readyz", "/metrics"})
MAXIMUM_HEAD_BYTES = 32_768
"""Bytes of a request's path, query string and headers."""
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
_HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'self'; base-uri 'none'; form-action 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


class Observer:
    """ASGI middleware around the whole application, its handler of unexpected errors included."""

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        *,
        draining: Callable[[], bool] = lambda: False,
        failed: Callable[[str, int, float], None] = lambda path, status, seconds: None,
        quiet: frozenset[str] = frozenset(),
    ) -> None:
        """`failed` hears route, status and seconds of what was refused for load or failed.

        `quiet`: routes whose successes are counted and not logged, beside the probes.
        """
        self.app, self.metrics, self.draining, self.quiet = app, metrics, draining, quiet | _QUIET
        self.failed = failed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = scope["request_id"] = _request_id(scope)
        notes: dict[str, Any] = {}
        scope["notes"] = notes
        app = self.app if _head_bytes(scope) <= MAXIMUM_HEAD_BYTES else on_huge_head
        status = 0
        started = time.perf_counter()

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message["headers"],
                    *_HEADERS,
                    (b"x-request-id", request_id.encode()),
                ]
                if self.draining():  # or the client's next request could meet the connection's end
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        try:
            await app(scope, receive, observed)
        except OSError:  # the client went away while the reply was sent
            status = CLIENT_CLOSED_REQUEST
        except Exception:
            if not status:  # otherwise it has been answered and logged, and Starlette raises it once more
                raise
        finally:
            self._record(scope, status or 500, time.perf_counter() - started, request_id, notes)

    def _record(
        self, scope: Scope, status: int, seconds: float, request_id: str, notes: dict[str, Any]
    ) -> None:
        route: BaseRoute | None = scope.get("route")
        path = getattr(route, "path", "") or "other"
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self.metrics.requests.labels(path, method, str(status)).inc()
        if status >= 500 or status == 429:
            self.failed(scope["path"] if path == "other" else path, status, seconds)
        if path in self.quiet and status < 400:
            return
        _ACCESS.info(
            "request",
            extra={
                "fields": {
                    "request_id": request_id,
                    "method": method,
                    "path": scope["path"][:200],
                    "status": status,
                    "milliseconds": round(seconds * 1e3, 2),
                    **notes,
                }
            },
        )


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message, and the record's `fields`."""

    def format(self, record: logging.LogRecord) -> str:
        body: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            body["traceback"] = self.formatException(record.exc_info)
        return json.dumps(plain(body), ensure_ascii=False, allow_nan=False)


class TerminalFormatter(logging.Formatter):
    """A line for a person: local time, the level where it is a warning or worse, message, and the record's `fields`."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        level = "" if record.levelno < logging.WARNING else f" {record.levelname.lower()}:"
        fields: dict[str, Any] = getattr(record, "fields", {})
        told = "".join(f" {name}={value}" for name, value in fields.items() if name != "request_id")
        line = f"{at}{level} {record.getMessage()}{told}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _head_bytes(scope: Scope) -> int:
    address = len(scope["raw_path"]) + len(scope["query_string"])
    return address + sum(len(name) + len(value) for name, value in scope["headers"])


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value, "ascii")
    return uuid.uuid4().hex
