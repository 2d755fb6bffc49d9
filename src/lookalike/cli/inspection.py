"""`inspect` and `verify`: what the store holds, and whether it is whole."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.markup import escape

from lookalike.catalogue.photo_store import is_shard
from lookalike.cli.options import Json, Store
from lookalike.cli.output import Output
from lookalike.errors import CorruptObject, LookalikeError, ObjectNotFound, SettingsError
from lookalike.progress import Progress
from lookalike.publishing import live_ref, publication
from lookalike.storage import keys, verification
from lookalike.storage.artefacts import Kind, Ref, fetch, find, read_manifest
from lookalike.workplace import Workplace, open_workplace

Name = Annotated[
    str | None,
    typer.Argument(metavar="[REF]", help="An artefact, such as index/9c41 (any start of its id) or `live`."),
]


def inspect(name: Name = None, store: Store = None, as_json: Json = False) -> None:
    """Show what the store holds, or one artefact in detail; of `live`, the model release and the index snapshot.

    [dim]Example:[/dim] lookalike inspect live
    """
    out, place = Output(as_json=as_json), open_workplace(store)
    if name is None:
        _overview(out, place)
    else:
        details = [_detail(out, place, ref) for ref in _named(place, name)]
        if name == "live":
            live = live_ref.read_live(place.store)
            _say_hold(out, live)
            out.result({"live": details} | _marks(live))
        else:
            out.result(details[0])


def verify(
    name: Name = None,
    everything: Annotated[bool, typer.Option("--all", help="Verify every artefact in the store.")] = False,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Check every byte of what is live (or REF, or everything) against its digests, and index files row by row.

    The store is read, not the local cache. Of the photos behind what is live presence and size are checked; name the
    curated snapshot to read them, too. Where a search Deployment is rolled out, also that it serves what is live.
    Exits with 1 if anything is wrong, and names it.

    [dim]Example:[/dim] lookalike verify index/9c41
    """
    out, place = Output(as_json=as_json), open_workplace(store)
    targets = _artefacts(place) if everything else _named(place, name or "live")
    only_live = not everything and name in (None, "live")
    if only_live:
        of_indexes = (ref for ref in targets if ref.kind in (Kind.INDEX, Kind.DELTA))
        targets += dict.fromkeys(curated for ref in of_indexes for curated in _curated(place, ref))
    with out.progress() as progress:
        problems = {
            str(ref): found
            for ref in targets
            if (found := _problems(place, ref, is_shard if only_live else _no_file, progress))
        }
    checked = [str(ref) for ref in targets]
    if name in (None, "live") and (said := publication.disagreement(place.store)):
        problems["live"] = [said]
    for found in problems.values():
        for problem in found:
            out.note(f"[red]wrong[/red]  {problem}")
    out.result(
        {"verified": checked, "problems": problems},
        "" if problems else f"[green]whole[/green]: {len(checked)} artefacts",
    )
    if problems:
        raise typer.Exit(1)


def _named(place: Workplace, name: str) -> list[Ref]:
    if name == "live":
        live = live_ref.read_live(place.store)
        if live is None:
            raise SettingsError(f"{place.store.uri}: nothing is live yet; run `lookalike publish`")
        return list(live.live.refs)
    if "@" in name:
        return [Ref.parse(name)]
    kind, _, artefact_id = name.partition("/")
    if kind not in set(Kind) or not artefact_id:
        near = difflib.get_close_matches(kind, ["live", *Kind], n=1)
        meant = f"; did you mean {near[0]}?" if near and near[0] != kind else ""
        raise SettingsError(
            f"{name!r}: name an artefact as KIND/ID, with KIND one of {', '.join(Kind)}, or `live`{meant}"
        )
    return [find(place.store, Kind(kind), artefact_id)]


def _curated(place: Workplace, index: Ref) -> list[Ref]:
    """The curated snapshot behind an index; none where that cannot be read, which is said of the index."""
    try:
        return [Ref.parse(read_manifest(place.store, index).inputs["curated"])]
    except (ObjectNotFound, CorruptObject):
        return []


