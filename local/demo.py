"""`make demo`: the demo whose chain is the retrain flow itself, run in this process with Prefect's embedded server.

Prefect's database lies in the demo's directory, so `make up` shows this run among the others.
"""

from __future__ import annotations

import signal
import sys
import threading
from dataclasses import asdict
from pathlib import Path

import typer

from lookalike import steps
from lookalike.catalogue.knobs import settings_of
from lookalike.catalogue.rules import CurationConfig
from lookalike.cli import demo as plain
from lookalike.cli.options import Json, Recipe, Weights
from lookalike.errors import LookalikeError, SettingsError
from lookalike.progress import Progress
from lookalike.storage.artefacts import Ref, read_manifest
from lookalike.workplace import Workplace
from tasks import environment


def demo(
    directory: plain.Directory = Path(".demo"),
    once: plain.Once = False,
    port: plain.Port = 8000,
    recipe: Recipe = plain.RECIPE,
    weights: Weights = None,
    products: plain.Products = plain.PRODUCTS,
    as_json: Json = False,
) -> None:
    """Generate a catalogue, run the retrain flow on it, answer a query photo, and serve the search page."""
    environment.own_home(directory / "prefect")
    environment.passing_server()
    environment.quieten()  # the bars say what happens
    starting = threading.Thread(target=_start_server, name="prefect", daemon=True)
    starting.start()

    def chain(place: Workplace, course: plain.Course, progress: Progress) -> Ref:
        progress("start Prefect's embedded server", 0, 1)
        starting.join()
        return _through_prefect(place, course, progress)

    plain.show(
        chain,
        directory,
        once=once,
        port=port,
        recipe=recipe,
        weights=weights or "",
        products=products,
        as_json=as_json,
    )


def _start_server() -> None:
    """Prefect's embedded server takes seconds to start, while the drawing of the sample leaves a core free.

    Any question starts it. Where it does not come up, the flow will say so. It inherits which signals this thread
    blocks: Ctrl-C, which a terminal sends to every process of the demo, must end the flow, and the flow tells the
    server of its end. Without a server it asked again for minutes.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        client.api_healthcheck()


def _through_prefect(place: Workplace, course: plain.Course, progress: Progress) -> Ref:
    steps.require_not_held(place)
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    from flows.parameters import RecipeName, Retrain
    from flows.retrain import retrain
    from tasks.progress import also

    if course.recipe not in set(RecipeName):
        raise SettingsError(
            f"there is no recipe {course.recipe!r}; there are {', '.join(sorted(RecipeName))}"
        )
    progress("start Prefect's embedded server", 1, 1)
    # Nobody looks for runs that fell silent on a server that ends with this process, and at its end each stage would
    # wait for the thread that says that it runs, which sleeps whole seconds.
    with also(progress), temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        index = retrain(
            Retrain(
                store=place.store.uri,
                catalogue=course.catalogue,
                recipe=RecipeName(course.recipe),
                weights=course.weights,
                **settings_of(CurationConfig, asdict(course.curation)),
            )
        )
    return Ref.parse(read_manifest(place.store, Ref.parse(str(index))).inputs["curated"])


def main() -> None:
    # Left to itself SIGTERM ends this process at once, and Prefect's server, which ends with it otherwise, goes on.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        typer.run(demo)
    except LookalikeError as error:
        raise SystemExit(f"make demo: {error}") from error


if __name__ == "__main__":
    main()
