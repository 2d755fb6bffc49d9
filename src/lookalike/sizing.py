"""What a catalogue and a load need: shards, pods, memory, disk and nodes, from what was measured.

Enters: how many listings, how many searches a second, how soon 99 of 100 must be answered, and the nodes at hand.
Leaves: the layout with the fewest nodes that keeps to it, and the numbers it was found by. The formulas are in
docs/operations.md, "Sizing"; `Measured` is the only place with numbers from benchmarks, and says from which.

Times are those of queues: in a pod that is busy for the share ``u`` of the time, one of 100 searches waits longer
than ``ln(100 c) / t`` service times, where ``t`` is the positive root of ``u (e^t - 1) = t`` and ``c`` is
``(1 - u) / (u e^t - 1)`` (the tail of an M/D/1 queue: searches come when they like and take about as long each).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import ClassVar

from lookalike.errors import SettingsError

GB = 1e9
HOURS_A_MONTH = 730
_MAXIMUM_SHARDS = 999
_ENDLESS = 1_000_000_000
_NODE_SHARE = 0.9
"""Part of a node that pods may use; the system and its agents have the rest."""
_HELD = 3
"""Snapshots of its shards that a ranker keeps at most on disk (`serving.holdings`)."""
_BESIDE_GB = 0.5
"""On a pod's disk beside the index: two model releases of some 100 MB each and Numba's kernels, with room to spare."""
_BUSY = tuple(n / 10 for n in range(1, 8))
"""Shares of the time for which pods may be busy."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What `lookalike plan` reckons with: numbers of benchmarks, on 2 cores of an AMD EPYC VM (Zen 5, AVX-512, bf16)
    shared with other work. Put your own release's and machine's here."""

    table: ClassVar[str] = "sizing"

    scan_gb_s: float = 12.3
    """GB of codes a second that one ranker of 2 cores reads: 512 MB in 41.5 ms with both cores busy
    (docs/hamming.md). Where nothing else uses the memory it is 26.8."""
    encode_core_ms: float = 86.0
    """Core-milliseconds of a forward pass of ResNet-50 at 227 pixels: 43 ms on 2 cores (benchmarks/encoder.py)."""
    search_ms: float = 6.1
    """Time of a search besides encode and scan (benchmarks/search_load.py)."""
    question_ms: float = 3.0
    """Time of a question to a ranker besides the scan. It takes 1.5 ms of CPU to read it and to describe and re-score
    300 candidates (benchmarks/shards.py). HTTP and the way take as much again."""
    part_ms: float = 0.4
    """CPU time of a search pod for each shard: 0.27 ms to read and merge its part (benchmarks/shards.py), and HTTP."""
    search_gb: float = 0.41
    """Resident memory of a search process without index, tables, and photos in flight (benchmarks/shards.py)."""
    ranker_gb: float = 0.26
    """The same of a ranker (benchmarks/shards.py)."""
    buffers_gb: float = 0.75
    """Photos in flight, being decoded, and thumbnails: `ServingConfig.buffer_bytes`, which needs the `search` extra."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What is searched."""

    listings: float
    categories: int = 1000
    """Leaf categories."""
    skew: float = 3.0
    """How many times the mean category the one is that a search falls into; large categories get more searches."""
    opened: float = 1.5
    """Categories that a search opens, in the mean; `lookalike evaluate` says how many listings are scanned."""
    opened_most: int = 5
    """Categories that one search of a hundred opens: `RankingConfig.maximum_categories`."""
    bits: int = 4096
    id_bytes: float = 12
    group_bytes: float = 20
    title_bytes: float = 40
    aspects: int = 5
    values: float = 1.0
    """Values that a listing states of each aspect."""
    bare: bool = False
    """Search pods keep no places of photos (`ServingConfig.bare`)."""
    photos: float = 1.0
    """Photos of a listing that are indexed, in the mean."""

    @property
    def row_bytes(self) -> float:
        """Bytes of a photo of a listing in a segment (docs/index-format.md): texts with offsets, code, sketch,
        ordinal, title, price, aspects."""
        texts = (4 + self.id_bytes) + (4 + 32) + (4 + self.group_bytes) + (4 + 1 / 8 + self.title_bytes)
        return texts + self.bits / 8 + 16 + 4 + 8 + 1 / 8 + self.aspects * (4 + 4 * self.values)

    @property
    def listing_bytes(self) -> float:
        """Bytes of a listing in a segment, with all its photos. A further one's texts are null, and their letters are
        there nevertheless."""
        return self.row_bytes * self.photos

    @property
    def shelf_bytes(self) -> float:
        """Bytes of a listing beside the index in a search pod: where its photos are."""
        return 0.0 if self.bare else (32.0 + 3 * 8) * self.photos

    @property
    def index_bytes(self) -> float:
        return self.listings * self.listing_bytes

    def rows(self, opened: float) -> float:
        """Listings of so many categories, as searches meet them."""
        return min(self.listings, self.listings / self.categories * self.skew * opened)


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked of it."""

    qps: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Cluster:
    """What it runs on."""

    node_gb: float = 64.0
    node_cores: int = 16
    pod_cores: int = 2
    """Cores of every search and ranker pod; the measured numbers are of 2."""
    copies: int = 2
    """Pods that hold the same thing, at least: one may fail."""
    overlap: float = 1.0
    """How much of an index a pod holds beside its own while the next one comes; 0 lets the disk serve it meanwhile."""
    measured: Measured = field(default_factory=Measured)


@dataclass(frozen=True, slots=True)
class Plan:
    """One layout. `shards` 0: every search pod holds the whole index and there are no rankers."""

    shards: int
    rankers_per_shard: int
    search_pods: int
    search_pod_gb: float
    ranker_gb: float
    search_disk_gb: float
    ranker_disk_gb: float
    p99_ms: float
    nodes: int
    index_gb: float
    row_bytes: float
    scanned: float
    """Listings that a search scans, in the mean."""
    scan_ms: float
    """Core time of that in one pod, all shards together."""
    encode_ms: float

    @property
    def rankers(self) -> int:
        return self.shards * self.rankers_per_shard

    @property
    def node_hours(self) -> int:
        """A month."""
        return self.nodes * HOURS_A_MONTH


def plan(catalogue: Catalogue, load: Load, cluster: Cluster | None = None) -> Plan:
    """The layout with the fewest nodes; of equals the one without rankers, then the one with fewer shards.

    Raises `SettingsError` where no layout keeps to the time, or a value cannot be.
    """
    cluster = cluster or Cluster()
    _check(catalogue, load, cluster)
    found = list(_whole(catalogue, load, cluster)) + list(_sharded(catalogue, load, cluster))
    if not found:
        raise SettingsError(_why_not(catalogue, load, cluster))
    return min(found, key=lambda p: (p.nodes, p.shards, p.rankers + p.search_pods, p.p99_ms))


@cache
def waiting(busy: float) -> float:
    """The service times that 99 of 100 wait in a queue that is busy for this share of the time; see above."""
    if 100 * busy <= 1:
        return 0.0
    low, high = 1e-9, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if busy * math.expm1(middle) < middle else (low, middle)
    tail = (1 - busy) / (busy * math.exp(low) - 1)
    return max(0.0, math.log(100 * tail) / low)


def _whole(catalogue: Catalogue, load: Load, cluster: Cluster) -> Iterator[Plan]:
    """Layouts in which every search pod holds the index: encode and scan wait in one queue."""
    work = _Work(catalogue, cluster)
    index_gb = catalogue.index_bytes / GB
    memory = work.search_gb + (1 + cluster.overlap) * index_gb
    service = work.encode_ms + work.scan_ms + cluster.measured.search_ms
    worst = work.encode_ms + work.scan_most_ms + cluster.measured.search_ms
    for busy in _BUSY:
        p99 = worst + waiting(busy) * service
        pods = max(cluster.copies, math.ceil(load.qps * service / 1e3 / busy))
        nodes = _nodes(cluster, [(pods, memory)])
        if p99 <= load.p99_ms and nodes:
            disk = 2 * (index_gb + work.tables_gb) + _BESIDE_GB  # the next one, too, whatever memory holds
            yield work.plan(0, 0, pods, memory, 0.0, disk, 0.0, p99, nodes)


def _sharded(catalogue: Catalogue, load: Load, cluster: Cluster) -> Iterator[Plan]:
    """Layouts with rankers: a search waits for a search pod, then for the slowest of all shards."""
    work = _Work(catalogue, cluster)
    measured = cluster.measured
    index_gb = catalogue.index_bytes / GB
    fewest = _ENDLESS
    for shards in range(1, _MAXIMUM_SHARDS + 1):
        memory = measured.ranker_gb + (1 + cluster.overlap) * index_gb / shards
        search_disk = 2 * work.tables_gb + _BESIDE_GB
        ranker_disk = _HELD * index_gb / shards + _BESIDE_GB
        if not _fits(cluster, memory):
            continue
        if _nodes(cluster, [(shards * cluster.copies, memory)]) > fewest:
            break  # from here on there are more pods than work
        answer = work.scan_ms / shards + measured.question_ms
        worst = work.scan_most_ms / shards + measured.question_ms
        coordinator = work.encode_ms + measured.search_ms + shards * measured.part_ms
        for busy_coordinator in _BUSY:
            pods = max(cluster.copies, math.ceil(load.qps * coordinator / 1e3 / busy_coordinator))
            for busy_ranker in _BUSY:
                p99 = coordinator * (1 + waiting(busy_coordinator)) + worst + waiting(busy_ranker) * answer
                copies = max(cluster.copies, math.ceil(load.qps * answer / 1e3 / busy_ranker))
                nodes = _nodes(cluster, [(pods, work.search_gb), (shards * copies, memory)])
                if p99 <= load.p99_ms and 0 < nodes < fewest:
                    fewest = nodes
                    yield work.plan(
                        shards, copies, pods, work.search_gb, memory, search_disk, ranker_disk, p99, nodes
                    )


class _Work:
    """What one search costs, and what a search pod holds beside an index."""

    def __init__(self, catalogue: Catalogue, cluster: Cluster) -> None:
        measured = cluster.measured
        self.catalogue = catalogue
        self.encode_ms = measured.encode_core_ms / cluster.pod_cores
        rate = measured.scan_gb_s * GB / 1e3  # bytes a millisecond
        self.scanned = catalogue.rows(catalogue.opened)
        listing_ms = catalogue.photos * catalogue.bits / 8 / rate
        self.scan_ms = self.scanned * listing_ms
        self.scan_most_ms = catalogue.rows(catalogue.opened_most) * listing_ms
        self.tables_gb = catalogue.listings * catalogue.shelf_bytes / GB
        self.search_gb = measured.search_gb + measured.buffers_gb + self.tables_gb

    def plan(
        self,
        shards: int,
        copies: int,
        pods: int,
        search_gb: float,
        ranker_gb: float,
        search_disk_gb: float,
        ranker_disk_gb: float,
        p99: float,
        nodes: int,
    ) -> Plan:
        return Plan(
            shards=shards,
            rankers_per_shard=copies,
            search_pods=pods,
            search_pod_gb=search_gb,
            ranker_gb=ranker_gb,
            search_disk_gb=search_disk_gb,
            ranker_disk_gb=ranker_disk_gb,
            p99_ms=p99,
            nodes=nodes,
            index_gb=self.catalogue.index_bytes / GB,
            row_bytes=self.catalogue.row_bytes,
            scanned=self.scanned,
            scan_ms=self.scan_ms,
            encode_ms=self.encode_ms,
        )


def _fits(cluster: Cluster, memory_gb: float) -> bool:
    return memory_gb <= cluster.node_gb * _NODE_SHARE


def _nodes(cluster: Cluster, pods: list[tuple[int, float]]) -> int:
    """Nodes that have the cores and the memory for all pods (count, GB each); 0 where a pod fits on none.

    Pods are packed by kind, so that no node is promised twice; never fewer nodes than copies.
    """
    total = 0.0
    for count, memory in pods:
        by_cores = int(cluster.node_cores * _NODE_SHARE) // cluster.pod_cores
        by_memory = int(cluster.node_gb * _NODE_SHARE / memory)
        if min(by_cores, by_memory) < 1:
            return 0
        total += count / min(by_cores, by_memory)
    return max(cluster.copies, math.ceil(total))


def _why_not(catalogue: Catalogue, load: Load, cluster: Cluster) -> str:
    work = _Work(catalogue, cluster)
    if not _fits(cluster, work.search_gb):
        return (
            f"places of photos of {catalogue.listings:,.0f} listings take {work.search_gb:,.0f} GB in a "
            f"search pod, and a node has {cluster.node_gb:g}: give --bare, or a larger --node-memory"
        )
    least = work.encode_ms + cluster.measured.search_ms + cluster.measured.question_ms
    return (
        f"no layout answers 99 of 100 searches within {load.p99_ms:g} ms: encoding and overheads alone take "
        f"{least:.0f} ms in a pod of {cluster.pod_cores} cores; give --pod-cores more, a faster network "
        "(--encode-core-ms), or more time"
    )


def _check(catalogue: Catalogue, load: Load, cluster: Cluster) -> None:
    positive = {
        "listings": catalogue.listings,
        "categories": catalogue.categories,
        "opened": catalogue.opened,
        "skew": catalogue.skew,
        "photos of a listing": catalogue.photos,
        "qps": load.qps,
        "p99": load.p99_ms,
        "node memory": cluster.node_gb,
        "copies": cluster.copies,
        "pod cores": cluster.pod_cores,
    }
    if wrong := [name for name, value in positive.items() if not value > 0 or math.isinf(value)]:
        raise SettingsError(f"{', '.join(wrong)}: must be above 0")
    if catalogue.bits % 64 or not 64 <= catalogue.bits <= 16384:
        raise SettingsError(f"a code has a multiple of 64 bits, 16384 at most, not {catalogue.bits}")
    if int(cluster.node_cores * _NODE_SHARE) < cluster.pod_cores:
        raise SettingsError(f"a pod of {cluster.pod_cores} cores does not fit a node of {cluster.node_cores}")
