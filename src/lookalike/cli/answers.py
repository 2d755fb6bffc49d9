"""What a search answered, for a person and for a program: hits, facets as options to narrow by, and the reasons.

Enter: an `Output` and `Results`. Leave: tables on stdout, or the one JSON object of `--json`; a picture of hits where
one is asked for.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from lookalike.cli.output import Output

if TYPE_CHECKING:
    from lookalike.ranking.facets import Facets
    from lookalike.ranking.request import Hit
    from lookalike.ranking.words import Understood
    from lookalike.results import Results

_SHEET_COLUMNS = 7
_VALUES = 6
"""Of a facet as many values are shown, the commonest; --json has all."""


def show_answer(out: Output, found: Results) -> None:
    """The predicted categories, aspects and hits of one answer, with facets and reasons where they were asked for."""
    answer = found.answer
    guesses = ", ".join(
        f"[bold]{guess.category}[/bold] {guess.probability:.0%}"
        if guess.opened
        else f"{guess.category} {guess.probability:.0%}"
        for guess in answer.categories[:5]
    )
    aspects = ", ".join(f"{name}: {values[0][0]}" for name, values in answer.aspects.items() if values)
    times = ", ".join(f"{stage} {ms:.1f}" for stage, ms in answer.milliseconds.items())
    if not out.as_json:
        out.stdout.print(f"categories: {guesses}\naspects:    {aspects or 'none predicted'}")
        if answer.understood.text.strip():
            out.stdout.print(_in_words(answer.understood))
        if answer.judged.nothing_alike:
            out.stdout.print("[bold]Nothing found looks like the photo.[/bold] The nearest:")
    if found:
        _show_hits(out, found)
    elif not out.as_json:
        out.stdout.print(
            "[bold]Nothing was found:[/bold] no listing of the categories searched passes the filters."
        )
    if found.facets is not None:
        _show_facets(out, found.facets)
    if found.explain is not None:
        _show_reasons(out, found)
    body = dataclasses.asdict(answer) | {
        "hits": [hit.to_json() for hit in answer.hits],
        "facets": answer.facets and answer.facets.to_json(),
    }
    del body["carried"]  # bytes that stand for the query, for a server's query_id
    out.result(body, f"[dim]{answer.scanned:,} listings scanned; milliseconds: {times}[/dim]")


def _show_hits(out: Output, found: Results) -> None:
    stated = any(hit.aspects is not None or hit.extra for hit in found)
    columns = ("#", "listing", "title", "category", "score", "likeness", "distance", "price", "same")
    rows = [
        (
            rank,
            hit.listing_id,
            escape(hit.columns["title"] or ""),
            hit.category,
            hit.score,
            "" if hit.likeness is None else f"{hit.likeness:.2f} {hit.alike}",
            hit.distance,
            "" if hit.price is None else f"{hit.price:.2f} {hit.columns['currency'] or ''}".rstrip(),
            ", ".join(f"{name}={value}" for name, value in hit.matched_aspects.items()),
            *([_stated(hit)] if stated else []),
        )
        for rank, hit in enumerate(found, found.offset + 1)
    ]
    out.table("", (*columns, *(["states"] if stated else [])), rows)


def _stated(hit: Hit) -> str:
    aspects = [f"{name}={'|'.join(values)}" for name, values in (hit.aspects or {}).items()]
    own = [f"{n}={said:g}" if isinstance(said, float) else f"{n}={said}" for n, said in hit.extra.items()]
    return escape(", ".join(aspects + own))


def _show_facets(out: Output, facets: Facets) -> None:
    """Counts of the pool, each with the option that narrows the search by it."""
    sections = [("--category ", facets.categories)]
    sections += [(f"--aspect {name}=", counts) for name, counts in facets.aspects.items()]
    sections += [(f"--{name} ", counts) for name, counts in facets.labels.items()]
    rows: list[tuple[object, ...]] = []
    for option, counts in sections:
        flag, _, start = option.partition(" ")
        shown = list(counts.items())[:_VALUES]
        rows += [(count, escape(f"{flag} {shlex.quote(start + value)}")) for value, count in shown]
        if len(counts) > _VALUES:
            rows.append((sum(list(counts.values())[_VALUES:]), f"[dim]{len(counts) - _VALUES} more[/dim]"))
    numbers = {**facets.ranges, **facets.extra}
    spans = "".join(f"; {name} {span[0]:g} to {span[1]:g}" for name, span in numbers.items() if span)
    heading = f"facets of the nearest {facets.listings:,} listings that pass the filters{spans}"
    _table(out, heading, ("listings", "narrow by"), rows)


def _show_reasons(out: Output, found: Results) -> None:
    """Which categories were opened and why, and the parts of each score."""
    said = dict(found.explain or {})
    opened = said.pop("opened", {})
    words = (
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in said.items()
    )
    _table(out, f"opened: {', '.join(words)}", ("category", "listings"), list(opened.items()))
    reasons = [(rank, hit, hit.explain) for rank, hit in enumerate(found, found.offset + 1) if hit.explain]
    parts: Sequence[str] = tuple(dict.fromkeys(name for *_, explained in reasons for name in explained))
    _table(
        out,
        "scores",
        ("#", "listing", "score", *(name.replace("_", " ") for name in parts)),
        [
            (rank, hit.listing_id, hit.score, *(_part(explained[name]) for name in parts))
            for rank, hit, explained in reasons
        ],
    )


def _table(out: Output, heading: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table below a line of its own: a table's title is no wider than the table."""
    if not out.as_json:
        out.stdout.print(f"\n[bold]{escape(heading)}[/bold]", soft_wrap=True)
    if rows:
        out.table("", columns, rows)


def _part(value: float | bool) -> object:
    return ("yes" if value else "") if isinstance(value, bool) else float(value)


def _in_words(understood: Understood) -> str:
    """What a text was taken to mean, for people."""
    meant = [
        ("not " if wish.against else "")
        + " or ".join(
            [*(f"{name}: {', '.join(values)}" for name, values in wish.aspects), *wish.categories[:3]]
        )
        for wish in understood.wishes
    ]
    unknown = f"; not understood: {', '.join(understood.unknown)}" if understood.unknown else ""
    return escape(f"preferred:  {'; '.join(meant) or 'nothing'}{unknown}")


def write_sheet(answers: Sequence[tuple[bytes | None, Results]], path: Path) -> None:
    """Query photos (None where a listing was asked about) and their hits, as one picture of seven columns."""
    from lookalike.imaging.photos import contact_sheet

    entries = []
    for query, found in answers:
        if query is not None:
            entries.append((query, "query"))
        for hit in found:
            if (data := found.photo_bytes(hit.photo_id)) is not None:
                entries.append((data, f"{hit.score:.2f} {hit.category.rpartition('/')[2]}"))
    path.write_bytes(contact_sheet(entries, _SHEET_COLUMNS, 160))
