"""What a command's result looks like to a person and to a program: one function for each kind of result.

Enter: an `Output` and what a step came to (`answers` has those of a search). Leave: words and tables on stdout, or the
one JSON object of `--json`.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Callable, Mapping
from typing import Any

from rich.markup import escape

from lookalike.cli.output import Output
from lookalike.publishing import live_ref, publication
from lookalike.publishing.data_gate import DataGateReport
from lookalike.storage.artefacts import Ref, read_manifest
from lookalike.strict_json import plain
from lookalike.workplace import Workplace


def show_curated(out: Output, place: Workplace, ref: Ref) -> None:
    told, lines = curated_words(place, ref)
    account = "\n".join(f"  {escape(line)}" for line in lines)
    out.result(
        {"curated": str(ref), **told},
        f"[bold]{ref.kind}/{ref.id}[/bold]: {told['listings']:,} listings, {told['photos']:,} photos\n"
        f"{account}\n  report: {escape(told['report'])}"
        + (f"\n  all that is left out: {escape(told['left_out_rows'])}" if told["left_out_rows"] else ""),
    )


def curated_words(place: Workplace, ref: Ref) -> tuple[dict[str, Any], list[str]]:
    """A curated snapshot for a program and for a person: counts, what was left out and why, where its report is."""
    from lookalike.catalogue.report import read_tally

    manifest = read_manifest(place.store, ref)
    tally = read_tally(place.store, ref, place.cache_dir)
    places = {
        file.name: str(place.store.local_path(file.key) or f"{place.store.uri}/{file.key}")
        for file in manifest.files
        if file.name in ("report.html", "left-out.csv")
    }
    told = {
        "report": places["report.html"],
        "left_out_rows": places.get("left-out.csv", ""),
        **manifest.meta,
        **tally.meta,  # with the most frequent reason first
        "summary": tally.lines()[0],
        "tally": tally.to_json(),
    }
    return told, tally.lines()


def show_release(out: Output, place: Workplace, ref: Ref) -> None:
    meta = dict(read_manifest(place.store, ref).meta)
    numbers = ", ".join(f"{k} {v:.3f}" for k, v in meta.get("metrics", {}).items() if isinstance(v, float))
    out.result({"release": str(ref), **meta}, f"[bold]{ref.kind}/{ref.id}[/bold]: {numbers}")


def show_index(out: Output, place: Workplace, ref: Ref) -> None:
    meta = dict(read_manifest(place.store, ref).meta)
    out.result(
        {"index": str(ref), **meta},
        f"[bold]{ref.kind}/{ref.id}[/bold]: {sum(meta['categories'].values()):,} listings by {meta['rows']:,} photos "
        f"in {len(meta['categories'])} categories",
    )


def show_run(out: Output, place: Workplace, refs: Mapping[str, Ref], store: str | None) -> None:
    """What `run` came to: what it made, what was left out, and what to do next; `store` is what was said of it."""
    told, lines = curated_words(place, refs["curated"])
    made = {name: str(ref) for name, ref in refs.items()}
    if out.as_json:
        out.result(made | {"curation": told})
        return
    show_release(out, place, refs["release"])
    show_index(out, place, refs["index"])
    show_curated(out, place, refs["curated"])
    there = escape(f" --store {shlex.quote(store)}" if store else "")
    out.result(
        made,
        f"[bold green]live[/bold green]: {escape(lines[0])}\n"
        f"next:\n  lookalike search photo.jpg{there}    listings that look like a photo\n"
        f"  lookalike serve{there}    the search page, http://127.0.0.1:8000\n"
        f"  lookalike evaluate --catalogue queries.csv --page quality.html{there}    how good it is",
    )


def passed_data_gate(out: Output, *, accept: bool) -> Callable[[DataGateReport], None]:
    """What says how a publication fared at the data gate."""

    def say(report: DataGateReport) -> None:
        if report.live is not None and (report.passed or accept):  # else the error says it
            out.note(escape(f"{'' if report.passed else 'accepted: '}{report.verdict()}"))
        if report.warning:
            out.note(f"[yellow]{escape(report.warning)}[/yellow]")

    return say


def show_live(out: Output, live: live_ref.LiveRef) -> None:
    record = live.live
    held = f"\n  {escape(publication.held_words(live.hold))}" if live.hold else ""
    over = f" and {len(record.deltas)} deltas, the last {record.tip.id}" if record.deltas else ""
    out.result(
        {"live": record.to_json(), "hold": live.hold and dataclasses.asdict(live.hold)},
        f"[bold green]live[/bold green] #{record.sequence} ({record.action} by {record.by}, {record.at})\n"
        f"  model release  {record.release.id}\n  index snapshot {record.index.id}{over}{held}",
    )


def show_clicks(out: Output, report: Mapping[str, Any]) -> None:
    """Click-through by rank and by blend, and the blend that the clicks ask for."""

    def row(name: str, rate: Mapping[str, Any]) -> tuple[object, ...]:
        share = f"{rate['rate']:.2%} ({rate['from']:.2%} to {rate['to']:.2%})" if rate["shown"] else ""
        return (name, rate["shown"], rate["clicked"], share)

    heading = ("", "shown", "clicked", "click-through, 95 %")
    out.table(
        "by rank", heading, [row(n, r) for n, r in report["by_rank"].items()] + [row("all", report["all"])]
    )
    out.table("by blend", heading, [row(n, r) for n, r in report["by_blend"].items()])
    blend = report["blend"]
    if blend["best"] is None:
        said = f"{blend['pairs']:,} pairs of clicked and passed over: {blend['needed']:,} are needed to fit a blend"
    else:
        said = (
            f"blend {blend['best']:g} orders {blend['then']:.1%} of {blend['pairs']:,} pairs of clicked and passed "
            f"over as the clicks do, the answers' own {blend['now']:.1%} (gain {blend['gain_from']:+.1%} to "
            f"{blend['gain_to']:+.1%}): set ranking.blend"
        )
    unmatched = (
        f"; {report['unmatched_events']:,} events of no known answer" if report["unmatched_events"] else ""
    )
    out.result(
        dict(report),
        f"{report['answers_seen']:,} of {report['answers']:,} answers were seen{unmatched}\n{said}",
    )


def hit_photos(place: Workplace, index: Ref) -> Callable[[str], bytes]:
    """A function from photo id to the photo's bytes, out of the snapshot that an index was built from."""
    from lookalike.catalogue.snapshot import open_photos

    curated = Ref.parse(read_manifest(place.store, index).inputs["curated"])
    return open_photos(place.store, curated, place.cache_dir).peek


