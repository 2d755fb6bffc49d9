"""Every setting of a search process, with its unit, its default and the reason for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from lookalike.errors import SettingsError
from lookalike.imaging.limits import QueryLimits
from lookalike.layers import Env
from lookalike.ranking.request import RankingConfig
from lookalike.serving.access import AccessConfig
from lookalike.serving.events import EventsConfig
from lookalike.sharding.fleet import FleetConfig
from lookalike.storage.artefacts import Ref


@dataclass(frozen=True, slots=True)
class ServingConfig:
    """How a search process behaves. Nothing here reads files or the environment: `lookalike.settings.load` does."""

    table: ClassVar[str] = "serving"

    index: Annotated[Ref | None, Env("LOOKALIKE_INDEX")] = None
    """Serve exactly this index snapshot (a pod whose template names it); None: follow the live ref."""
    poll_seconds: float = 5.0
    """How often the live ref is looked at when it is followed. A look is one small GET."""
    rankers: FleetConfig | None = None
    """Let these rankers hold the index and scan it; None: hold it in this process."""
    bare: Annotated[bool, Env("LOOKALIKE_BARE")] = False
    """Do not keep where photos are, about 60 bytes of memory each: no photo is served or tried. With an index of format
    1, which holds no titles, hits have none. For large catalogues whose shop shows its listings itself."""
    ranking: RankingConfig = field(default_factory=RankingConfig)
    access: AccessConfig = field(default_factory=AccessConfig)
    """Who may ask, and how often."""
    events: EventsConfig = field(default_factory=EventsConfig)
    """Whether what shoppers see and click is kept."""
    photo: QueryLimits = field(default_factory=QueryLimits)
    """What a query photo may be. One heavy photo is decoded at a time, in `max_decoding_bytes` of memory at most."""
    decoding_bytes: int = 128_000_000
    """Memory in which photos of usual size are decoded, in bytes, all together; beyond it they wait. A JPEG of 12
    megapixels takes 1 MB, and 49 where its box is small."""
    heavy_limit: int = 16
    """Heavy photos that may wait for their turn; one more gets a 503. They take up to half a second each."""
    in_flight_bytes: int = 256_000_000
    """Request bodies held at one time, in bytes, all requests together; beyond it requests get a 503. An eighth is kept
    for bodies of usual size."""
    body_seconds: float = 15.0
    """Time in which the whole body must have arrived; a slower client gets a 408."""
    header_seconds: float = 10.0
    """Time in which a request's headers must have arrived; a slower client is disconnected."""
    deadline_seconds: float = 10.0
    """Longest time from the whole body to the reply; a search that waited longer is dropped with a 503."""
    query_seconds: float = 900
    """How long a `query_id` stands for the photo that was uploaded. It is its own memory: a process keeps nothing."""
    image_hosts: Annotated[tuple[str, ...], Env("LOOKALIKE_IMAGE_HOSTS")] = ()
    """Hosts whose photos searches may name by address (`image_url`), ``*`` for all that are public; empty: none. Only
    public addresses are connected to, whatever a name or a redirect leads to."""
    batch_searches: int = 16
    """Searches that one request to /v1/search/batch may hold. Each counts by itself for rates and for the queue."""
    queue_limit: int = 64
    """Searches that may wait for their turn; one more gets a 503 with Retry-After at once, unless its client has fewer
    of the places than an equal share. With such there may be twice as many."""
    batch_limit: int = 16
    """Waiting searches that share one forward pass and one scan, at most."""
    pass_seconds: float = 0.05
    """How long a forward pass should take: photos that would make it longer, by what one took last, wait for the next.
    All photos of a pass wait for its end, and on CPUs most networks gain little by sharing it."""
    connections: int = 1000
    """Open connections. For one more the one that has been idle longest is closed; where all are busy it gets a 503."""
    connections_per_address: Annotated[int, Env("LOOKALIKE_CONNECTIONS_PER_ADDRESS")] = 100
    """Open connections of one client address (IPv6: of one /64), by the same rule; 0: no limit. Behind a proxy, an
    ingress or address translation all clients have one address: no limit then, but in the proxy."""
    write_seconds: float = 20.0
    """A client that takes nothing of its reply for so long is disconnected."""
    notice_seconds: float = 3.0
    """How long a process that gets SIGTERM says that it is not ready before it stops taking connections."""
    drain_seconds: int = 20
    """How long it then finishes what it has accepted; with the notice below Kubernetes' 30 s of grace."""
    keep_traffic: Annotated[bool, Env("LOOKALIKE_KEEP_TRAFFIC")] = True
    """Keep in the store how many searches came and how they went, for the console: some kilobytes a day, no queries."""
    thumbnail_cache_bytes: int = 64_000_000
    """Bytes of scaled photos kept in memory: a few thousand of the page's thumbnails."""

    @property
    def buffer_bytes(self) -> int:
        """Memory that photos may take in all: bodies, decoding ordinary and heavy ones, thumbnails."""
        decoding = self.decoding_bytes + self.photo.max_decoding_bytes
        return self.in_flight_bytes + decoding + self.thumbnail_cache_bytes

    def __post_init__(self) -> None:
        for name in (
            "poll_seconds",
            "in_flight_bytes",
            "decoding_bytes",
            "body_seconds",
            "header_seconds",
            "write_seconds",
            "deadline_seconds",
            "query_seconds",
            "pass_seconds",
            "batch_searches",
        ):
            if getattr(self, name) <= 0:
                raise SettingsError(f"{name} must be above 0, not {getattr(self, name)}")
        if min(self.queue_limit, self.batch_limit, self.connections - 1, self.heavy_limit) < 1:
            raise SettingsError(
                "queue_limit, batch_limit and heavy_limit must be at least 1, connections at least 2"
            )
        if self.connections_per_address < 0:
            raise SettingsError("connections_per_address must be 0 (no limit) or more")
