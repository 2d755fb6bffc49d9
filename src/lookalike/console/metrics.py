"""What the console counts for Prometheus at ``/metrics``: whether somebody should look at publishing.

Flows end with their pods, so nobody could scrape them; the console reads what they left, in the store and in Prefect.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from lookalike.console.orchestrator import Ended
from lookalike.publishing.live_ref import Hold
from lookalike.storage.audit import AuditRecord

CONTENT_TYPE = CONTENT_TYPE_LATEST


@dataclass(frozen=True, slots=True)
class Live:
    """What the live ref names (references), since when (ISO 8601), and how many listings it has."""

    release: str
    index: str
    at: str
    listings: int


def text(
    refusal: AuditRecord | None,
    hold: Hold | None,
    live: Live | None = None,
    ended: tuple[Ended, ...] | None = None,
) -> bytes:
    """All metrics, in the format that Prometheus scrapes.

    `refusal` is the last publication's, if it was refused; `ended` how runs of each flow ended, None where Prefect does
    not answer.
    """
    registry = CollectorRegistry()

    def gauge(name: str, documentation: str, *labels: str) -> Gauge:
        return Gauge(f"lookalike_{name}", documentation, labels, registry=registry)

    refused = gauge("publication_refused", "1 while the last publication is one that the data gate refused")
    since = gauge(
        "publication_refused_timestamp_seconds",
        "When the data gate refused the last publication (Unix time); 0 where it did not",
    )
    held = gauge("publishing_held", "1 while a roll-back holds unattended publishing")
    held_since = gauge(
        "publishing_held_timestamp_seconds",
        "When the roll-back came that holds publishing (Unix time); 0 where none does",
    )
    if hold is not None:
        held.set(1)
        held_since.set(_unix(hold.at))
    if refusal is not None:
        refused.set(1)
        since.set(_unix(refusal.at))
    info = gauge("live_info", "1 for the model release and index snapshot that are live", "release", "index")
    moved = gauge("live_timestamp_seconds", "When what is live was made live (Unix time)")
    listings = gauge("live_listings", "Listings of the live index, deltas included")
    if live is not None:
        info.labels(live.release, live.index).set(1)
        moved.set(_unix(live.at))
        listings.set(live.listings)
    answers = gauge("prefect_up", "1 while Prefect's API answers the console")
    answers.set(ended is not None)
    completed = gauge(
        "run_completed_timestamp_seconds",
        "When the last run of a flow completed (Unix time), with or without anything new; 0 where none is known",
        "flow",
    )
    runs = gauge("runs_ended", "Runs of the last 24 hours by flow and how they ended", "flow", "state")
    for flow in ended or ():
        completed.labels(flow.flow).set(_unix(flow.completed) if flow.completed else 0)
        for state, count in flow.counts.items():
            runs.labels(flow.flow, state).set(count)
    return generate_latest(registry)


def _unix(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()
