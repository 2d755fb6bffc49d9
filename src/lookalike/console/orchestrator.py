"""Prefect as the console sees it: runs with their progress, and new runs of deployments, over its HTTP API.

Prefect itself is not imported: the console needs five of its endpoints, and a page that shows the state of things must
start in a second. `Unreachable` says that the API did not answer; the page then shows the rest.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import wraps
from http import HTTPStatus
from statistics import median
from typing import Any, Concatenate, ParamSpec, TypeVar
from uuid import UUID, uuid4

import httpx

from lookalike.console.words import plain
from lookalike.errors import LookalikeError, SettingsError

P = ParamSpec("P")
R = TypeVar("R")
PARENTS = ("retrain", "reindex")
STAGES = {
    "retrain": ("curate", "train", "extract", "index", "publish"),
    "reindex": ("curate", "extract", "index", "publish"),
}
_MEASURED = 20
"""Runs that are over which are looked at for how long runs take."""
_IN_PROGRESS = ("RUNNING", "PENDING", "PAUSED", "CANCELLING")
_OVER = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
_BUSY_S = (0.25, 0.5, 1.0, 2.0)
"""After how long a server is asked again that says 503: Prefect's does where its database is locked for a moment."""


class Unreachable(LookalikeError):
    """Prefect's API does not answer, or not as it should; the message says which address and what it said."""


@dataclass(frozen=True, slots=True)
class Bar:
    """Progress of one stage of a step: percent, and what Prefect shows beside it."""

    percent: float
    text: str


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of a run: waiting, running, completed or failed, with its latest bar."""

    name: str
    state: str
    bar: Bar | None


@dataclass(frozen=True, slots=True)
class Run:
    """A run of `retrain` or `reindex`. Times are ISO 8601, UTC; `state` is Prefect's name of it."""

    id: str
    name: str
    flow: str
    state: str
    message: str
    created: str
    started: str | None
    ended: str | None
    url: str
    stages: tuple[Stage, ...]
    raw: str = ""
    """The message as Prefect has it, where `message` says it in plain words."""
    by: str = ""
    """Who asked for it; empty for the schedule."""
    expected_s: float | None = None
    """How long the last runs of its flow took that were completed, their median in seconds; None without any."""


