"""`make demo`: the demo whose chain is the retrain flow itself, run in this process with Prefect's embedded server.

Prefect's database lies in the demo's directory, so `make up` shows this run among the others.
"""

from __future__ import annotations

import os
from pathlib import Path

import typer

from lookalike.cli import demo as plain
from lookalike.cli.options import Json, Workplace
from lookalike.errors import LookalikeError
from lookalike.progress import Progress
from lookalike.storage.artefacts import Ref, read_manifest
from tasks import environment


def demo(
    directory: plain.Directory = Path(".demo"),
    once: plain.Once = False,
    port: plain.Port = 8000,
    as_json: Json = False,
) -> None:
    """Generate a catalogue, run the retrain flow on it, answer a query photo, and serve the search page."""
    environment.own_home(directory / "prefect")
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")  # the bars say what happens
    plain.show(_through_prefect, directory, once=once, port=port, as_json=as_json)


def _through_prefect(place: Workplace, catalogue: str, progress: Progress) -> Ref:
    progress("start Prefect's embedded server", 0, 1)
    from flows.parameters import RecipeName, Retrain
    from flows.retrain import retrain
    from tasks.progress import also

    progress("start Prefect's embedded server", 1, 1)
    with also(progress):
        index = retrain(
            Retrain(
                store=place.store.uri,
                catalogue=catalogue,
                recipe=RecipeName(plain.RECIPE),
                min_category=plain.MIN_CATEGORY,
            )
        )
    return Ref.parse(read_manifest(place.store, Ref.parse(index)).inputs["curated"])


def main() -> None:
    try:
        typer.run(demo)
    except LookalikeError as error:
        raise SystemExit(f"make demo: {error}") from error


if __name__ == "__main__":
    main()
