"""What the console counts for Prometheus at ``/metrics``: whether somebody should look at a publication.

Flows end with their pods, so nobody could scrape them; the console reads what they left in the audit log instead.
"""

from __future__ import annotations

from datetime import datetime

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from lookalike.publishing.live_ref import Hold
from lookalike.storage.audit import AuditRecord

CONTENT_TYPE = CONTENT_TYPE_LATEST


def text(refusal: AuditRecord | None, hold: Hold | None) -> bytes:
    """All metrics, in the format that Prometheus scrapes; `refusal` is the last publication's, if it was refused."""
    registry = CollectorRegistry()
    refused = Gauge(
        "lookalike_publication_refused",
        "1 while the last publication is one that the data gate refused",
        registry=registry,
    )
    since = Gauge(
        "lookalike_publication_refused_timestamp_seconds",
        "When the data gate refused the last publication (Unix time); 0 where it did not",
        registry=registry,
    )
    held = Gauge(
        "lookalike_publishing_held", "1 while a roll-back holds unattended publishing", registry=registry
    )
    held_since = Gauge(
        "lookalike_publishing_held_timestamp_seconds",
        "When the roll-back came that holds publishing (Unix time); 0 where none does",
        registry=registry,
    )
    if hold is not None:
        held.set(1)
        held_since.set(datetime.fromisoformat(hold.at).timestamp())
    if refusal is not None:
        refused.set(1)
        since.set(datetime.fromisoformat(refusal.at).timestamp())
    return generate_latest(registry)