def show_report(out: Output, report: dict[str, Any]) -> None:
    """An evaluation report as tables."""
    from lookalike.quality.table import looks_table

    seen = report["recognition"]
    rows: list[tuple[object, ...]] = [
        ("category top-1", seen["top1"], ""),
        ("category top-5", seen["top5"], ""),
        ("calibration error", seen["calibration_error"], ""),
    ]
    for level, by in report["codes"].items():
        if isinstance(by, dict):
            rows += [
                (
                    f"{level} mAP, whole gallery by {name}",
                    value["mAP"],
                    f"precision@10 {value['precision']['10']:.3f}",
                )
                for name, value in by.items()
                if isinstance(value, dict)
            ]
    found = report["search"]["category"]
    rows += [("search: precision@10, same category", found["precision"]["10"], f"mAP@100 {found['mAP']:.3f}")]
    if "product" in report["search"]:
        found = report["search"]["product"]
        rows += [
            (
                "search: product in the first ten",
                found["success"]["10"],
                f"first hit {found['success']['1']:.3f}",
            ),
            ("search: product recall@10", found["recall"]["10"], f"recall@100 {found['recall']['100']:.3f}"),
        ]
    rows += [
        (f"aspect {name} top-1", value["top1"], f"the commonest {value['majority']:.3f}; {_ticks(value)}")
        for name, value in report["aspects"].items()
    ]
    if (ticks := report["ticks"])["shown"]:
        rows.append(("ticks on hits that are true", ticks["true"], f"of {ticks['shown']:,}, all aspects"))
    if (alike := report["likeness"])["judged"]:
        told = f"at a least likeness of {alike['least_likeness']:g}; median likeness {alike['median']:.2f}"
        rows.append(("answers that say nothing looks like it", alike["refused"], told))
    title = f"{report['queries']:,} queries against {report['gallery']:,} listings"
    out.table(title, ("measure", "value", ""), rows)
    if (table := looks_table(report["looks"]))[2]:
        out.table(*table)
    if "ablation" in report:
        variants = {"as configured": report["search"], **report["ablation"]}
        out.table(
            "what each part of the ranking gains",
            ("ranking", "precision@10", "product in ten", "listings scanned"),
            [
                (
                    name,
                    value["category"]["precision"]["10"],
                    value["product"]["success"]["10"] if "product" in value else "",
                    value["listings_scanned"],
                )
                for name, value in variants.items()
            ],
        )
    if report["rejected"]:
        out.note(f"{len(report['rejected'])} query photos left out, such as {report['rejected'][0]}")
    out.result(json.loads(json.dumps(plain(report), default=str, allow_nan=False)))


def _ticks(aspect: dict[str, Any]) -> str:
    if not aspect["ticks"]:
        return "no ticks"
    return f"{aspect['true_ticks']:.0%} of {aspect['ticks']:,} ticks are true"
