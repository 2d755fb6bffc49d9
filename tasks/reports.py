"""What a person sees of a step in Prefect: tables, a contact sheet, links to the pages that the step wrote."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect.artifacts import create_image_artifact, create_link_artifact, create_table_artifact
from prefect.logging import get_run_logger

from lookalike.catalogue.report import read_tally
from lookalike.catalogue.snapshot import CuratedSnapshot
from lookalike.catalogue.tally import Tally
from lookalike.imaging.photos import contact_sheet, thumbnail
from lookalike.publishing.data_gate import DataGateReport
from lookalike.publishing.live_ref import LiveRef
from lookalike.publishing.retention import RetentionPlan
from lookalike.quality.gate import GateReport
from lookalike.storage.artefacts import Ref, read_manifest
from lookalike.storage.objects import ObjectStore

_SHEET_PHOTOS, _SHEET_COLUMNS, _SHEET_SIDE, _SHEET_PIXELS = 24, 8, 120, 960


def curation(store: ObjectStore, ref: Ref, cache_dir: Path) -> None:
    """Counts of the curated snapshot, a photo of each category, and the link to its page."""
    manifest = read_manifest(store, ref)
    snapshot = CuratedSnapshot.open(store, ref, cache_dir)
    tally = read_tally(store, ref, cache_dir)
    rows = [{"what": what, "count": count} for what, count in _numbers({**manifest.meta, **tally.meta})]
    _table("curation-report", rows, f"{ref.kind}/{ref.id}: {tally.headline()}")
    _table("curation-losses", _losses(tally), f"{tally.headline()}. Not understood fields are left empty.")
    for line in tally.lines():
        get_run_logger().info("%s", line)
    sheet = contact_sheet(_one_of_each_category(snapshot), _SHEET_COLUMNS, _SHEET_SIDE)
    picture = base64.b64encode(thumbnail(sheet, _SHEET_PIXELS)).decode()
    create_image_artifact(
        f"data:image/jpeg;base64,{picture}", key="curation-sheet", description=f"Kept photos of {ref.id}"
    )
    page = manifest.file("report.html").key
    local = store.local_path(page)
    create_link_artifact(
        local.as_uri() if local else f"{store.uri}/{page}",
        "what was kept and what was left out, by reason",
        key="curation-page",
    )


def release(store: ObjectStore, ref: Ref) -> None:
    """The model release's own held-out metrics."""
    metrics = read_manifest(store, ref).meta.get("metrics", {})
    _table(
        "model-release", [{"measure": n, "value": v} for n, v in _numbers(metrics)], f"{ref.kind}/{ref.id}"
    )


def index(store: ObjectStore, ref: Ref, why: str = "") -> None:
    """Listings per leaf category, and why it is a delta or a new base."""
    categories = read_manifest(store, ref).meta["categories"]
    rows = [{"category": name, "listings": count} for name, count in sorted(categories.items())]
    title = f"{ref.kind}/{ref.id}: {sum(categories.values()):,} listings"
    _table("index-snapshot", rows, f"{title}; {why}" if why else title)


def gate(report: GateReport, new: Ref, live: Ref | None) -> None:
    """The quality gate's table: every measure of both releases, and the verdict."""
    rows = [
        {
            "measure": row.measure,
            "live": "" if row.live is None else f"{row.live:.4f}",
            "new": f"{row.new:.4f}",
            "change": "" if row.live is None else f"{row.new - row.live:+.4f}",
            "at best": "" if row.at_best is None else f"{row.at_best:+.4f}",
            "": "passed" if row.passed else "WORSE",
        }
        for row in report.rows
    ]
    against = "nothing" if live is None else live.id
    title = f"{'passed' if report.passed else 'FAILED'}: {new.id} against {against}. {report.verdict()}"
    _table("quality-gate", rows, title)


def data_gate(report: DataGateReport) -> None:
    """The data gate's table: every number of both index snapshots, and the verdict."""
    verdicts = {True: "passed", False: "BEYOND", None: ""}
    rows = [
        {
            "measure": row.measure,
            "live": row.live,
            "new": row.new,
            "bound": row.bound,
            "": verdicts[row.passed],
        }
        for row in report.rows
    ]
    warning = f". {report.warning}" if report.warning else ""
    _table("data-gate", rows, f"{'passed' if report.passed else 'FAILED'}: {report.verdict()}{warning}")


def live(store: ObjectStore, moved: LiveRef) -> None:
    """What is live now, and what a roll-back would return to."""
    record = moved.live
    rows = [{"what": name, "value": str(value)} for name, value in record.to_json().items()]
    _table("live", rows, f"#{record.sequence} in {store.uri}")


def retention(planned: RetentionPlan) -> None:
    """What was removed, where anything was."""
    rows = [{"removed": name} for name in planned.removed]
    _table("retention", rows, f"{len(planned.keys)} objects, {planned.bytes / 1e6:,.1f} MB removed")


def _losses(tally: Tally) -> list[dict[str, Any]]:
    """A row for every reason to leave a listing out, and for every column that was not understood."""
    named = [
        *tally.left_out.items(),
        *((f"{name} not understood", count) for name, count in tally.unclear.items()),
    ]
    return [
        {
            "what": name,
            "rows": count.rows,
            f"first {tally.unit}": count.line,
            "listing": count.listing_id,
            "why": count.detail,
            "what to do": count.advice,
        }
        for name, count in named
    ]


def _table(key: str, rows: Sequence[Mapping[str, Any]], description: str) -> None:
    create_table_artifact([dict(row) for row in rows], key=key, description=description)


def _numbers(values: Mapping[str, Any], above: str = "") -> list[tuple[str, float]]:
    """The numbers of a nested mapping, with their path as the name."""
    found: list[tuple[str, float]] = []
    for name, value in values.items():
        if isinstance(value, bool):
            continue
        if isinstance(value, int | float):
            found.append((above + name, value))
        elif isinstance(value, Mapping):
            found += _numbers(value, f"{above}{name} / ")
    return found


def _one_of_each_category(snapshot: CuratedSnapshot) -> list[tuple[bytes, str]]:
    photos: dict[str, str] = {}
    for category, photo_id in zip(
        snapshot.listings["category"].to_pylist(), snapshot.listings["photo_id"].to_pylist(), strict=True
    ):
        photos.setdefault(category, photo_id)
    chosen = sorted(photos.items())[:_SHEET_PHOTOS]
    return [
        (snapshot.photo_store.peek(photo_id), category.rpartition("/")[2]) for category, photo_id in chosen
    ]
