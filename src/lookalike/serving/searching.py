"""One search, from what a client sent to the reply's body: shared by single searches and batches.

Enters: an `Upload`, the photo and the parameters however they came, and the name of the API key. Leaves: a `Reply`. A
search goes through here once: parameters, the photo (or what stands for it), queue (which decodes and searches), body.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from typing import Any

import numpy as np
from starlette.exceptions import HTTPException

from lookalike.errors import QueryError
from lookalike.imaging import photos
from lookalike.imaging.limits import Limits
from lookalike.ranking.asked import SearchParameters, parse_parameters
from lookalike.ranking.framing import framed
from lookalike.ranking.request import Query
from lookalike.serving.batching import SearchQueue
from lookalike.serving.bodies import Reservation
from lookalike.serving.config import ServingConfig
from lookalike.serving.decoding import Effort
from lookalike.serving.events import EventLog
from lookalike.serving.forms import Upload
from lookalike.serving.lifecycle import Lifecycle
from lookalike.serving.snapshot import ServedSnapshot
from lookalike.serving.web_queries import WebQueries
from lookalike.serving.wire import answer_json


@dataclass(frozen=True, slots=True)
class Asker:
    """Whose search it is."""

    key: str
    """The name of the API key; empty where none was asked for."""
    network: str
    """The client's address (IPv6: its /64)."""

    @property
    def name(self) -> str:
        """Whose turn it is: two applications with one key, and two keys of one address, have a turn each."""
        return f"{self.key}@{self.network}"


@dataclass(frozen=True, slots=True)
class Reply:
    """What a search answers, and what is noted of it."""

    body: dict[str, Any]
    notes: dict[str, Any]
    """For the log."""
    milliseconds: dict[str, float]
    scanned: int


class Searches:
    """Runs searches against whatever snapshot is served."""

    def __init__(
        self,
        config: ServingConfig,
        lifecycle: Lifecycle,
        queue: SearchQueue,
        web: WebQueries,
        events: EventLog,
    ) -> None:
        self.config, self.lifecycle, self.queue, self.web, self.events = config, lifecycle, queue, web, events

    async def answer(self, upload: Upload, held: Reservation, asker: Asker, *, started: float) -> Reply:
        """The reply to one search, which came in from `started` (perf counter) on. Raises what is wrong with it."""
        parameters = parse_parameters(upload.fields)
        kept, asked = self.events.sampled(), parameters.request
        if kept:
            parameters = replace(parameters, request=replace(asked, explain=True))
        received = time.perf_counter()
        snapshot = self.lifecycle.snapshot
        carried = self._carried(snapshot, parameters, upload, asker.key)
        self.queue.admit(asker.name)
        try:
            deadline = time.monotonic() + self.config.deadline_seconds
            if parameters.image_url is not None:
                upload = await self._fetched(parameters.image_url, upload, held)
                parameters = replace(parameters, image_url=None)
                snapshot = self.lifecycle.snapshot
            effort = self._effort(snapshot, parameters, upload)
            prepare = partial(self._query, snapshot, parameters, upload, carried, effort)
            answer = await self.queue.search(snapshot.searcher, prepare, deadline, effort, client=asker.name)
        finally:
            self.queue.leave(asker.name)
        milliseconds = {
            "receive": (received - started) * 1e3,
            **answer.milliseconds,
            "total": (time.perf_counter() - started) * 1e3,
        }
        answer_id = self.events.keep_answer(answer, asked) if kept else None
        body = answer_json(answer.unexplained() if kept and not asked.explain else answer, milliseconds)
        body["answer_id"] = answer_id
        body["query_id"] = snapshot.query_ids.issue(answer.carried, asker.key) if answer.carried else None
        for hit in body["hits"]:
            hit["title"] = hit["title"] or snapshot.titles.get(hit["listing_id"])
        notes = {
            "k": parameters.request.k,
            "hits": len(answer.hits),
            "photo_bytes": len(upload.photo),
            "listing_id": parameters.listing_id,
            "index": answer.index.partition("@")[0],
            "stages": body["milliseconds"],
        }
        return Reply(body, notes, milliseconds, answer.scanned)

    def _carried(
        self, snapshot: ServedSnapshot, parameters: SearchParameters, upload: Upload, key: str
    ) -> bytes | None:
        """What the query's id stands for, if there is one. Raises `QueryError` where there is more than one query."""
        named = {
            "listing_id": parameters.listing_id,
            "query_id": parameters.query_id,
            "image_url": parameters.image_url,
        }
        given = [name for name, value in named.items() if value is not None] + ["a photo"] * bool(
            upload.photo
        )
        if len(given) > 1:
            raise QueryError(f"a search takes one query, not {' and '.join(given)}")
        if parameters.box and given and given[0] in ("listing_id", "query_id"):
            raise QueryError(f"a box is a part of a photo: leave it out with {given[0]}")
        if parameters.image_url is not None:
            self.web.check(parameters.image_url)
        if parameters.query_id is None:
            return None
        return snapshot.query_ids.read(parameters.query_id, key)

    async def _fetched(self, address: str, upload: Upload, held: Reservation) -> Upload:
        held.grow(held.held + self.config.photo.max_bytes)  # as much as it may be
        loop = asyncio.get_running_loop()
        photo = await loop.run_in_executor(self.web.threads, self.web.fetch, address)
        held.grow(held.held - self.config.photo.max_bytes + len(photo))
        return replace(upload, photo=photo)

    def _effort(
        self, snapshot: ServedSnapshot, parameters: SearchParameters, upload: Upload
    ) -> Effort | None:
        """What decoding the photo takes, if there is one to search by: its header alone is read, in no time."""
        if parameters.listing_id is not None or parameters.query_id is not None:
            return None
        limits, side = self.config.photo, snapshot.searcher.card.preset.resize
        info = photos.foresee(upload.photo, side, box=parameters.box, limits=limits)
        return Effort(len(upload.photo), info.width * info.height, info.decoding_bytes)

    def _query(
        self,
        snapshot: ServedSnapshot,
        parameters: SearchParameters,
        upload: Upload,
        carried: bytes | None,
        effort: Effort | None,
    ) -> Query:
        """The photo decoded for this snapshot's encoder, or what stands for it, checked against its index."""
        if carried is not None:
            query = Query(parameters.request, carried=carried)
        elif parameters.listing_id is not None:
            if snapshot.searcher.listings.find(parameters.listing_id) is None:
                raise HTTPException(HTTPStatus.NOT_FOUND, f"unknown listing: {parameters.listing_id}")
            query = Query(parameters.request, listing_id=parameters.listing_id)
        else:
            side, limits = snapshot.searcher.card.preset.resize, self.config.photo
            part = framed(parameters.box, self.config.ranking.box_margin)
            square = photos.load_square(upload.photo, side, box=part, limits=limits)
            # A heavy photo is decoded once: a second time would hold up the searches of others.
            once = parameters.box is not None or (effort is not None and effort.heavy)
            closer = partial(_part, upload.photo, side, limits)
            query = Query(parameters.request, photo=square, part=None if once else closer)
        snapshot.searcher.check(query)
        return query


def _part(photo: bytes, side: int, limits: Limits, box: photos.Box) -> np.ndarray:
    """A box of a photo as the encoder takes it."""
    return photos.load_square(photo, side, box=box, limits=limits)
