"""The search process as an ASGI application: routes and what each of them does.

`create_app` wires configuration, lifecycle, queue and routes; nothing is global, so several applications can live in
one process.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from lookalike.errors import LookalikeError, QueryError, ServiceBusy
from lookalike.listening import network_of
from lookalike.serving.access import charge, with_access
from lookalike.serving.batching import SearchQueue
from lookalike.serving.bodies import BodyBudget, Reservation, read_batch, read_body, read_upload
from lookalike.serving.config import ServingConfig
from lookalike.serving.decoding import DecodingTurns
from lookalike.serving.description import openapi
from lookalike.serving.details import listing_json
from lookalike.serving.events import MAXIMUM_BODY, EventLog
from lookalike.serving.forms import Upload
from lookalike.serving.lifecycle import Lifecycle
from lookalike.serving.metrics import CONTENT_TYPE, Metrics
from lookalike.serving.observing import Observer
from lookalike.serving.problems import HANDLERS, on_http_exception, on_lookalike_error
from lookalike.serving.searching import Asker, Reply, Searches
from lookalike.serving.thumbnails import ThumbnailCache, nearest_side
from lookalike.serving.web_queries import WebQueries
from lookalike.settings import available_cores
from lookalike.storage.objects import ObjectStore
from lookalike.traffic import TrafficLog, process_name

_WEB = Path(__file__).parent / "web"
_OPENAPI = openapi()
_IMMUTABLE = {"Cache-Control": "public, max-age=31536000, immutable"}
_NEVER_CACHED = {"Cache-Control": "no-store"}


class SearchService:
    """The endpoints, and what they share."""

    def __init__(
        self, store: ObjectStore, config: ServingConfig, *, cache_dir: Path, threads: int = 0
    ) -> None:
        self.config, self.metrics = config, Metrics()
        self.lifecycle = Lifecycle(store, config, self.metrics, cache_dir=cache_dir, threads=threads)
        cores = threads or available_cores()
        self.queue = SearchQueue(
            config.queue_limit,
            config.batch_limit,
            self.metrics,
            DecodingTurns(config.decoding_bytes, config.heavy_limit, self.metrics),
            pass_seconds=config.pass_seconds,
            decoders=cores,
            searchers=config.rankers.at_a_time if config.rankers else 1,
        )
        self.web = WebQueries(config.image_hosts, config.photo.max_bytes)
        self.traffic = TrafficLog(store, process_name()) if config.keep_traffic else None
        self.events = EventLog(store, config.events, self.metrics)
        self.searches = Searches(config, self.lifecycle, self.queue, self.web, self.events)
        self.budget = BodyBudget(config.in_flight_bytes, self.metrics)
        self.thumbnails = ThumbnailCache(config.thumbnail_cache_bytes)
        self._scalers = ThreadPoolExecutor(max(1, cores // 2), thread_name_prefix="thumbnail")

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Load in the background while the process already answers `/livez`; at the end finish what was taken."""
        self.queue.start()
        self.lifecycle.start()
        if self.traffic is not None:
            self.traffic.start()
        self.events.start()
        try:
            yield
        finally:
            await asyncio.to_thread(self.queue.stop)
            await asyncio.to_thread(self.events.stop)
            await asyncio.to_thread(self.lifecycle.stop)
            if self.traffic is not None:
                await asyncio.to_thread(self.traffic.stop)
            self.web.stop()
            self._scalers.shutdown()

    async def search(self, request: Request) -> Response:
        """POST /v1/search, and GET where no photo is sent"""
        started = time.perf_counter()
        self.lifecycle.snapshot  # noqa: B018  not ready: say so before receiving a photo
        config = self.config
        with self.budget.reservation() as held:
            upload = await read_upload(
                request, held, max_bytes=config.photo.max_bytes, seconds=config.body_seconds
            )
            upload = replace(upload, fields=(*request.query_params.multi_items(), *upload.fields))
            reply = await self.searches.answer(upload, held, _asker_of(request), started=started)
        request.scope["notes"].update(reply.notes)
        counted = BackgroundTask(self._count, [reply])
        return JSONResponse(reply.body, headers=_NEVER_CACHED, background=counted)

    async def search_batch(self, request: Request) -> Response:
        """POST /v1/search/batch"""
        started = time.perf_counter()
        self.lifecycle.snapshot  # noqa: B018
        config = self.config
        with self.budget.reservation() as held:
            uploads = await read_batch(
                request, held, max_bytes=config.photo.max_bytes, seconds=config.body_seconds
            )
            if len(uploads) > config.batch_searches:
                raise QueryError(
                    f"searches: at most {config.batch_searches} in one request, not {len(uploads)}"
                )
            charge(request, len(uploads) - 1)
            asker = _asker_of(request)
            done = await asyncio.gather(
                *(self._one_of_batch(request, upload, held, asker, started) for upload in uploads)
            )
        replies = [reply for reply, _ in done if reply is not None]
        request.scope["notes"].update(searches=len(done), failed=len(done) - len(replies))
        body = {"results": [result for _, result in done]}
        return JSONResponse(body, headers=_NEVER_CACHED, background=BackgroundTask(self._count, replies))

    async def event(self, request: Request) -> Response:
        """POST /v1/events"""
        with self.budget.reservation() as held:
            body = await read_body(request, held, max_bytes=MAXIMUM_BODY, seconds=self.config.body_seconds)
            kept = self.events.keep(body)
        return JSONResponse({"kept": kept}, HTTPStatus.ACCEPTED, headers=_NEVER_CACHED)

    async def _one_of_batch(
        self, request: Request, upload: Upload | QueryError, held: Reservation, asker: Asker, started: float
    ) -> tuple[Reply | None, dict[str, Any]]:
        """One search's reply, if it has one, and what the batch says of it: one that fails fails no other."""
        try:
            if isinstance(upload, QueryError):
                raise upload
            reply = await self.searches.answer(upload, held, asker, started=started)
        except (LookalikeError, HTTPException) as error:
            handler = on_http_exception if isinstance(error, HTTPException) else on_lookalike_error
            said = await handler(request, error)
            return None, {"status": said.status_code, "problem": json.loads(bytes(said.body))}
        return reply, {"status": 200, "answer": reply.body}

    async def _count(self, replies: Sequence[Reply]) -> None:
        """After the reply, which need not wait for it."""
        for reply in replies:
            self.metrics.observe_stages(reply.milliseconds)
            self.metrics.rows_scanned.inc(reply.scanned)
            self.metrics.partial.inc("partial" in reply.body)
            if self.traffic is not None:
                self.traffic.answered(HTTPStatus.OK, reply.milliseconds["total"] / 1e3)
                self.traffic.found(reply.body, photo=reply.body["query_id"] is not None)

    def count_failure(self, path: str, status: int, seconds: float) -> None:
        """A request failed for a reason that is not its own: of searches it is kept."""
        if self.traffic is not None and path.startswith("/v1/search"):
            self.traffic.answered(status, seconds)

    async def catalogue(self, request: Request) -> Response:
        """GET /v1/catalogue"""
        return JSONResponse(self.lifecycle.snapshot.catalogue, headers=_NEVER_CACHED)

    async def listing(self, request: Request) -> Response:
        """GET /v1/listings/{listing_id}"""
        snapshot = self.lifecycle.snapshot
        listing_id = request.path_params["listing_id"]
        body = await asyncio.to_thread(listing_json, snapshot.searcher.listings, snapshot.titles, listing_id)
        if body is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, f"unknown listing: {listing_id[:100]}")
        return JSONResponse(body, headers=_NEVER_CACHED)

    async def photo(self, request: Request) -> Response:
        """GET /v1/photos/{photo_id}?size="""
        photo_id = request.path_params["photo_id"]
        size = request.query_params.get("size", "240")
        if not (size.isascii() and size.isdecimal() and len(size) <= 5):
            raise QueryError("size: give the longer side in pixels")
        side = nearest_side(int(size))
        etag = f'"{photo_id[:32]}-{side}"'
        current, previous = self.lifecycle.snapshot, self.lifecycle.previous
        shelf = next((s.shelf for s in (current, previous) if s is not None and photo_id in s.shelf), None)
        if shelf is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, f"unknown photo: {photo_id[:40]}")
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers={"ETag": etag, **_IMMUTABLE})
        data = await asyncio.get_running_loop().run_in_executor(
            self._scalers, self.thumbnails.get, shelf, photo_id, side
        )
        return Response(data, media_type="image/jpeg", headers={"ETag": etag, **_IMMUTABLE})

    async def livez(self, request: Request) -> Response:
        """GET /livez: the process runs; nothing more is asked, or a slow store would restart it."""
        return JSONResponse({"alive": True}, headers=_NEVER_CACHED)

    async def readyz(self, request: Request) -> Response:
        """GET /readyz"""
        ready, body = self.lifecycle.readiness()
        status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
        return JSONResponse(body, status, headers=_NEVER_CACHED)

    async def metrics_text(self, request: Request) -> Response:
        """GET /metrics"""
        try:
            listings = self.lifecycle.snapshot.searcher.listings
        except ServiceBusy:
            text = self.metrics.text()
        else:
            text = await asyncio.to_thread(lambda: self.metrics.text(listings.memory()))
        return Response(text, headers={"Content-Type": CONTENT_TYPE, **_NEVER_CACHED})

    async def openapi(self, request: Request) -> Response:
        """GET /openapi.json"""
        return JSONResponse(_OPENAPI)

    async def page(self, request: Request) -> Response:
        """GET /"""
        return FileResponse(_WEB / "index.html", headers={"Cache-Control": "no-cache"})

    def probe_routes(self) -> list[Route]:
        """What a port of its own answers, too (`server.make_server`)."""
        return [
            Route("/livez", self.livez),
            Route("/readyz", self.readyz),
            Route("/metrics", self.metrics_text),
        ]

    def routes(self) -> list[Route | Mount]:
        return [
            Route("/", self.page),
            Route("/v1/search", self.search, methods=["GET", "POST"]),
            Route("/v1/search/batch", self.search_batch, methods=["POST"]),
            Route("/v1/events", self.event, methods=["POST"]),
            Route("/v1/catalogue", self.catalogue),
            Route("/v1/listings/{listing_id:path}", self.listing),
            Route("/v1/photos/{photo_id}", self.photo),
            *self.probe_routes(),
            Route("/openapi.json", self.openapi),
            Mount("/web", StaticFiles(directory=_WEB)),
        ]


def _asker_of(request: Request) -> Asker:
    client = request.client
    return Asker(request.scope["notes"].get("key", ""), network_of(client.host) if client else "")


def create_app(service: SearchService) -> ASGIApp:
    """The ASGI application of a service. Its lifespan must run: it loads and ends what the service holds."""
    app = Starlette(routes=service.routes(), lifespan=service.lifespan, exception_handlers=HANDLERS)
    app.router.redirect_slashes = False  # such a redirect repeats whatever host the client named
    guarded = with_access(app, service.config.access)
    return Observer(
        guarded,
        service.metrics,
        draining=lambda: service.lifecycle.draining,
        failed=service.count_failure,
    )
