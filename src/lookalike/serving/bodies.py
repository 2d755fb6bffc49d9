"""Request bodies from strangers: how much, how fast, and which part of a form is the photo.

Enters: a request whose body has not been read. Leaves: the photo's bytes and the fields of the form around it, if it
was a form. All bodies in memory share one budget, so a crowd of large or slow uploads is refused, not swapped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request

from lookalike.errors import PhotoError, QueryError, ServiceBusy
from lookalike.serving.forms import FormError, Upload, parse_form
from lookalike.serving.json_bodies import parse_batch, parse_json
from lookalike.serving.metrics import Metrics

_FORM_OVERHEAD = 256_000
"""Bytes that a form or a JSON object may have around its photo."""
_LONG = 20_000
"""Bytes of JSON from which on taking it apart would hold up the event loop."""
_USUAL_BODY = 5_000_000
"""A phone's photo of 12 megapixels."""
_LARGE_SHARE = 7 / 8
"""Of the budget, beyond which no body may grow larger than that: photos of usual size find the rest."""


@dataclass(slots=True)
class Reservation:
    """The bytes that one request holds of the budget."""

    budget: BodyBudget
    held: int = 0

    def grow(self, size: int) -> None:
        """Hold `size` bytes in all. Raises `ServiceBusy` where the budget has no more."""
        self.budget.change(size - self.held, large=size > _USUAL_BODY)
        self.held = size


@dataclass(slots=True)
class BodyBudget:
    """Bytes of bodies that may be in memory at one time, all requests together. Used on the event loop only."""

    limit: int
    metrics: Metrics
    used: int = field(default=0, init=False)

    @contextmanager
    def reservation(self) -> Iterator[Reservation]:
        """A reservation that is given back at the end."""
        mine = Reservation(self)
        try:
            yield mine
        finally:
            mine.grow(0)

    def change(self, by: int, *, large: bool = False) -> None:
        if by > 0 and self.used + by > self.limit * (_LARGE_SHARE if large else 1):
            self.metrics.refused.labels("memory").inc()
            raise ServiceBusy("too many photos are being received; try again in a second")
        self.used += by
        self.metrics.in_flight_bytes.set(self.used)


async def read_upload(request: Request, held: Reservation, *, max_bytes: int, seconds: float) -> Upload:
    """The photo of a raw, a form or a JSON body, and the parameters beside it.

    Raises `PhotoError` (rule `bytes`) beyond `max_bytes`, `ServiceBusy` beyond the budget, and `HTTPException`: 408
    where the body takes longer than `seconds`, 400 where a form cannot be parsed.
    """
    content_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    is_form, is_json = content_type == "multipart/form-data", content_type == "application/json"
    limit = max_bytes + (_FORM_OVERHEAD if is_form else max_bytes // 3 + _FORM_OVERHEAD if is_json else 0)
    body = await _received(request, held, limit, max_bytes, seconds)
    if is_json:
        held.grow(2 * len(body))
        upload = await asyncio.to_thread(parse_json, body) if len(body) > _LONG else parse_json(body)
    elif is_form:
        try:
            upload = parse_form(request.headers["content-type"], body)
        except FormError as error:
            raise HTTPException(HTTPStatus.BAD_REQUEST, str(error)) from error
    else:
        return Upload(body)
    if len(upload.photo) > max_bytes:
        raise _too_large(max_bytes)
    return upload


async def read_batch(
    request: Request, held: Reservation, *, max_bytes: int, seconds: float
) -> list[Upload | QueryError]:
    """The searches of a JSON body, whose photos have `max_bytes` together. Raises as `read_upload` does."""
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
        raise QueryError("send the searches as application/json")
    body = await _received(request, held, max_bytes + max_bytes // 3 + _FORM_OVERHEAD, max_bytes, seconds)
    held.grow(2 * len(body))
    return await asyncio.to_thread(parse_batch, body) if len(body) > _LONG else parse_batch(body)


async def read_body(request: Request, held: Reservation, *, max_bytes: int, seconds: float) -> bytes:
    """A body without a photo. Raises as `read_upload` does, and `HTTPException` 413 beyond `max_bytes`."""
    try:
        return await _received(request, held, max_bytes, max_bytes, seconds)
    except PhotoError as error:
        message = f"a body may have {max_bytes:,} bytes at most here"
        raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message) from error


async def _received(request: Request, held: Reservation, limit: int, max_bytes: int, seconds: float) -> bytes:
    try:
        async with asyncio.timeout(seconds):
            return await _read(request, held, limit, max_bytes)
    except TimeoutError as error:
        message = f"the body did not arrive within {seconds:g} seconds"
        raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, message, {"Connection": "close"}) from error


async def _read(request: Request, held: Reservation, limit: int, max_bytes: int) -> bytes:
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and int(stated) > limit:
        raise _too_large(max_bytes)
    received = bytearray()
    async for chunk in request.stream():
        if len(received) + len(chunk) > limit:
            raise _too_large(max_bytes)
        held.grow(len(received) + len(chunk))
        received += chunk
    return bytes(received)


def _too_large(max_bytes: int) -> PhotoError:
    return PhotoError("bytes", f"a photo may have {max_bytes:,} bytes at most")
