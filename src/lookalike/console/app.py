"""The console as an ASGI application: a page, its state as JSON, and the actions behind the token.

Looking is free to whoever reaches the port, acting needs the token (`access`). An action is recorded before it is
done and again with its outcome, so nothing happens unrecorded; it must repeat its own name as `confirm`, and a
roll-back must name the record it returns from, so that two people who press at once do not go back two steps. So
must an acceptance name the index snapshot whose numbers somebody has seen.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from lookalike.console import metrics
from lookalike.console.access import COOKIE, SESSION_S, Access, Operator, TooManyGuesses, client_of
from lookalike.console.bodies import Reply, read_object
from lookalike.console.clicks import Clicks
from lookalike.console.guards import Headers, Hosts
from lookalike.console.orchestrator import Orchestrator, Unreachable
from lookalike.console.overview import Overview
from lookalike.console.plot import quality_plot
from lookalike.console.trends import SPANS, Trends
from lookalike.errors import LookalikeError, LostRace, SettingsError, StorageError
from lookalike.learning.recipes import described
from lookalike.publishing import data_gate, live_ref, publication
from lookalike.storage import audit, keys
from lookalike.storage.artefacts import Ref

_LOG = logging.getLogger("lookalike.console")
_WEB = Path(__file__).parent / "web"
_FAILED_LOG_IN_S = 0.5
Action = Callable[[dict[str, Any], Operator], Awaitable[dict[str, Any]]]


class Console:
    """The endpoints, and what they share. `search_url` is where the search page lies, for the link to it."""

    def __init__(
        self,
        overview: Overview,
        orchestrator: Orchestrator,
        access: Access,
        *,
        cache_dir: Path,
        search_url: str = "",
    ) -> None:
        self.overview, self.orchestrator, self.access = overview, orchestrator, access
        self.cache_dir, self.search_url = cache_dir, search_url
        self.view, self.clicks = Trends(overview), Clicks(overview.store)
        self._acting = asyncio.Lock()

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        yield
        await self.orchestrator.close()

    async def page(self, request: Request) -> Response:
        """GET /"""
        return FileResponse(_WEB / "index.html")

    async def livez(self, request: Request) -> Response:
        """GET /livez"""
        return JSONResponse({"live": True})

    async def metrics(self, request: Request) -> Response:
        """GET /metrics; where the store does not answer the scrape fails, instead of saying that all is well."""
        store, problems = self.overview.store, list[str]()
        ended = await self._or_problem(self.orchestrator.ended(), problems)
        found, live = await asyncio.to_thread(lambda: (data_gate.refusal(store), live_ref.read_live(store)))
        shown = None if live is None else await asyncio.to_thread(self.overview.counted, live.live)
        text = metrics.text(found, None if live is None else live.hold, shown, ended)
        return Response(text, media_type=metrics.CONTENT_TYPE)

    async def state(self, request: Request) -> Response:
        """GET /api/state: all that the page shows; what cannot be reached is said in `problems`, the rest is there."""
        problems: list[str] = []
        store, runs = await asyncio.gather(
            self._or_problem(asyncio.to_thread(self._stored, problems), problems),
            self._or_problem(self.orchestrator.runs(), problems),
        )
        operator = self.access.operator(request)
        return Reply(
            {
                "store": self.overview.store.uri,
                "search_url": self.search_url,
                "prefect_url": self.orchestrator.ui,
                "you": None if operator is None else asdict(operator),
                **(store or {"live": None, "refused": None, "releases": [], "plot": "", "actions": []}),
                "store_answers": store is not None,
                "runs": None if runs is None else asdict(runs),
                "problems": problems,
            }
        )

    async def form(self, request: Request) -> Response:
        """GET /api/forms/{name}: the fields of an action's form, as JSON schema."""
        name = request.path_params["name"]
        if name not in ("retrain", "reindex"):
            raise HTTPException(HTTPStatus.NOT_FOUND, f"there is no form {name!r}")
        fields = await self.orchestrator.form(name)
        fields.pop("asked_by", None)  # it is who asks
        if "recipe" in fields:
            live = await asyncio.to_thread(self.overview.live)
            fields["recipe"] = with_recipes(fields["recipe"], live)
        return Reply(fields)

    async def trends(self, request: Request) -> Response:
        """GET /api/trends?span=24h: a day or a month (30d) in pictures."""
        return Reply(await asyncio.to_thread(self.view.of, _span(request)))

    async def clicked(self, request: Request) -> Response:
        """GET /api/clicks?span=24h: what of answers was clicked, by place."""
        return Reply(await asyncio.to_thread(self.clicks.of, _span(request)))

    async def logs(self, request: Request) -> Response:
        """GET /api/runs/{id}/logs: what a run logged last, for those who may act."""
        if self.access.operator(request) is None:
            raise HTTPException(HTTPStatus.UNAUTHORIZED, "log in with the console's token first")
        return Reply({"lines": await self.orchestrator.logs(request.path_params["id"])})

    async def cancel(self, body: dict[str, Any], operator: Operator) -> dict[str, Any]:
        """POST /api/actions/cancel {confirm, run}: stop a run and its stages."""
        return {"message": await self.orchestrator.cancel(str(body.get("run", "")), by=operator.name)}

    async def log_in(self, request: Request) -> Response:
        """POST /api/session {name, token}"""
        body = await read_object(request)
        session = self.access.log_in(
            str(body.get("name", "")), str(body.get("token", "")), client_of(request)
        )
        if session is None:
            _LOG.warning("a log-in with a wrong token from %s", request.client and request.client.host)
            await asyncio.sleep(_FAILED_LOG_IN_S)
            raise HTTPException(HTTPStatus.UNAUTHORIZED, "that is not the token")
        reply = JSONResponse({"ok": True})
        secure = "https" in (request.url.scheme, request.headers.get("X-Forwarded-Proto", "").lower())
        reply.set_cookie(COOKIE, session, max_age=SESSION_S, httponly=True, samesite="strict", secure=secure)
        return reply

    async def log_out(self, request: Request) -> Response:
        """DELETE /api/session: the session is over, also where its cookie was copied to."""
        self.access.log_out(request.cookies.get(COOKIE, ""))
        reply = JSONResponse({"ok": True})
        reply.delete_cookie(COOKIE)
        return reply

    async def retrain(self, body: dict[str, Any], operator: Operator) -> dict[str, Any]:
        """POST /api/actions/retrain {confirm, parameters}"""
        return await self._start("retrain", body, operator)

    async def reindex(self, body: dict[str, Any], operator: Operator) -> dict[str, Any]:
        """POST /api/actions/reindex {confirm, parameters}"""
        return await self._start("reindex", body, operator)

    async def rollback(self, body: dict[str, Any], operator: Operator) -> dict[str, Any]:
        """POST /api/actions/rollback {confirm, from_sequence, why}"""
        return await self._roll_back(body, operator, model=False)

    async def rollback_model(self, body: dict[str, Any], operator: Operator) -> dict[str, Any]:
        """POST /api/actions/rollback-model {confirm, from_sequence, why}"""
        return await self._roll_back(body, operator, model=True)

    async def resume(self, body: dict[str, Any], operator: Operator) -> dict[str, Any]:
        """POST /api/actions/resume {confirm, sequence}: end the hold of the roll-back of that sequence."""
        sequence = _whole_number(body, "sequence", "the roll-back whose hold is to end")
        resume = partial(publication.resume, self.overview.store, sequence=sequence)
        await asyncio.to_thread(resume)
        return {"message": "runs publish again; what was rejected stays so"}

    async def _roll_back(self, body: dict[str, Any], operator: Operator, *, model: bool) -> dict[str, Any]:
        sequence = _whole_number(body, "from_sequence", "the record to return from")
        store, why = self.overview.store, body.get("why", "")
        if not isinstance(why, str):
            raise SettingsError("why must be a text")
        back = partial(
            publication.roll_back,
            store,
            by=f"{operator.name} (console)",
            cache_dir=self.cache_dir,
            model=model,
            why=why,
            from_sequence=sequence,
        )
        live = await asyncio.to_thread(back)
        next_ = await asyncio.to_thread(publication.what_next, store, live)
        return {"message": f"#{live.live.sequence} is live: index snapshot {live.live.index.id}. {next_}"}

    async def accept(self, body: dict[str, Any], operator: Operator) -> dict[str, Any]:
        """POST /api/actions/accept {confirm, index}: publish what the data gate refused."""
        found, live = await asyncio.to_thread(
            lambda: (self.overview.refused(), live_ref.read_live(self.overview.store))
        )
        if found is None or found["index"] != body.get("index"):
            what = "nothing was refused" if found is None else f"the data gate refused {found['index']}"
            raise LostRace(keys.AUDIT, f"{what} last; look again, and name its index")
        if live is None or str(live.live.tip) != found["live"]:
            raise LostRace(
                keys.LIVE_REF, "something else is live by now, so the numbers are others: run it again"
            )
        publish = partial(
            publication.publish_index,
            self.overview.store,
            Ref.parse(found["index"]),
            by=f"{operator.name} (console)",
            cache_dir=self.cache_dir,
            accept=True,
            attended=True,
        )
        live = await asyncio.to_thread(publish)
        return {"message": f"#{live.live.sequence} is live: index snapshot {live.live.index.id}"}

    def guarded(self, name: str, action: Action) -> Callable[[Request], Awaitable[Response]]:
        """The endpoint of an action: who, meant, recorded, done, recorded."""

        async def endpoint(request: Request) -> Response:
            if self.access.operator(request) is None:
                raise HTTPException(HTTPStatus.UNAUTHORIZED, "log in with the console's token first")
            operator = self.access.may_act(request)
            if operator is None:
                raise HTTPException(
                    HTTPStatus.FORBIDDEN, "the request does not come from this page; load it again"
                )
            body = await read_object(request)
            if body.get("confirm") != name:
                raise HTTPException(HTTPStatus.BAD_REQUEST, f'confirm the action with "confirm": "{name}"')
            detail = {key: value for key, value in body.items() if key != "confirm"}
            note = partial(audit.record, self.overview.store, by=operator.name, action=name, detail=detail)
            async with self._acting:
                await asyncio.to_thread(note, outcome=audit.ASKED)
                _LOG.info("%s asks for %s %s", operator.name, name, json.dumps(detail, allow_nan=False))
                try:
                    result = await action(body, operator)
                except LookalikeError as error:
                    await asyncio.to_thread(note, outcome=f"refused: {error}")
                    raise
                await asyncio.to_thread(note, outcome=f"done: {result['message']}")
            return Reply(result)

        return endpoint

    async def _start(self, deployment: str, body: dict[str, Any], operator: Operator) -> dict[str, Any]:
        parameters = body.get("parameters")
        if parameters is None:
            parameters = {}
        if not isinstance(parameters, dict):
            raise SettingsError("parameters must be an object")
        url = await self.orchestrator.start(deployment, parameters, by=operator.name)
        return {"message": f"{deployment} starts", "url": url}

    def _stored(self, problems: list[str]) -> dict[str, Any]:
        releases = self.overview.releases()
        return {
            "live": self.overview.live(),
            "refused": self.overview.refused(),
            "releases": [asdict(release) for release in releases],
            "plot": quality_plot(releases),
            "actions": self.overview.actions(problems),
        }

    async def _or_problem(self, work: Awaitable[Any], problems: list[str]) -> Any:
        try:
            return await work
        except LookalikeError as error:
            problems.append(str(error))
            return None


