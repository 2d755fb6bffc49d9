"""The console's JSON at the door: an object from a request's body, a reply that every browser can read.

Enters: a body from whoever reaches the port. Leaves: a dictionary of plain JSON (`strict_json`), or a 4xx that says
what is wrong. What is refused here is neither recorded nor sent on to Prefect.
"""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse

from lookalike import strict_json

_LARGEST_BODY = 64_000
_BODY_SECONDS = 15.0
"""Time in which a whole body must have arrived; a slower client gets a 408."""


class Reply(JSONResponse):
    """JSON of what others said, whatever it was: stored manifests, Prefect's replies."""

    def render(self, content: Any) -> bytes:
        return json.dumps(strict_json.plain(content), ensure_ascii=False, allow_nan=False).encode()


async def read_object(request: Request) -> dict[str, Any]:
    """The request's JSON object. Other content types are refused: a form of another site could send them."""
    if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send application/json")
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            data = await _read(request)
    except TimeoutError as error:
        message = f"the body did not arrive within {_BODY_SECONDS:g} seconds"
        raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, message, {"Connection": "close"}) from error
    except ClientDisconnect as error:
        raise HTTPException(HTTPStatus.BAD_REQUEST, "the client went away") from error
    try:
        body = strict_json.parse(data)
    except ValueError as error:
        raise HTTPException(HTTPStatus.BAD_REQUEST, f"the body is not plain JSON: {error}") from error
    if not isinstance(body, dict):
        raise HTTPException(HTTPStatus.BAD_REQUEST, "send a JSON object")
    return body


async def _read(request: Request) -> bytes:
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > _LARGEST_BODY:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the request is too large")
    return bytes(data)
