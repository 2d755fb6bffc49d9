"""The evaluation as a page a person can look at: one HTML file with everything in it.

Numbers first, with whether what is found looks alike; then which categories are taken for which, then the queries that
came out worst, each with what was found instead, since a wrong answer seen says more than ten averages.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from html import escape
from typing import Any

import numpy as np

from lookalike.errors import LookalikeError
from lookalike.imaging import photos
from lookalike.quality.evaluation import Evaluation
from lookalike.quality.table import looks_table
from lookalike.ranking.request import Answer

_WORST = 24
_SHOWN_HITS = 6
_LARGEST_MATRIX = 40

_STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --soft: #667; --line: #dde; --paper: #fff; --hit: 30 110 200;
  --good: #1b7f4d; --bad: #b3261e }
@media (prefers-color-scheme: dark) { :root { --ink: #eee; --soft: #9aa; --line: #334; --paper: #14161a;
  --hit: 110 170 255; --good: #5fd39a; --bad: #ff8a80 } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 auto;
  max-width: 70rem; padding: 2rem 1rem }
h1 { font-size: 1.6rem; margin: 0 } h2 { font-size: 1.15rem; margin: 2.5rem 0 .75rem }
p.about { color: var(--soft); margin: .25rem 0 1.5rem }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: .75rem }
.tile { border: 1px solid var(--line); border-radius: .6rem; padding: .8rem 1rem }
.tile b { display: block; font-size: 1.7rem; font-variant-numeric: tabular-nums; line-height: 1.2 }
.tile span { color: var(--soft); font-size: .85rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums } .wide { overflow-x: auto }
td, th { padding: .3rem .8rem .3rem 0; text-align: left; border-bottom: 1px solid var(--line); font-weight: normal }
th { color: var(--soft) } table.looks td { white-space: pre } td.n { text-align: right }
table.confusion td { width: 1.7rem; min-width: 1.7rem; height: 1.7rem; padding: 0; text-align: center; font-size: .7rem;
  border: 1px solid var(--paper) }
table.confusion th { border: 0; padding: 0 .4rem; font-size: .8rem; white-space: nowrap }
table.confusion thead th { writing-mode: vertical-rl; transform: rotate(180deg); padding: .4rem 0 }
.query { display: flex; gap: .5rem; align-items: flex-start; border-top: 1px solid var(--line); padding: .75rem 0;
  overflow-x: auto }
figure { margin: 0; width: 7.5rem; flex: none; font-size: .75rem; color: var(--soft) }
figure img { width: 7.5rem; height: 7.5rem; object-fit: cover; border-radius: .4rem; border: 3px solid var(--line) }
figure.good img { border-color: var(--good) } figure.bad img { border-color: var(--bad) }
figcaption { overflow: hidden; text-overflow: ellipsis } .gap { width: 1rem; flex: none }
"""


def render(evaluation: Evaluation, photo_bytes: Callable[[str], bytes]) -> str:
    """The page as HTML. `photo_bytes` gives a listed photo by its id."""
    report = evaluation.report
    title = f"{report['queries']:,} queries against {report['gallery']:,} listings"
    about = f"model release {report['release'][9:25]}, index snapshot {report['index'][6:22]}"
    if report["split"]:
        about += f", split {report['split']}"
    return "\n".join(
        [
            "<!doctype html><html lang=en><meta charset=utf-8>",
            "<meta name=viewport content='width=device-width, initial-scale=1'>",
            f"<title>{escape(title)}</title><style>{_STYLE}</style>",
            f"<h1>{escape(title)}</h1><p class=about>{escape(about)}</p>",
            _tiles(report),
            _looks(report["looks"]),
            _codes(report["codes"]),
            _confusion(evaluation),
            _worst_queries(evaluation, photo_bytes),
        ]
    )


def _tiles(report: dict[str, Any]) -> str:
    seen, search = report["recognition"], report["search"]
    tiles = [(_percent(seen["top1"]), "category top-1"), (_percent(seen["top5"]), "category top-5")]
    tiles.append(
        (_percent(search["category"]["precision"]["10"]), "of the first ten hits share the category")
    )
    if "product" in search:
        found = search["product"]["success"]
        tiles += [
            (_percent(found["1"]), "first hit is the product"),
            (_percent(found["10"]), "product in the first ten"),
        ]
    tiles += [
        (_percent(v["top1"]), f"aspect {name} (always the commonest: {_percent(v['majority'])})")
        for name, v in report["aspects"].items()
    ]
    if report["ticks"]["shown"]:
        tiles.append(
            (_percent(report["ticks"]["true"]), f"of {report['ticks']['shown']:,} ticks on hits are true")
        )
    if report["likeness"]["judged"]:
        tiles.append(
            (_percent(report["likeness"]["refused"]), "of answers say that nothing looks like the photo")
        )
    tiles.append((f"{search['categories_opened']:.1f}", "categories opened per query"))
    boxes = "".join(
        f"<div class=tile><b>{value}</b><span>{escape(name)}</span></div>" for value, name in tiles
    )
    return f"<div class=tiles>{boxes}</div>"