def create_app(console: Console, hosts: Collection[str] = ()) -> ASGIApp:
    """The application around a console, which answers to these names alone; none: to any."""
    actions = {
        "retrain": console.retrain,
        "reindex": console.reindex,
        "rollback": console.rollback,
        "rollback-model": console.rollback_model,
        "resume": console.resume,
        "accept": console.accept,
        "cancel": console.cancel,
    }
    return Starlette(
        routes=[
            Route("/", console.page),
            Route("/livez", console.livez),
            Route("/metrics", console.metrics),
            Route("/api/state", console.state),
            Route("/api/forms/{name}", console.form),
            Route("/api/trends", console.trends),
            Route("/api/clicks", console.clicked),
            Route("/api/runs/{id}/logs", console.logs),
            Route("/api/session", console.log_in, methods=["POST"]),
            Route("/api/session", console.log_out, methods=["DELETE"]),
            *(
                Route(f"/api/actions/{name}", console.guarded(name, action), methods=["POST"])
                for name, action in actions.items()
            ),
            Mount("/web", StaticFiles(directory=_WEB)),
        ],
        middleware=[Middleware(Headers), Middleware(Hosts, refused=_problem, names=hosts)],
        exception_handlers={
            LookalikeError: _on_lookalike_error,
            HTTPException: _on_http_exception,
            TooManyGuesses: _on_guesses,
        },
        lifespan=console.lifespan,
    )