@dataclass(frozen=True, slots=True)
class Runs:
    """What runs, what ran last (newest first), and when the schedule starts the next."""

    active: tuple[Run, ...]
    recent: tuple[Run, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class Ended:
    """How runs of one flow ended: when the last one completed, and how many did so in each way in the last 24 hours."""

    flow: str
    completed: str | None
    counts: Mapping[str, int]


def _translated(
    ask: Callable[Concatenate[Orchestrator, P], Awaitable[R]],
) -> Callable[Concatenate[Orchestrator, P], Coroutine[Any, Any, R]]:
    """`ask`, raising `Unreachable` where the reply is JSON and not what Prefect says."""

    @wraps(ask)
    async def asking(self: Orchestrator, /, *args: P.args, **named: P.kwargs) -> R:
        try:
            return await ask(self, *args, **named)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise Unreachable(
                f"Prefect at {self.api} does not answer as this version knows it ({error!r:.100})"
            ) from error

    return asking


class Orchestrator:
    """A client of one Prefect server. `api` is its API address, `ui` where people see it, `auth` ``user:password``."""

    def __init__(self, api: str, ui: str = "", *, key: str = "", auth: str = "") -> None:
        self.api = api.rstrip("/")
        self.ui = (ui or self.api.removesuffix("/api")).rstrip("/")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        if auth:
            headers["Authorization"] = f"Basic {base64.b64encode(auth.encode()).decode()}"
        self._client = httpx.AsyncClient(base_url=self.api, headers=headers, timeout=5, trust_env=False)
        self._flows: dict[str, str] = {}

    async def close(self) -> None:
        await self._client.aclose()

    @_translated
    async def runs(self, recent: int = 8) -> Runs:
        """Runs in progress with the progress of each stage, the last ones, and the next one."""
        mine = {"name": {"any_": list(PARENTS)}}
        now = datetime.now(UTC).isoformat()
        due = {"state": {"type": {"any_": ["SCHEDULED"]}}, "expected_start_time": {"before_": now}}
        later = {"state": {"type": {"any_": ["SCHEDULED"]}}, "expected_start_time": {"after_": now}}
        running = await self._runs(mine, {"state": {"type": {"any_": list(_IN_PROGRESS)}}}, 20)
        running += await self._runs(mine, due, 20)
        over = await self._runs(mine, {"state": {"type": {"any_": list(_OVER)}}}, max(recent, _MEASURED))
        usual = await self._usual(over)
        coming = await self._runs(mine, later, 1, sort="EXPECTED_START_TIME_ASC")
        children = await self._children([run["id"] for run in running])
        bars = await self._bars([child["id"] for below in children.values() for child in below])
        return Runs(
            active=tuple([await self._run(run, children.get(run["id"], []), bars, usual) for run in running]),
            recent=tuple([await self._run(run, [], {}, {}) for run in over[:recent]]),
            next=coming[0]["expected_start_time"] if coming else None,
        )

    @_translated
    async def ended(self) -> tuple[Ended, ...]:
        """How the parents' runs ended lately. *Held* is no end that anybody waited for, so it counts apart."""
        day = (datetime.now(UTC) - timedelta(days=1)).isoformat()
        found = []
        for flow in PARENTS:
            mine = {"name": {"any_": [flow]}}
            last = await self._runs(mine, {"state": {"name": {"any_": ["Completed"]}}}, 1, "END_TIME_DESC")
            counts: dict[str, int] = {}
            for name in ("Completed", "Held", "Failed", "Crashed", "Cancelled"):
                runs = {"state": {"name": {"any_": [name]}}, "end_time": {"after_": day}}
                body = {"flows": mine, "flow_runs": runs}
                counts[name.lower()] = int(await self._post("/flow_runs/count", body))
            found.append(Ended(flow, last[0]["end_time"] if last else None, counts))
        return tuple(found)

    @_translated
    async def form(self, deployment: str) -> dict[str, Any]:
        """JSON schema of a parent's parameters, with the deployment's own values as defaults."""
        found = await self._deployment(deployment)
        schema = found["parameter_openapi_schema"]
        definition = schema["properties"]["parameters"].get("$ref", "").rpartition("/")[2]
        fields: dict[str, Any] = schema["definitions"][definition]["properties"]
        own = (found.get("parameters") or {}).get("parameters", {})
        resolved = {}
        for name, field in fields.items():
            ref = field.get("$ref", "").rpartition("/")[2]
            choices = {"enum": schema["definitions"][ref]["enum"]} if ref else {}
            default = {"default": own[name]} if name in own else {}
            resolved[name] = {k: v for k, v in field.items() if k != "$ref"} | choices | default
        return resolved

    @_translated
    async def start(self, deployment: str, parameters: Mapping[str, Any], *, by: str) -> str:
        """Create a run of a parent's deployment; the address of its page. Raises `Unreachable` where it is refused."""
        found = await self._deployment(deployment)
        own = (found.get("parameters") or {}).get("parameters", {})
        body = {
            "parameters": {"parameters": {**own, **parameters, "asked_by": by}},
            "tags": ["console"],
            "state": {"type": "SCHEDULED", "message": f"asked for in the console by {by}"},
            "enforce_parameter_schema": True,
            "idempotency_key": str(uuid4()),  # asked twice where the server was busy, it makes one run
        }
        run = await self._post(f"/deployments/{found['id']}/create_flow_run", body)
        return self._page(run["id"])

    @_translated
    async def cancel(self, run_id: str, *, by: str) -> str:
        """Stop a run, and what it started; what it says of it. Raises `Unreachable`, `SettingsError` if it is over."""
        run = await self._mine(run_id)
        state = (run.get("state") or {}).get("type", run.get("state_type"))
        if state in _OVER:
            raise SettingsError(f"{run['name']} is over already")
        waits = state in ("SCHEDULED", "PENDING")
        new = {
            "type": "CANCELLED" if waits else "CANCELLING",
            "name": "Cancelled" if waits else "Cancelling",
            "message": f"cancelled in the console by {by}",
        }
        for each in [run, *(await self._children([run["id"]]))[run["id"]]]:
            if each.get("state_type") not in _OVER:
                await self._post(f"/flow_runs/{each['id']}/set_state", {"state": new, "force": waits})
        return f"{run['name']} {'is cancelled' if waits else 'is being stopped; what it has done is kept'}"

    @_translated
    async def logs(self, run_id: str, limit: int = 200) -> list[dict[str, str]]:
        """The last lines that a run and its stages logged, oldest first: when, level, text."""
        run = await self._mine(run_id)
        runs = [run["id"], *(child["id"] for child in (await self._children([run["id"]]))[run["id"]])]
        body = {"logs": {"flow_run_id": {"any_": runs}}, "sort": "TIMESTAMP_DESC", "limit": min(limit, 200)}
        found = await self._post("/logs/filter", body)
        levels = {10: "debug", 20: "info", 30: "warning", 40: "error", 50: "critical"}
        return [
            {"at": line["timestamp"], "level": levels.get(line["level"], "info"), "text": line["message"]}
            for line in reversed(found)
        ]

    async def _mine(self, run_id: str) -> dict[str, Any]:
        """A run of one of our flows. Raises `SettingsError` where it is not one."""
        body = {
            "flows": {"name": {"any_": list(PARENTS)}},
            "flow_runs": {"id": {"any_": [run_id]}},
            "limit": 1,
        }
        try:
            UUID(run_id)
        except ValueError as error:
            raise SettingsError("run must be a run's id") from error
        found = await self._post("/flow_runs/filter", body)
        if not found:
            raise SettingsError(f"there is no run {run_id} of {' or '.join(PARENTS)}")
        run: dict[str, Any] = found[0]
        return run

    async def _usual(self, over: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """How long runs of each flow took that were completed, the median in seconds."""
        took: dict[str, list[float]] = {}
        for run in over:
            if run["state_type"] == "COMPLETED" and run.get("start_time") and run.get("end_time"):
                start, end = (datetime.fromisoformat(run[name]) for name in ("start_time", "end_time"))
                took.setdefault(await self._flow(run["flow_id"]), []).append((end - start).total_seconds())
        return {flow: median(seconds) for flow, seconds in took.items()}

    async def _deployment(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = await self._call("GET", f"/deployments/name/{name}/{name}")
        return found

    async def _runs(
        self,
        flows: Mapping[str, Any],
        runs: Mapping[str, Any],
        limit: int,
        sort: str = "EXPECTED_START_TIME_DESC",
    ) -> list[dict[str, Any]]:
        body = {"flows": flows, "flow_runs": runs, "limit": limit, "sort": sort}
        found: list[dict[str, Any]] = await self._post("/flow_runs/filter", body)
        return found

    async def _children(self, parents: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        below = {}
        for parent in parents:
            only = {
                "flow_runs": {"parent_flow_run_id": {"any_": [parent]}},
                "sort": "EXPECTED_START_TIME_ASC",
            }
            below[parent] = await self._post("/flow_runs/filter", only)
        return below

    async def _bars(self, runs: Sequence[str]) -> dict[str, Bar]:
        """The progress that was reported last by each run."""
        if not runs:
            return {}
        body = {
            "artifacts": {"type": {"any_": ["progress"]}, "flow_run_id": {"any_": list(runs)}},
            "sort": "UPDATED_DESC",
        }
        bars: dict[str, Bar] = {}
        for found in await self._post("/artifacts/filter", body):
            bars.setdefault(found["flow_run_id"], Bar(float(found["data"]), found["description"] or ""))
        return bars

    async def _run(
        self,
        run: Mapping[str, Any],
        children: Sequence[Mapping[str, Any]],
        bars: Mapping[str, Bar],
        usual: Mapping[str, float],
    ) -> Run:
        flow = await self._flow(run["flow_id"])
        state = run.get("state") or {}
        message = state.get("message") or ""
        latest = {await self._flow(child["flow_id"]): child for child in children}
        stages = tuple(
            Stage(name, _state_of(latest.get(name)), bars.get(latest[name]["id"]) if name in latest else None)
            for name in STAGES.get(flow, ())
        )
        return Run(
            id=run["id"],
            name=run["name"],
            flow=flow,
            state=state.get("name") or run.get("state_name") or "",
            message=plain(message),
            raw=message if plain(message) != message else "",
            by=str(((run.get("parameters") or {}).get("parameters") or {}).get("asked_by") or ""),
            expected_s=usual.get(flow),
            created=run["created"],
            started=run.get("start_time"),
            ended=run.get("end_time"),
            url=self._page(run["id"]),
            stages=stages,
        )

    async def _flow(self, flow_id: str) -> str:
        if flow_id not in self._flows:
            self._flows[flow_id] = (await self._call("GET", f"/flows/{flow_id}"))["name"]
        return self._flows[flow_id]

    def _page(self, run_id: str) -> str:
        return f"{self.ui}/runs/flow-run/{run_id}"

    async def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        return await self._call("POST", path, body)

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        for wait in (*_BUSY_S, None):
            try:
                reply = await self._client.request(method, path, json=body)
            except httpx.HTTPError as error:
                raise Unreachable(
                    f"Prefect at {self.api} cannot be reached ({error or type(error).__name__})"
                ) from error
            if reply.status_code != HTTPStatus.SERVICE_UNAVAILABLE or wait is None:
                break
            await asyncio.sleep(wait)
        if reply.is_error:
            raise Unreachable(
                f"Prefect at {self.api} answers {reply.status_code} to {path}: {reply.text[:300]}"
            )
        try:
            return reply.json()
        except (ValueError, RecursionError) as error:
            raise Unreachable(
                f"Prefect at {self.api} does not answer {path} with JSON: {reply.text[:100]}"
            ) from error


def _state_of(child: Mapping[str, Any] | None) -> str:
    if child is None:
        return "waiting"
    return {"COMPLETED": "completed", "FAILED": "failed", "CRASHED": "failed", "CANCELLED": "failed"}.get(
        child["state_type"], "running"
    )