def _looks(looks: dict[str, Any]) -> str:
    title, columns, rows = looks_table(looks)
    if not rows:
        return ""
    body = "".join(
        f"<tr><td>{escape(row[0])}" + "".join(f"<td class=n>{cell}" for cell in row[1:]) for row in rows
    )
    return (
        f"<h2>{title[0].upper() + title[1:]}</h2><p class=about>Learned: the product has a listing in the training"
        " split. Same ... in 8: of the first eight hits of other products. In its category: those of them that are of"
        " the query's category; by chance: random listings of it; at best: a perfect search of it.</p>"
        "<table class=looks><tr>" + "".join(f"<th>{escape(column)}" for column in columns) + body + "</table>"
    )


def _codes(codes: dict[str, Any]) -> str:
    if "left_out" in codes:
        return f"<h2>Codes</h2><p>{escape(codes['left_out'])}</p>"
    rows = [
        f"<tr><td>{level}<td>{name}<td class=n>{_percent(value['mAP'])}"
        f"<td class=n>{_percent(value['precision']['10'])}<td class=n>{_percent(value['recall']['100'])}"
        for level, by in codes.items()
        for name, value in by.items()
        if isinstance(value, dict)
    ]
    return (
        "<h2>The codes, and the float features they come from</h2><p class=about>The whole gallery ranked by distance"
        " alone: what hashing costs.</p><table><tr><th>level<th>ranked by<th>mAP<th>precision@10<th>recall@100"
        + "".join(rows)
        + "</table>"
    )


def _confusion(evaluation: Evaluation) -> str:
    truth, predicted = evaluation.queries.categories, evaluation.predicted
    names = sorted({*truth[truth != ""], *predicted[truth != ""]})
    place = {name: i for i, name in enumerate(names)}
    counts = np.zeros((len(names), len(names)), int)
    for t, p in zip(truth, predicted, strict=True):
        if t:
            counts[place[t], place[p]] += 1
    pairs = sorted(
        ((counts[i, j], i, j) for i, j in zip(*np.nonzero(counts), strict=True) if i != j), reverse=True
    )
    listed = "".join(
        f"<tr><td class=n>{n}<td>{escape(names[i])}<td>taken for<td>{escape(names[j])}"
        for n, i, j in pairs[:12]
    )
    matrix = "" if len(names) > _LARGEST_MATRIX else _matrix(names, counts)
    return f"<h2>Categories taken for others</h2>{matrix}<table style='margin-top:1rem'>{listed}</table>"


def _matrix(names: list[str], counts: np.ndarray) -> str:
    short = [escape(name.rpartition("/")[2]) for name in names]
    head = "".join(f"<th>{name}" for name in short)
    rows = []
    for i, name in enumerate(short):
        total = max(1, counts[i].sum())
        cells = "".join(
            f"<td style='background:rgb(var(--hit) / {n / total:.2f})' title='{name} as {short[j]}'>{n or ''}"
            for j, n in enumerate(counts[i])
        )
        rows.append(f"<tr><th>{name}{cells}")
    return (
        "<p class=about>Rows: the true category; columns: the predicted one.</p><div class=wide>"
        f"<table class=confusion><thead><tr><th>{head}</thead>{''.join(rows)}</table></div>"
    )


def _worst_queries(evaluation: Evaluation, photo_bytes: Callable[[str], bytes]) -> str:
    queries = evaluation.queries
    scored = []
    for i, answer in enumerate(evaluation.answers):
        if queries.categories[i]:
            right = [hit.category == queries.categories[i] for hit in answer.hits[:10]]
            scored.append((sum(right) / 10, i))
    blocks = []
    for _, i in sorted(scored)[:_WORST]:
        listing = queries.listings[i]
        try:
            query = _figure(queries.catalogue.photo(queries.images[i]), listing.category)
        except LookalikeError:
            continue
        blocks.append(
            f"<div class=query>{query}<div class=gap></div>{_hits(evaluation, i, photo_bytes)}</div>"
        )
    return "<h2>Worst queries</h2>" + "".join(blocks)


def _hits(evaluation: Evaluation, i: int, photo_bytes: Callable[[str], bytes]) -> str:
    answer: Answer = evaluation.answers[i]
    truth = evaluation.queries.categories[i]
    return "".join(
        _figure(photo_bytes(hit.photo_id), hit.category, "good" if hit.category == truth else "bad")
        for hit in answer.hits[:_SHOWN_HITS]
    )


def _figure(data: bytes, caption: str, kind: str = "query-photo") -> str:
    encoded = base64.b64encode(photos.thumbnail(data, 160)).decode()
    return (
        f"<figure class={kind}><img src='data:image/jpeg;base64,{encoded}' alt=''>"
        f"<figcaption>{escape(caption.rpartition('/')[2])}</figcaption></figure>"
    )


def _percent(value: float) -> str:
    return "–" if np.isnan(value) else f"{100 * value:.1f} %"
