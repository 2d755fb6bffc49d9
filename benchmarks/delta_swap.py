"""What searches notice while their process swaps to a delta.

    python -m benchmarks.delta_swap --demo .demo --json swap.json

On a copy of the store that `make demo` left. Deltas of one changed price each are made beforehand; a search process
serves the generation without them. Eight clients that never pause send photos, in turns while nothing changes and
while deltas are published, one after the other. Shown are failed requests, and p99 during swaps against steady.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.grown import Grown, live_photos
from benchmarks.report import entries, machine, write
from benchmarks.search_load import get_json, run_load, serving
from lookalike import steps
from lookalike.catalogue.rules import CurationConfig
from lookalike.cli.demo import MIN_CATEGORY
from lookalike.index.generation import read_generation
from lookalike.ingest.refresh import refresh
from lookalike.publishing.live_ref import LiveRecord, publish, read_live
from lookalike.storage.artefacts import Ref
from lookalike.workplace import Workplace, open_workplace

CLIENTS, DELTAS = 8, 2
TARGETS = {"swaps: failed": 0.0, "ratios: p99 during swaps / steady": 1.2}
PEERS = {"ratios: p99 during swaps / steady": "steady: p99_ms"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--demo", type=Path, default=Path(".demo"))
    parser.add_argument("--seconds", type=float, default=10, help="of each turn")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    before = machine()
    with TemporaryDirectory(prefix="delta-swap-") as directory:
        results = measure(Path(directory), options)
    write(options.json, before, list(entries(results, TARGETS, PEERS)), demo=str(options.demo))


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Turns of load while nothing changes and while deltas are published."""
    for part in ("store", "catalogue"):
        shutil.copytree(options.demo / part, folder / part)
    place = open_workplace(str(folder / "store"))
    live = read_live(place.store)
    if live is None or live.live.deltas:
        raise SystemExit(f"{options.demo}: run `make demo ARGS=--once` first")
    deltas = make_deltas(place, live.live, folder / "catalogue")
    grown = Grown(place.store, folder / "cache", live.live.release, live.live.index)
    queries = live_photos(place.store, live.live.index, folder / "cache", 32)
    steady, during = [], []
    with serving(grown, 2) as port:
        for _ in range(options.rounds):
            move(place, live.live, (), port)
            steady.append(run_load(port, queries, CLIENTS, options.seconds, "/v1/search"))
            thread = threading.Thread(target=publish_all, args=(place, live.live, deltas, port))
            thread.start()
            during.append(run_load(port, queries, CLIENTS, options.seconds, "/v1/search"))
            thread.join()
    turns = {"steady": steady, "swaps": during}
    results: dict[str, Any] = {
        name: {
            number: [asdict(load)[number] for load in loads] for number in ("p50_ms", "p99_ms", "requests")
        }
        | {"failed": sum(load.failed for load in loads)}
        for name, loads in turns.items()
    }
    ratios = [swaps.p99_ms / still.p99_ms for still, swaps in zip(steady, during, strict=True)]
    return results | {"ratios": {"p99 during swaps / steady": ratios}}


def make_deltas(place: Workplace, live: LiveRecord, catalogue: Path) -> list[Ref]:
    """Deltas, each on the one before, of one changed price each; none is live."""
    with (catalogue / "catalogue.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    tip, deltas = live.index, []
    for number in range(DELTAS):
        rows[100 + number]["price"] = f"{number + 1}.50"
        with (catalogue / "changed.csv").open("w", newline="") as file:
            table = csv.DictWriter(file, rows[0])
            table.writeheader()
            table.writerows(rows)
        rules = CurationConfig(min_category=MIN_CATEGORY)
        curated = steps.curate(place, str(catalogue / "changed.csv"), rules, release=live.release)
        extraction = steps.extract(place, curated, live.release)
        made = refresh(place.store, tip, extraction, shards=1, cache_dir=place.cache_dir)
        if made.made != "delta":
            raise SystemExit(f"no delta was made: {made.why}")
        tip = made.ref
        deltas.append(tip)
    return deltas


def publish_all(place: Workplace, live: LiveRecord, deltas: Sequence[Ref], port: int) -> None:
    """One delta after the other, each once the one before is served."""
    for tip in deltas:
        time.sleep(1)
        move(place, live, read_generation(place.store, tip).deltas, port)


def move(place: Workplace, live: LiveRecord, deltas: tuple[Ref, ...], port: int) -> None:
    """Make the base with these deltas live, and wait until it is served."""
    publish(
        place.store, live.release, live.index, by="benchmark", expected=read_live(place.store), deltas=deltas
    )
    while get_json(port, "/readyz")["delta"] != (str(deltas[-1]) if deltas else None):
        time.sleep(0.02)


if __name__ == "__main__":
    main()