def with_recipes(field: dict[str, Any], live: dict[str, Any] | None) -> dict[str, Any]:
    """The field of the recipe with what each needs, and the live release's as default."""
    said = described()
    choices = field.get("enum", [])
    own = live["recipe"] if live is not None and live["recipe"] in choices else field.get("default")
    return field | {"default": own, "choices": {name: said.get(name, "") for name in choices}}


def _span(request: Request) -> str:
    span = request.query_params.get("span", "24h")
    if span not in SPANS:
        raise HTTPException(HTTPStatus.BAD_REQUEST, f"span is one of {', '.join(SPANS)}")
    return span


def _whole_number(body: dict[str, Any], name: str, what: str) -> int:
    found = body.get(name)
    if not isinstance(found, int) or isinstance(found, bool):
        raise SettingsError(f"name {what}: {name}")
    return found


async def _on_lookalike_error(request: Request, error: Exception) -> Response:
    match error:
        case LostRace():
            status = HTTPStatus.CONFLICT
        case SettingsError():
            status = HTTPStatus.BAD_REQUEST
        case Unreachable() | StorageError():
            status = HTTPStatus.BAD_GATEWAY
        case _:
            status = HTTPStatus.INTERNAL_SERVER_ERROR
    return _problem(status, str(error))


async def _on_guesses(request: Request, error: Exception) -> Response:
    reply = _problem(HTTPStatus.TOO_MANY_REQUESTS, "too many wrong tokens from this address; wait a while")
    reply.headers["Retry-After"] = "10"
    return reply


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _problem(error.status_code, error.detail)


def _problem(status: int, detail: str) -> Response:
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": int(status),
        "detail": detail,
    }
    return Reply(body, status, media_type="application/problem+json")
