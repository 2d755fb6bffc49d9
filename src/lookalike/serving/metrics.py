"""What a search process counts, in Prometheus' text format at ``/metrics``.

One registry per application, so that two in one process (as in tests) do not share counters.
"""

from __future__ import annotations

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from lookalike.index.reader import Memory
from lookalike.listening import REASONS, Connections, State

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
STAGES = ("receive", "decode", "wait", "encode", "aspects", "scan", "rank", "closer", "total")


class Metrics:
    """All metrics of one search process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)  # resident bytes, CPU seconds, open files
        self.requests = Counter(
            "lookalike_requests_total",
            "Requests answered",
            ["route", "method", "status"],
            registry=self.registry,
        )
        self.stage_seconds = Histogram(
            "lookalike_search_stage_seconds",
            "Time of each stage of a search; encode and scan are shared by a batch and count for each query",
            ["stage"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.batch_queries = Histogram(
            "lookalike_batch_queries",
            "Queries that shared a forward pass",
            buckets=(1, 2, 4, 8, 16, 32),
            registry=self.registry,
        )
        self.rows_scanned = Counter(
            "lookalike_rows_scanned_total", "Listings in the categories opened", registry=self.registry
        )
        self.waiting = Gauge("lookalike_queue_queries", "Searches waiting or running", registry=self.registry)
        self.in_flight_bytes = Gauge(
            "lookalike_in_flight_bytes", "Bytes of request bodies held", registry=self.registry
        )
        self.refused = Counter(
            "lookalike_refused_total", "Requests refused because of load", ["reason"], registry=self.registry
        )
        self.partial = Counter(
            "lookalike_partial_replies_total",
            "Searches answered without a shard that no ranker answered for",
            registry=self.registry,
        )
        self.snapshot = Gauge(
            "lookalike_snapshot_info",
            "1 for the model release and index snapshot that are served",
            ["release", "index"],
            registry=self.registry,
        )
        self.listings = Gauge("lookalike_listings", "Listings in the index served", registry=self.registry)
        self.unlearned = Gauge(
            "lookalike_unlearned_listings",
            "Listings served whose category the model was not trained on, found by their look alone",
            registry=self.registry,
        )
        self.index_bytes = Gauge(
            "lookalike_index_bytes",
            "Bytes of the index served: mapped, and of these in memory now",
            ["state"],
            registry=self.registry,
        )
        self.ready = Gauge("lookalike_ready", "1 while the process answers searches", registry=self.registry)
        self.loads = Counter(
            "lookalike_snapshot_loads_total",
            "Attempts to load a snapshot: loaded, or refused and the old one kept",
            ["result"],
            registry=self.registry,
        )
        self.load_seconds = Gauge(
            "lookalike_snapshot_load_seconds", "Time of the last successful load", registry=self.registry
        )
        self.connections_refused = Counter(
            "lookalike_connections_refused_total",
            "Connections refused, or closed before their client did, by reason",
            ["reason"],
            registry=self.registry,
        )
        self.connections = Gauge(
            "lookalike_connections",
            "Open connections of the public port: busy, waiting for a request's head, idle",
            ["state"],
            registry=self.registry,
        )
        self.events = Counter(
            "lookalike_events_total",
            "Rows of answers, impressions and clicks: kept, or dropped since the buffer was full or the store away",
            ["result"],
            registry=self.registry,
        )
        for result in ("kept", "dropped"):
            self.events.labels(result)
        for reason in REASONS:
            self.connections_refused.labels(reason)
        for stage in STAGES:
            self.stage_seconds.labels(stage)
        for result in ("loaded", "refused"):
            self.loads.labels(result)

    def watch(self, port: Connections) -> None:
        """Show the open connections of the public port."""
        for state in State:
            self.connections.labels(state.value).set_function(partial(port.count, state))

    def refuse_connection(self, reason: str) -> None:
        self.connections_refused.labels(reason).inc()

    def observe_stages(self, milliseconds: dict[str, float]) -> None:
        """Record the stages of one search."""
        for stage, value in milliseconds.items():
            self.stage_seconds.labels(stage).observe(value / 1e3)

    def text(self, memory: Memory | None = None) -> bytes:
        """Everything, in the format that Prometheus scrapes; `memory` is that of the index served now."""
        if memory is not None:
            self.index_bytes.labels("mapped").set(memory.mapped)
            self.index_bytes.labels("resident").set(memory.resident)
        return generate_latest(self.registry)
