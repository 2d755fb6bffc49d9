"""The page of a curation report, `report.html`: what curation found, for people, with the photos concerned.

The page needs nothing but itself: photos are inlined as small WebPs, colours follow the reader's light or dark theme.
It holds no time and no path of a cache.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from lookalike.catalogue.listings import Losses
from lookalike.catalogue.report import Findings
from lookalike.catalogue.suspects import EVIDENCE
from lookalike.catalogue.tally import Count, by_reason
from lookalike.errors import PhotoError
from lookalike.imaging.photos import thumbnail

SAMPLES_PER_REASON = 12
THUMBNAIL_SIDE = 112
_PAGE_ROWS = 200
_PAGE_CATEGORIES = 120
_PAGE_SUSPECTS = 48

_TIES = {"photo_groups": "a photo", "product": "a product", "seller": "a seller"}


def report_page(
    found: Findings,
    report: bytes,
    refused: Mapping[str, Sequence[str]],
    photo: Callable[[str], bytes],
) -> bytes:
    """The page; `photo` gives the stored bytes of a photo by its id. `refused`: reason -> photos that can be shown."""
    page = _Page(found, json.loads(report), refused, photo)
    sections = (
        page.head,
        page.left_out,
        page.photos_left_out,
        page.unclear,
        page.contradictions,
        page.categories,
        page.suspects,
        page.stock,
        page.duplicates,
        page.rows,
    )
    return _document("".join(section() for section in sections))


def refusal_page(message: str, left_out: Losses) -> bytes:
    """The page of a catalogue of which nothing is left: every reason, what to do, and the first rows."""
    parts = ["<h1>Curation report</h1>", f"<p>{escape(message)}</p>", "<h2>Left out, by reason</h2>"]
    counts = by_reason(left_out)
    parts.append(_bars({reason: count.rows for reason, count in counts.items()}))
    for reason, count in counts.items():
        rows = left_out.of_reason(reason)[:SAMPLES_PER_REASON]
        parts.append(f"<h3>{escape(reason)} <small>{count.rows:,}</small></h3>")
        if count.advice:
            parts.append(f"<p>What to do: {escape(count.advice)}.</p>")
        parts.append(_table(("line", "listing", "why"), [(r.line, r.listing_id, r.detail) for r in rows]))
    return _document("".join(parts))


def _document(main: str) -> bytes:
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Curation report</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style>'
        f"<main>{main}</main></html>\n"
    ).encode()


class _Page:
    def __init__(
        self,
        found: Findings,
        report: dict[str, Any],
        refused: Mapping[str, Sequence[str]],
        photo: Callable[[str], bytes],
    ) -> None:
        self.found, self.report, self.refused, self.photo = found, report, refused, photo

    def head(self) -> str:
        kept, report = self.report["kept"], self.report
        tiles = [
            (f"{kept['listings']:,}", f"rows kept of {report['catalogue']['rows']:,}"),
            (f"{kept['photos']:,}", f"photos, {kept['photo_bytes'] / 1e6:,.0f} MB"),
            (f"{kept['categories']:,}", "leaf categories"),
            (f"{kept['priced']:,}", "listings with a price"),
            (f"{report['duplicates']['listings_sharing_a_photo']:,}", "listings share a photo with another"),
            (f"{report['duplicates']['near_pairs']:,}", "pairs of near duplicates"),
            (f"{sum(report['suspects'].values()):,}", "labels to look at"),
        ]
        shown = "".join(
            f"<div class=tile><b>{number}</b><span>{escape(text)}</span></div>" for number, text in tiles
        )
        splits = _table(("split", "listings"), sorted(report["splits"].items()))
        notes = []
        if report["leaks"]:
            notes.append(
                f"{report['leaks']:,} training listings show what is held out; they moved to the split leak."
            )
        if ignored := report["catalogue"]["ignored_columns"]:
            notes.append("Columns without a meaning here were ignored: " + ", ".join(ignored) + ".")
        if preset := report["catalogue"]["preset"]:
            notes.append(f"The table was read by the preset {preset}.")
        notes += [f"{note[:1].upper()}{note[1:]}." for note in report["catalogue"]["notes"]]
        notes.append(self.tied())
        said = "".join(f"<p>{escape(note)}</p>" for note in notes)
        return f"<h1>Curation report</h1><section class=tiles>{shown}</section>{said}<h2>Splits</h2>{splits}"

    def tied(self) -> str:
        """What holds listings together on one side of the splits."""
        ties = self.report["ties"]
        by = " or ".join(_TIES[name] for name in ties["by"])
        said = f"Listings that share {by} are on one side of the splits: {ties['groups']:,} groups, "
        said += f"the largest of {ties['largest']:,} listings."
        if "seller" not in ties["by"] and self.report["kept"]["sellers"]:
            said += " Sellers tie nothing: too few listings would be left for the other side, or it was not asked for."
        return said

    def left_out(self) -> str:
        counts = self.report["left_out"]["by_reason"]
        if not counts:
            return "<h2>Left out</h2><p>Nothing: every listing was kept.</p>"
        unit = self.found.tally.unit
        parts = ["<h2>Left out, by reason</h2>", _bars(counts)]
        for reason, count in self.found.tally.left_out.items():
            rows = self.found.left_out.of_reason(reason)
            parts.append(f"<h3>{escape(reason)} <small>{count.rows:,}</small></h3>")
            if count.advice:
                parts.append(f"<p>What to do: {escape(count.advice)}.</p>")
            if shown := self.refused.get(reason, ())[:SAMPLES_PER_REASON]:
                parts.append(
                    _sheet((_picture(self._small(photo_id), reason), photo_id) for photo_id in shown)
                )
            parts.append(
                _table((unit, "listing", "why"), [(r.line, r.listing_id, r.detail) for r in rows[:5]])
            )
        return "".join(parts)

    def photos_left_out(self) -> str:
        counts = self.found.tally.photos_left_out
        if not counts:
            return ""
        return (
            "<h2>Photos left out</h2><p>The listings of these photos were kept: they have others.</p>"
            f"{self._counts('reason', 'photos', counts)}"
        )

    def unclear(self) -> str:
        counts = self.found.tally.unclear
        if not counts:
            return ""
        return (
            "<h2>Left empty, by column</h2><p>These listings were kept; the field was not understood, and is "
            f"empty.</p>{self._counts('column', 'listings', counts)}"
        )

    def contradictions(self) -> str:
        counts = self.found.tally.contradictions
        if not counts:
            return ""
        return (
            "<h2>Rows that contradict each other, by column</h2><p>These listings were kept; what their first row "
            f"says was taken.</p>{self._counts('column', 'listings', counts)}"
        )

    def _counts(self, name: str, what: str, counts: Mapping[str, Count]) -> str:
        head = (name, what, f"first {self.found.tally.unit}", "listing", "what stands there", "what to do")
        rows = [
            (entry, count.rows, count.line, count.listing_id, count.detail, count.advice)
            for entry, count in counts.items()
        ]
        return _table(head, rows)

    def categories(self) -> str:
        kept = self.found.kept
        rows = []
        for place, entry in enumerate(self.report["categories"]):
            shown = kept.photos(kept.first_photos(place, 7)) if place < _PAGE_CATEGORIES else []
            pictures = "".join(_picture(self._small(photo_id, 64), entry["category"]) for photo_id in shown)
            merged = entry["merged_from"]
            note = f"<small>takes in {escape(', '.join(merged))}</small>" if merged else ""
            splits = ", ".join(f"{name} {count:,}" for name, count in entry["splits"].items())
            rows.append(
                f"<tr><td>{escape(entry['category'])} {note}<td class=n>{entry['listings']:,}"
                f"<td class=n>{entry['photos']:,}<td>{escape(splits)}<td class=strip>{pictures}"
            )
        head = "<tr><th>category<th>listings<th>photos<th>splits<th>"
        gone = self.report["categories_left_out"]
        note = f"<p>Too small, and left out: {escape(', '.join(gone))}.</p>" if gone else ""
        return f"<h2>Categories</h2>{note}<div class=wide><table>{head}{''.join(rows)}</table></div>"

    def suspects(self) -> str:
        if not self.found.suspects:
            return "<h2>Labels to look at</h2><p>None.</p>"
        kept = self.found.kept
        parts = [
            "<h2>Labels to look at</h2><p>Suspected, not changed. <i>same photo</i>: exactly this photo stands in "
            "another category as well; <i>same product</i>: the product's other listings say otherwise; "
            "<i>looks</i>: by edges and colours alone, so often only an unusual photo.</p>"
        ]
        for evidence in (name for name in EVIDENCE if name in self.found.suspects.counts()):
            chosen = self.found.suspects.by(evidence)
            photos = kept.photos(kept.pictured.main[chosen.places[:_PAGE_SUSPECTS]])
            parts.append(f"<h3>{escape(evidence)} <small>{len(chosen):,}</small></h3>")
            parts.append(
                _sheet(
                    (
                        _picture(self._small(photo_id), x.listing_id),
                        f"{x.listing_id}\nsays {x.category}\nrather {x.other}",
                    )
                    for photo_id, x in zip(photos, chosen[:_PAGE_SUSPECTS], strict=True)
                )
            )
        return "".join(parts)

    def stock(self) -> str:
        if not self.found.stock:
            return ""
        shown = [
            (
                _picture(self._small(x.photo_ids[0]), "stock photo"),
                f"{x.listings:,} listings\n{x.products:,} products\n{x.categories:,} categories",
            )
            for x in self.found.stock[:SAMPLES_PER_REASON]
        ]
        return (
            f"<h2>Stock photos <small>{len(self.found.stock):,}</small></h2><p>Many products share these: "
            "placeholders, size charts, logos. They tie no listings together and are not learned from.</p>"
            + _sheet(shown)
        )

    def duplicates(self) -> str:
        kept, showing = self.found.kept, self.found.kept.showing()
        pairs = self.found.near[(showing[self.found.near] > 0).all(axis=1)]
        sharing = np.flatnonzero(showing > 1)
        parts = ["<h2>Duplicates</h2>"]
        if len(sharing):
            parts.append(f"<h3>one photo, several listings <small>{len(sharing):,}</small></h3>")
            shown = sharing[:SAMPLES_PER_REASON]
            parts.append(
                _sheet(
                    (_picture(self._small(p), p), "\n".join(kept.shown_by(number, 3)))
                    for number, p in zip(shown.tolist(), kept.photos(shown), strict=True)
                )
            )
        if len(pairs):
            parts.append(f"<h3>near duplicates <small>{len(pairs):,} pairs</small></h3>")
            parts.append(
                _sheet(
                    (
                        "".join(_picture(self._small(p), p) for p in kept.photos(pair)),
                        " / ".join(kept.shown_by(number, 1)[0] for number in pair.tolist()),
                    )
                    for pair in pairs[:SAMPLES_PER_REASON]
                )
            )
        return "".join(parts) if len(parts) > 1 else parts[0] + "<p>None.</p>"

    def rows(self) -> str:
        rows = self.found.left_out
        if not rows:
            return ""
        shown = [(row.line, row.listing_id, row.reason, row.detail) for row in rows[:_PAGE_ROWS]]
        more = f"<p>{len(rows) - _PAGE_ROWS:,} more are in report.json.</p>" if len(rows) > _PAGE_ROWS else ""
        table = _table((self.found.tally.unit, "listing", "reason", "why"), shown)
        return (
            f"<h2>All rows left out</h2><details><summary>{len(rows):,} rows</summary>{table}{more}</details>"
        )

    def _small(self, photo_id: str, side: int = THUMBNAIL_SIDE) -> bytes:
        try:
            return thumbnail(self.photo(photo_id), side, kind="WEBP")
        except PhotoError:
            return b""


def _picture(data: bytes, text: str) -> str:
    if not data:
        return '<span class="none">no picture</span>'
    return f'<img loading="lazy" alt="{escape(text)}" src="data:image/webp;base64,{base64.b64encode(data).decode()}">'


def _sheet(entries: Iterable[tuple[str, str]]) -> str:
    figures = []
    for picture, text in entries:
        lines = "<br>".join(escape(line) for line in text.split("\n"))
        figures.append(f"<figure><div>{picture}</div><figcaption>{lines}</figcaption></figure>")
    return f"<div class=sheet>{''.join(figures)}</div>"


def _bars(counts: Mapping[str, int]) -> str:
    most = max(counts.values(), default=1)
    rows = "".join(
        f"<tr><td>{escape(name)}<td class=n>{n:,}<td class=bar><i style='width:{100 * n / most:.1f}%'></i>"
        for name, n in counts.items()
    )
    return f"<table class=bars>{rows}</table>"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    top = "".join(f"<th>{escape(name)}" for name in head)
    body = "".join(
        "<tr>" + "".join(f"<td class=n>{v:,}" if isinstance(v, int) else f"<td>{escape(str(v))}" for v in row)
        for row in rows
    )
    return f"<div class=wide><table><tr>{top}{body}</table></div>"


_STYLE = """
:root{color-scheme:light dark;--back:#f7f6f3;--card:#fff;--text:#23221f;--soft:#6d6a63;--line:#dfdcd4;--bar:#3b6ea8}
@media (prefers-color-scheme:dark){:root{--back:#17181a;--card:#212327;--text:#e8e6e1;--soft:#9c9a94;--line:#34373c;
--bar:#7aa7dd}}
*{box-sizing:border-box}body{margin:0;background:var(--back);color:var(--text);font:15px/1.5 system-ui,sans-serif}
main{max-width:1120px;margin:0 auto;padding:24px 20px 80px}h1{font-size:26px;margin:8px 0 16px}
h2{font-size:19px;margin:36px 0 10px;padding-top:12px;border-top:1px solid var(--line)}
h3{font-size:15px;margin:22px 0 8px}
small{color:var(--soft);font-weight:400}p{color:var(--soft);max-width:75ch}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px}
.tile{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:12px 14px}
.tile b{display:block;font-size:24px;font-variant-numeric:tabular-nums}.tile span{color:var(--soft);font-size:13px}
.wide{overflow-x:auto}table{border-collapse:collapse;background:var(--card);
border:1px solid var(--line);font-size:14px}
th,td{text-align:left;padding:5px 12px;border-bottom:1px solid var(--line);vertical-align:middle}
th{color:var(--soft);font-weight:500}.n{text-align:right;font-variant-numeric:tabular-nums}
.bars{width:100%;max-width:640px}.bar{width:60%}
.bar i{display:block;height:10px;border-radius:3px;background:var(--bar)}
.sheet{display:grid;grid-template-columns:repeat(auto-fill,minmax(168px,1fr));gap:10px;margin-bottom:10px}
figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:8px;padding:6px}
figure div{display:flex;gap:4px;min-height:112px;align-items:center;justify-content:center}
figure img{display:block;min-width:0;max-width:112px;max-height:112px;border-radius:4px}
figcaption{font-size:12px;color:var(--soft);overflow-wrap:anywhere;padding-top:4px;min-width:112px}
.none{font-size:12px;color:var(--soft);padding:20px 10px}.strip{white-space:nowrap;padding:3px 8px}
.strip img{height:44px;width:44px;object-fit:cover;border-radius:4px;margin-right:3px;vertical-align:middle}
details summary{cursor:pointer;color:var(--soft);margin-bottom:8px}
"""
