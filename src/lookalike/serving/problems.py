"""The one place where errors become HTTP: problem details as RFC 9457 describes them.

Every reply from 400 on is ``application/problem+json`` with `type`, `title`, `status`, `detail` and the `request_id`
under which the log has it. `type` is stable: clients may switch on it. Whatever is not an error of ours is a 500
that tells the client nothing but its request id. No detail names a path, a store or an address of ours, or quotes the
bytes of a file: the log does.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from lookalike.errors import (
    LookalikeError,
    ObjectNotFound,
    PhotoError,
    QueryError,
    QueryExpired,
    QueryUnreachable,
    ServiceBusy,
    StorageError,
)
from lookalike.serving.discretion import discreet

_LOG = logging.getLogger("lookalike.serving")

_STATUS_OF_PHOTO_RULE = {
    "type": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "bytes": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "pixels": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "effort": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "empty": HTTPStatus.BAD_REQUEST,
}
_SLUGS: dict[int, str] = {HTTPStatus.TOO_MANY_REQUESTS: "rate"}
CLIENT_CLOSED_REQUEST = 499
"""nginx's status for a client that went away; nobody reads the reply, the log and the metrics do."""


def problem(
    request: Request,
    status: int,
    slug: str,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    **members: object,
) -> Response:
    """A problem-details reply; `slug` becomes ``urn:lookalike:problem:<slug>``."""
    title = HTTPStatus(status).phrase if status in set(HTTPStatus) else "Client Closed Request"
    body = {
        "type": f"urn:lookalike:problem:{slug}",
        "title": title,
        "status": int(status),
        "detail": detail,
        "request_id": request.scope.get("request_id", ""),
    }
    return JSONResponse(
        body | members, status, headers=headers, media_type="application/problem+json; charset=utf-8"
    )


async def on_lookalike_error(request: Request, error: Exception) -> Response:
    """Domain errors: what the client did wrong is 4xx, what we cannot do now is 503."""
    detail = str(error)
    match error:
        case PhotoError():
            _LOG.info("a photo was refused: %s (%r)", error, error.__cause__)
            status = _STATUS_OF_PHOTO_RULE.get(error.rule, HTTPStatus.UNPROCESSABLE_ENTITY)
            return problem(request, status, f"photo-{error.rule}", detail, rule=error.rule)
        case QueryExpired():
            return problem(request, HTTPStatus.GONE, "query-expired", detail)
        case QueryUnreachable():
            return problem(request, HTTPStatus.UNPROCESSABLE_ENTITY, "image-url", detail)
        case QueryError():
            return problem(request, HTTPStatus.BAD_REQUEST, "query", detail)
        case ServiceBusy():
            headers = {"Retry-After": str(error.retry_after)}
            if (said := discreet(detail)) != detail:
                _LOG.warning("a request was turned away: %s", detail)
            return problem(request, HTTPStatus.SERVICE_UNAVAILABLE, "busy", said, headers=headers)
        case ObjectNotFound():
            _LOG.warning("the store lacks what a request needs", exc_info=error)
            detail = "the object store does not have it any more"
            return problem(request, HTTPStatus.NOT_FOUND, "not-found", detail)
        case StorageError():
            _LOG.warning("storage failed during a request", exc_info=error)
            headers = {"Retry-After": "5"}
            detail = "the object store does not answer as it should"
            return problem(request, HTTPStatus.SERVICE_UNAVAILABLE, "storage", detail, headers=headers)
        case LookalikeError():
            _LOG.error("a request failed", exc_info=error)
            return problem(request, HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "the search failed")
    raise error


async def on_http_exception(request: Request, error: Exception) -> Response:
    """What routing and body reading raise: 404, 405, 408, 413 and the like."""
    assert isinstance(error, HTTPException)
    slug = _SLUGS.get(error.status_code) or HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
    return problem(request, error.status_code, slug, error.detail, headers=error.headers)


async def on_disconnect(request: Request, error: Exception) -> Response:
    """The client went away while it was sending."""
    return problem(request, CLIENT_CLOSED_REQUEST, "client-closed-request", "the client went away")


async def on_huge_head(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers in the application's stead where address or headers are too large."""
    status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    reply = problem(Request(scope), status, "head-too-large", "address and headers are too large together")
    await reply(scope, receive, send)


async def on_anything_else(request: Request, error: Exception) -> Response:
    """A defect of ours. Starlette logs nothing itself; the traceback goes to the log, not to the client."""
    _LOG.error("unexpected error, request %s", request.scope.get("request_id"), exc_info=error)
    detail = "an unexpected error; the log has it under the request id"
    return problem(request, HTTPStatus.INTERNAL_SERVER_ERROR, "internal", detail)


HANDLERS = {
    LookalikeError: on_lookalike_error,
    HTTPException: on_http_exception,
    ClientDisconnect: on_disconnect,
    Exception: on_anything_else,
}
