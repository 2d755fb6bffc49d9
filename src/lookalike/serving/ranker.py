"""The ranker as an ASGI application: it scans its shards for coordinators, and knows neither photos nor models.

Every question names index snapshot and shard; one that is not held is a 409, and the coordinator asks another
replica. What coordinators and rankers say to each other is `sharding.wire`; it is internal and changes with the
version, unlike the search API.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from lookalike.errors import QueryError, SettingsError
from lookalike.ranking.local import MappedListings
from lookalike.serving.config import ServingConfig
from lookalike.serving.holdings import Holdings, NotHeld, Part
from lookalike.serving.metrics import CONTENT_TYPE, Metrics
from lookalike.serving.observing import Observer
from lookalike.serving.problems import HANDLERS
from lookalike.serving.scan_queue import ScanQueue
from lookalike.settings import available_cores
from lookalike.sharding import wire
from lookalike.storage.artefacts import Ref
from lookalike.storage.objects import ObjectStore

MAXIMUM_QUESTION_BYTES = 16_000_000
"""A batch of 16 queries of 4096 bits with weights is 0.3 MB."""
QUIET = frozenset({"/v1/nearest", "/v1/shards", "/v1/summary", "/v1/listing"})
"""Not logged one by one: the coordinators log every search."""


class RankerService:
    """The endpoints of a ranker, and what they share."""

    def __init__(
        self, store: ObjectStore, part: Part, config: ServingConfig, *, cache_dir: Path, threads: int = 0
    ) -> None:
        self.config, self.metrics = config, Metrics()
        self.lifecycle = Holdings(store, part, config, self.metrics, cache_dir=cache_dir, threads=threads)
        self.queue = ScanQueue(config.queue_limit, 2 * config.batch_limit, self.metrics)
        self._writers = ThreadPoolExecutor(threads or available_cores(), thread_name_prefix="describe")

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Load in the background while the process already answers `/livez`."""
        self.lifecycle.start()
        try:
            yield
        finally:
            await asyncio.to_thread(self.lifecycle.stop)
            self.queue.stop()
            self._writers.shutdown()

    async def shards(self, request: Request) -> Response:
        """GET /v1/shards?index=...: what is held; the indexes named are wanted by a coordinator."""
        self.lifecycle.name([_ref(text) for text in request.query_params.getlist("index")])
        return JSONResponse(self.lifecycle.state())

    async def summary(self, request: Request) -> Response:
        """GET /v1/summary?index=&shard="""
        listings = self._shard(request)
        return JSONResponse(await asyncio.to_thread(lambda: wire.summary_json(listings.summary)))

    async def listing(self, request: Request) -> Response:
        """GET /v1/listing?index=&shard=&listing_id="""
        listings, listing_id = self._shard(request), request.query_params.get("listing_id", "")
        return JSONResponse(wire.listing_json(await asyncio.to_thread(listings.find, listing_id)))

    async def nearest(self, request: Request) -> Response:
        """POST /v1/nearest?index=&shard=&seconds="""
        listings = self._shard(request)
        try:
            seconds = float(request.query_params.get("seconds", "10"))
            async with asyncio.timeout(self.config.body_seconds):
                body = await _body(request)
            wanted = wire.read_wanted(body, listings.summary.bits)
        except (ValueError, wire.WireError) as error:
            raise HTTPException(HTTPStatus.BAD_REQUEST, str(error)) from error
        except TimeoutError as error:
            raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, "the question did not arrive in time") from error
        found = await self.queue.nearest(listings, wanted, seconds)
        loop = asyncio.get_running_loop()
        data = await loop.run_in_executor(self._writers, wire.found_bytes, wanted, found)
        rows = listings.summary.rows
        self.metrics.rows_scanned.inc(sum(rows.get(c, 0) for w in wanted for c in w.categories))
        return Response(data, media_type=wire.CONTENT_TYPE)

    async def livez(self, request: Request) -> Response:
        """GET /livez"""
        return JSONResponse({"alive": True})

    async def readyz(self, request: Request) -> Response:
        """GET /readyz"""
        ready, body = self.lifecycle.readiness()
        return JSONResponse(body, HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE)

    async def metrics_text(self, request: Request) -> Response:
        """GET /metrics"""
        text = await asyncio.to_thread(lambda: self.metrics.text(self.lifecycle.memory()))
        return Response(text, headers={"Content-Type": CONTENT_TYPE})

    def probe_routes(self) -> list[Route]:
        """What a port of its own answers, too (`server.make_server`)."""
        return [
            Route("/livez", self.livez),
            Route("/readyz", self.readyz),
            Route("/metrics", self.metrics_text),
        ]

    def routes(self) -> list[Route]:
        return [
            Route("/v1/shards", self.shards),
            Route("/v1/summary", self.summary),
            Route("/v1/listing", self.listing),
            Route("/v1/nearest", self.nearest, methods=["POST"]),
            *self.probe_routes(),
        ]

    def app(self) -> ASGIApp:
        """The ASGI application. Its lifespan must run: it loads and ends what the service holds."""
        app = Starlette(routes=self.routes(), lifespan=self.lifespan, exception_handlers=HANDLERS)
        return Observer(app, self.metrics, draining=lambda: self.lifecycle.draining, quiet=QUIET)

    def _shard(self, request: Request) -> MappedListings:
        text = request.query_params.get("shard", "")
        if not (text.isascii() and text.isdecimal() and len(text) <= 4):
            raise QueryError("shard: give its number")
        try:
            return self.lifecycle.listings(_ref(request.query_params.get("index", "")), int(text))
        except NotHeld as error:
            raise HTTPException(HTTPStatus.CONFLICT, str(error)) from error


def _ref(text: str) -> Ref:
    try:
        return Ref.parse(text)
    except SettingsError as error:
        raise QueryError(f"index: {error}") from error


async def _body(request: Request) -> bytes:
    received = bytearray()
    async for chunk in request.stream():
        received += chunk
        if len(received) > MAXIMUM_QUESTION_BYTES:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "a question is not that long")
    return bytes(received)
