"""The console and a real Prefect server that says 503 now and then, as it does where its database is locked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import httpx
import pytest

from lookalike.console.orchestrator import Orchestrator, Unreachable

from .conftest import Prefect


class Busy(httpx.AsyncBaseTransport):
    """Answers 503 to the first requests for each path: once before it has asked the server, then after."""

    def __init__(self, server: httpx.AsyncBaseTransport, times: int) -> None:
        self.server, self.times = server, times
        self.asked: dict[str, int] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        self.asked[path] = self.asked.get(path, 0) + 1
        if self.asked[path] == 1 <= self.times:
            return httpx.Response(503, json={"exception_message": "Service Unavailable"})
        reply = await self.server.handle_async_request(request)
        if self.asked[path] <= self.times:
            await reply.aclose()
            return httpx.Response(503, json={"exception_message": "Service Unavailable"})
        return reply

    async def aclose(self) -> None:
        await self.server.aclose()


@pytest.fixture
def deployment(prefect: Prefect) -> Iterator[str]:
    flow = prefect.ask("/flows/", {"name": "retrain"})["id"]
    found: str = prefect.ask("/deployments/", {"name": "retrain", "flow_id": flow})["id"]
    yield found
    for run in runs(prefect, found):
        prefect.ask(f"/flow_runs/{run['id']}", None, "DELETE")
    prefect.ask(f"/deployments/{found}", None, "DELETE")


def runs(prefect: Prefect, deployment: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = prefect.ask(
        "/flow_runs/filter", {"deployments": {"id": {"any_": [deployment]}}}
    )
    return found


def ask(prefect: Prefect, times: int) -> str:
    async def start() -> str:
        orchestrator = Orchestrator(prefect.api)
        client = orchestrator._client
        client._transport = Busy(client._transport, times)
        try:
            return await orchestrator.start("retrain", {}, by="Ada")
        finally:
            await orchestrator.close()

    return asyncio.run(start())


def test_a_run_is_asked_for_again_and_is_one_run(prefect: Prefect, deployment: str) -> None:
    page = ask(prefect, 2)
    (run,) = runs(prefect, deployment)
    assert page.endswith(run["id"])


def test_a_server_that_stays_busy_is_said_to_be(prefect: Prefect, deployment: str) -> None:
    with pytest.raises(Unreachable, match="503"):
        ask(prefect, 99)
