"""The rankers that a coordinator knows: where they are, what each holds, and questions that find who answers them.

Addresses are looked up again and again, so pods may come and go; every address of a name (a headless Service has one
for each ready pod) is a replica. Each is asked every second what it holds, in the name of the snapshots that this
coordinator serves: rankers keep those for as long as somebody names them.

A question about a shard goes to the replica that holds it and has least to do. If that one fails, another is asked at
once; if it is slow, another is asked as well and the first answer counts (a hedge; Dean and Barroso, The Tail at Scale,
CACM 56(2), 2013), within a budget, so that rankers that are slow because they are full do not get twice the work.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Annotated, Any, ClassVar, TypeVar
from urllib.parse import quote, urlencode, urlsplit

from lookalike.errors import ReleaseError, ServiceBusy, SettingsError
from lookalike.layers import Env
from lookalike.sharding.connection import ConnectionFailed, Connections, Reply
from lookalike.storage.artefacts import Ref

_LOG = logging.getLogger("lookalike.serving")
_HEDGES_KEPT = 10.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FleetConfig:
    """Where the rankers are and how long they are waited for."""

    table: ClassVar[str] = "rankers"

    urls: Annotated[tuple[str, ...], Env("LOOKALIKE_RANKERS")] = ()
    """``http://host:port``; each address of a host is one replica, and says itself which shards it holds. Empty: the
    search process holds the index itself."""
    deadline_seconds: float = 5.0
    """Longest time for all shards together; those that have not answered by then are missing from the reply. Half of
    what a search may take: an answer that is late and whole is better than one that is not."""
    hedge_seconds: float = 0.1
    """A replica that takes longer than this, and four times as long as answers took lately, is slow: another is asked,
    too."""
    hedged_share: float = 0.1
    """The part of all questions that may be asked twice because somebody is slow."""
    at_a_time: int = 4
    """Batches of searches that wait for rankers at a time, while others are encoded."""
    poll_seconds: float = 1.0
    """How often addresses are looked up and rankers asked what they hold."""
    open_seconds: float = 10.0
    """How long a new snapshot waits for rankers to hold all of it before it is refused and tried again later."""

    def __post_init__(self) -> None:
        for url in self.urls:
            parts = urlsplit(url)
            if (
                parts.scheme != "http"
                or not parts.hostname
                or parts.port is None
                or parts.path not in ("", "/")
            ):
                raise SettingsError(f"a ranker is http://host:port, not {url!r}")
        least = min(self.deadline_seconds, self.hedge_seconds, self.poll_seconds, self.at_a_time)
        if least <= 0:
            raise SettingsError("deadline_seconds, hedge_seconds, poll_seconds and at_a_time must be above 0")


@dataclass(frozen=True, slots=True)
class Ask:
    """One question about one shard: a target's path and parameters, and a body if it has one."""

    index: Ref
    shard: int
    path: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    content_type: str = "application/json"

    def target(self, seconds: float) -> str:
        about = {"index": str(self.index), "shard": str(self.shard), "seconds": f"{seconds:.3f}"}
        return f"{quote(self.path)}?{urlencode(about | dict(self.parameters))}"


@dataclass(eq=False, slots=True)
class Replica:
    """One ranker, as far as this coordinator knows it."""

    connections: Connections
    held: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """The shards it holds of each index."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Why it could not load an index."""
    damaged: frozenset[str] = frozenset()
    """Those that no waiting will mend."""
    busy: int = 0
    doubtful: bool = False
    """It failed, was overtaken or is stopping: asked last, until it answers a poll."""