def _no_file(name: str) -> bool:
    return False


def _artefacts(place: Workplace) -> list[Ref]:
    found = []
    for kind in Kind:
        for info in place.store.list(f"{kind.value}/"):
            if info.key.endswith("/" + keys.MANIFEST):
                found.append(find(place.store, kind, info.key.split("/")[1]))
    return found


def _overview(out: Output, place: Workplace) -> None:
    live = live_ref.read_live(place.store)
    artefacts: list[dict[str, Any]] = []
    for ref in _artefacts(place):
        manifest = read_manifest(place.store, ref)
        size = sum(file.size for file in manifest.files)
        is_live = live is not None and ref in live.live.refs
        artefacts.append(
            {"ref": str(ref), "kind": ref.kind.value, "id": ref.id, "bytes": size, "live": is_live}
            | {"files": len(manifest.files)}
        )
    rows = [
        (a["kind"], a["id"], a["files"], round(a["bytes"] / 1e6, 1), "live" if a["live"] else "")
        for a in artefacts
    ]
    out.table(f"{place.store.uri}", ("kind", "id", "files", "MB", ""), rows)
    if live is None:
        out.note("nothing is live yet")
    _say_hold(out, live)
    out.result(
        {
            "store": place.store.uri,
            "live": live and live.live.to_json(),
            **_marks(live),
            "artefacts": artefacts,
        }
    )


def _marks(live: live_ref.LiveRef | None) -> dict[str, Any]:
    """The hold, and what was rejected."""
    hold = None if live is None or live.hold is None else asdict(live.hold)
    return {"hold": hold, "rejected": [] if live is None else [found.to_json() for found in live.rejected]}


def _say_hold(out: Output, live: live_ref.LiveRef | None) -> None:
    if live is not None and live.hold is not None:
        out.note(f"[bold yellow]held[/bold yellow]  {escape(publication.held_words(live.hold))}")


def _detail(out: Output, place: Workplace, ref: Ref) -> dict[str, Any]:
    """One artefact, shown to a person and returned for a program."""
    manifest = read_manifest(place.store, ref)
    described: dict[str, Any] = {}
    if ref.kind is Kind.INDEX:
        from lookalike.index import inspection

        described = inspection.describe(fetch(place.store, ref, place.cache_dir))
    out.table(
        f"{ref.kind}/{ref.id}",
        ("file", "MB", "sha256"),
        [(f.name, f.size / 1e6, f.sha256[:12]) for f in manifest.files],
    )
    sections = {
        "inputs": manifest.inputs,
        "config": manifest.config,
        "meta": manifest.meta,
        "described": described,
    }
    for section, values in sections.items():
        out.table("", (section, ""), [(name, _short(value)) for name, value in values.items()])
    return {"ref": str(ref)} | {name: dict(values) for name, values in sections.items()}


def _problems(place: Workplace, ref: Ref, by_size: Callable[[str], bool], progress: Progress) -> list[str]:
    """What is wrong with an artefact at the store, or else with what its files say."""
    damages = verification.damages(place.store, ref, by_size=by_size, progress=progress)
    if damaged := [str(error) for error in damages]:
        return damaged
    if ref.kind is Kind.CURATED:
        return []
    try:
        artefact = fetch(place.store, ref, place.cache_dir)
        if ref.kind is Kind.INDEX:
            from lookalike.index import inspection

            return list(inspection.verify(artefact))
        if ref.kind is Kind.DELTA:
            from lookalike.index import inspection

            return list(inspection.verify_delta(artefact))
        if ref.kind is Kind.RELEASE:
            from lookalike.coding.release import ModelCard

            ModelCard.read(artefact.path("model.json"))
        if ref.kind is Kind.EXTRACTION:
            from lookalike.coding.shards import verify_shards

            return list(verify_shards(place.store, artefact))
    except LookalikeError as error:
        return [str(error)]
    return []


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 100 else text[:97] + "..."
