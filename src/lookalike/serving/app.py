"""The search process as an ASGI application: routes and what each of them does.

`create_app` wires configuration, lifecycle, queue and routes; nothing is global, so several applications can live in
one process. A search goes through here once: body, parameters, queue (which decodes and searches), reply.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from pathlib import Path

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from lookalike.errors import QueryError, ServiceBusy
from lookalike.imaging import photos
from lookalike.ranking.framing import framed
from lookalike.ranking.request import Query
from lookalike.serving.access import with_access
from lookalike.serving.batching import SearchQueue
from lookalike.serving.bodies import BodyBudget, read_upload
from lookalike.serving.config import ServingConfig
from lookalike.serving.decoding import DecodingTurns, Effort
from lookalike.serving.description import openapi
from lookalike.serving.details import listing_json
from lookalike.serving.forms import Upload
from lookalike.serving.lifecycle import Lifecycle
from lookalike.serving.metrics import CONTENT_TYPE, Metrics
from lookalike.serving.observing import Observer
from lookalike.serving.problems import HANDLERS
from lookalike.serving.snapshot import ServedSnapshot
from lookalike.serving.thumbnails import ThumbnailCache, nearest_side
from lookalike.serving.wire import SearchParameters, answer_json, parse_parameters
from lookalike.settings import available_cores
from lookalike.storage.objects import ObjectStore

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
            decoders=cores,
            searchers=config.rankers.at_a_time if config.rankers else 1,
        )
        self.budget = BodyBudget(config.in_flight_bytes, self.metrics)
        self.thumbnails = ThumbnailCache(config.thumbnail_cache_bytes)
        self._scalers = ThreadPoolExecutor(max(1, cores // 2), thread_name_prefix="thumbnail")

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Load in the background while the process already answers `/livez`; at the end finish what was taken."""
        self.queue.start()
        self.lifecycle.start()
        try:
            yield
        finally:
            await asyncio.to_thread(self.queue.stop)
            await asyncio.to_thread(self.lifecycle.stop)
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
            parameters = parse_parameters((*request.query_params.multi_items(), *upload.fields))
            received = time.perf_counter()
            self.queue.admit()
            try:
                deadline = time.monotonic() + config.deadline_seconds
                snapshot = self.lifecycle.snapshot
                effort = self._effort(snapshot, parameters, upload)
                prepare = partial(self._query, snapshot, parameters, upload)
                answer = await self.queue.search(snapshot.searcher, prepare, deadline, effort)
            finally:
                self.queue.leave()
        milliseconds = {
            "receive": (received - started) * 1e3,
            **answer.milliseconds,
            "total": (time.perf_counter() - started) * 1e3,
        }
        body = answer_json(answer, milliseconds)
        for hit in body["hits"]:
            hit["title"] = hit["title"] or snapshot.titles.get(hit["listing_id"])
        request.scope["notes"].update(
            k=parameters.request.k,
            hits=len(answer.hits),
            photo_bytes=len(upload.photo),
            listing_id=parameters.listing_id,
            index=answer.index.partition("@")[0],
            stages=body["milliseconds"],
        )
        counted = BackgroundTask(self._count, milliseconds, answer.scanned)
        return JSONResponse(body, headers=_NEVER_CACHED, background=counted)

    async def _count(self, milliseconds: dict[str, float], scanned: int) -> None:
        """After the reply, which need not wait for it."""
        self.metrics.observe_stages(milliseconds)
        self.metrics.rows_scanned.inc(scanned)

    def _effort(
        self, snapshot: ServedSnapshot, parameters: SearchParameters, upload: Upload
    ) -> Effort | None:
        """What decoding the photo takes, if there is one to search by: its header alone is read, in no time."""
        if parameters.listing_id is not None:
            return None
        limits, side = self.config.photo, snapshot.searcher.card.preset.resize
        info = photos.foresee(upload.photo, side, box=parameters.box, limits=limits)
        return Effort(len(upload.photo), info.width * info.height, info.decoding_bytes)

    def _query(self, snapshot: ServedSnapshot, parameters: SearchParameters, upload: Upload) -> Query:
        """The photo decoded for this snapshot's encoder, or the listing's id, checked against its index."""
        if parameters.listing_id is not None:
            if upload.photo or parameters.box:
                raise QueryError("a search takes either a photo (with an optional box) or a listing_id")
            if snapshot.searcher.listings.find(parameters.listing_id) is None:
                raise HTTPException(HTTPStatus.NOT_FOUND, f"unknown listing: {parameters.listing_id}")
            query = Query(parameters.request, listing_id=parameters.listing_id)
        else:
            side, limits = snapshot.searcher.card.preset.resize, self.config.photo
            part = framed(parameters.box, self.config.ranking.box_margin)
            square = photos.load_square(upload.photo, side, box=part, limits=limits)
            query = Query(parameters.request, photo=square)
        snapshot.searcher.check(query)
        return query

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
            Route("/v1/catalogue", self.catalogue),
            Route("/v1/listings/{listing_id:path}", self.listing),
            Route("/v1/photos/{photo_id}", self.photo),
            *self.probe_routes(),
            Route("/openapi.json", self.openapi),
            Mount("/web", StaticFiles(directory=_WEB)),
        ]


def create_app(service: SearchService) -> ASGIApp:
    """The ASGI application of a service. Its lifespan must run: it loads and ends what the service holds."""
    app = Starlette(routes=service.routes(), lifespan=service.lifespan, exception_handlers=HANDLERS)
    app.router.redirect_slashes = False  # such a redirect repeats whatever host the client named
    guarded = with_access(app, service.config.access)
    return Observer(guarded, service.metrics, draining=lambda: service.lifecycle.draining)