class Fleet:
    """All rankers. Lives on an event loop in a thread of its own; `ask` and the like may be called from any other."""

    def __init__(self, config: FleetConfig) -> None:
        self.config = config
        self.replicas: dict[tuple[str, int], Replica] = {}
        self._named: tuple[Ref, ...] = ()
        self._hedges = _HEDGES_KEPT
        self._usual = 0.0
        self._turn = count()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="rankers", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End all connections and the thread."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def name(self, index: Ref) -> None:
        """Ask the rankers to hold this index, too."""
        self._named = (index, *(ref for ref in self._named if ref != index))

    def keep(self, index: Ref) -> None:
        """Name this index only: it is the one that is served now."""
        self._named = (index,)

    def ask(self, asks: Sequence[Ask]) -> list[bytes | None]:
        """The answers to all, asked at the same time; None where nobody answered within the deadline."""
        until = time.monotonic() + self.config.deadline_seconds

        async def together() -> list[bytes | None]:
            return list(await asyncio.gather(*(self._answer(ask, until) for ask in asks)))

        return self._call(together())

    def wait_for(self, index: Ref, shards: int) -> None:
        """Return as soon as every shard of an index is held.

        Raises `ServiceBusy` saying which are not, and why; `ReleaseError` at once where a ranker found it damaged.
        """
        until = time.monotonic() + self.config.open_seconds
        self.name(index)
        while True:
            self._call(self._look())
            missing = [shard for shard in range(shards) if not self._holders(index, shard)]
            if not missing:
                return
            if any(str(index) in replica.damaged for replica in self.replicas.values()):
                raise ReleaseError(self._why_missing(index, missing))
            if time.monotonic() > until:
                raise ServiceBusy(self._why_missing(index, missing), retry_after=5)
            time.sleep(min(0.2, self.config.poll_seconds))

    async def _answer(self, ask: Ask, until: float) -> bytes | None:
        """The first good answer to one question, from whoever gives it."""
        untried = self._holders(ask.index, ask.shard)
        waiting: dict[asyncio.Task[Reply], Replica] = {}
        self._hedges = min(_HEDGES_KEPT, self._hedges + self.config.hedged_share)

        def try_next() -> None:
            replica = untried.pop(0)
            waiting[asyncio.create_task(self._send(replica, ask, until))] = replica

        try:
            while untried or waiting:
                if not waiting:
                    try_next()
                left = until - time.monotonic()
                may_hedge = bool(untried) and self._hedges >= 1
                patience = min(left, max(self.config.hedge_seconds, 4 * self._usual)) if may_hedge else left
                done, _ = await asyncio.wait(
                    waiting, timeout=max(0, patience), return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    replica = waiting.pop(task)
                    body = self._judge(replica, ask, task)
                    if body is not None:
                        for overtaken in waiting.values():
                            overtaken.doubtful = True
                        return body
                if time.monotonic() >= until:
                    for late in waiting.values():
                        late.doubtful = True
                    return None
                if not done and may_hedge:
                    self._hedges -= 1
                    try_next()
            return None
        finally:
            for task in waiting:
                task.cancel()

    async def _send(self, replica: Replica, ask: Ask, until: float) -> Reply:
        replica.busy += 1
        try:
            target = ask.target(max(0.0, until - time.monotonic()))
            if ask.body is None:
                return await replica.connections.request("GET", target)
            started = time.monotonic()
            reply = await replica.connections.request("POST", target, ask.body, ask.content_type)
            self._usual += (time.monotonic() - started - self._usual) / 16
            return reply
        finally:
            replica.busy -= 1

    def _judge(self, replica: Replica, ask: Ask, task: asyncio.Task[Reply]) -> bytes | None:
        """The body of a good reply. After a bad one the replica is asked last, until it answers a poll."""
        try:
            reply = task.result()
        except ConnectionFailed as error:
            _LOG.warning("ranker %s failed: %s", replica.connections.address, error)
        else:
            if reply.status == 200:
                return reply.body
            if reply.status == 409:
                replica.held = {ref: held for ref, held in replica.held.items() if ref != str(ask.index)}
                return None
            _LOG.warning("ranker %s: status %d", replica.connections.address, reply.status)
        replica.doubtful = True
        return None

    def _holders(self, index: Ref, shard: int) -> list[Replica]:
        """Who holds a shard, whom to ask first; equals take turns."""
        holders = [r for r in list(self.replicas.values()) if shard in r.held.get(str(index), ())]
        turn = next(self._turn) % len(holders) if holders else 0
        return sorted(holders[turn:] + holders[:turn], key=lambda r: (r.doubtful, r.busy))

    def _why_missing(self, index: Ref, missing: Sequence[int]) -> str:
        shards = ", ".join(map(str, missing))
        why = f"no ranker holds shard {shards} of {index.kind}/{index.id}"
        reasons = {r.refused[str(index)] for r in self.replicas.values() if str(index) in r.refused}
        return f"{why}; {len(self.replicas)} rankers are known" + "".join(
            f"; one says: {r}" for r in sorted(reasons)
        )

    async def _look(self) -> None:
        """Look up who there is, and ask everybody what they hold."""
        found: set[tuple[str, int]] = set()
        for url in self.config.urls:
            parts = urlsplit(url)
            assert parts.hostname is not None
            try:
                infos = await self._loop.getaddrinfo(parts.hostname, parts.port, type=socket.SOCK_STREAM)
            except OSError as error:
                _LOG.warning("cannot look up %s: %s", parts.hostname, error)
                found |= set(self.replicas)  # a name server that is away says nothing about rankers
                continue
            found |= {(info[4][0], info[4][1]) for info in infos}  # type: ignore[misc]
        for address in set(self.replicas) - found:
            self.replicas.pop(address).connections.close()
        for host, port in found - set(self.replicas):
            self.replicas[host, port] = Replica(Connections(host, port))
        await asyncio.gather(*(self._poll(replica) for replica in list(self.replicas.values())))

    async def _poll(self, replica: Replica) -> None:
        target = "/v1/shards?" + urlencode([("index", str(ref)) for ref in self._named])
        try:
            async with asyncio.timeout(self.config.deadline_seconds):
                reply = await replica.connections.request("GET", target)
            body = json.loads(reply.body)
            replica.held = {index: frozenset(shards) for index, shards in body["held"].items()}
            replica.refused = dict(body["refused"])
            replica.damaged = frozenset(body["damaged"])
            replica.doubtful = bool(body["draining"])
        except (ConnectionFailed, TimeoutError, ValueError, KeyError, TypeError, AttributeError) as error:
            if not replica.doubtful:
                _LOG.warning("ranker %s does not say what it holds: %s", replica.connections.address, error)
            replica.doubtful = True

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run on the fleet's loop and wait for the result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.create_task(self._watch())
        self._loop.run_forever()
        self._loop.run_until_complete(self._end())
        self._loop.close()

    async def _end(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for replica in self.replicas.values():
            replica.connections.close()
        await asyncio.sleep(0)  # transports are closed one turn of the loop later

    async def _watch(self) -> None:
        while True:
            await self._look()
            await asyncio.sleep(self.config.poll_seconds)
