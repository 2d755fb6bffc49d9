"""What a curation costs whose photos several machines share, beside one that reads them all itself.

    python -m benchmarks.parts --listings 20000 --parts 4 --json parts.json

The catalogue of `benchmarks.growth`: one photo of 96 x 96 pixels and some 2 kB for each listing. `--same` of every
hundred have the bytes of another photo, under an address of their own. It is curated by one process into one store,
and by a plan, parts and a last process into another, each process on a machine that has nothing yet. Parts run one
after the other here, so that their seconds are those of a machine each. The snapshots must be equal, or it fails.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.growth import Far, described, listing, moved, offer, peak_mb
from benchmarks.report import Entry, machine, write
from lookalike.catalogue import suspects
from lookalike.catalogue.curation import curate
from lookalike.catalogue.sharing import curate_part, plan_curation
from lookalike.storage import keys


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--listings", type=int, default=20_000)
    parser.add_argument("--parts", type=int, default=4)
    parser.add_argument("--same", type=int, default=2, help="of every hundred photos")
    parser.add_argument("--root", type=Path, help="where the catalogue and the stores are made")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--step", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        print(json.dumps(step(*options.step)))
        return
    with TemporaryDirectory(dir=options.root) as directory:
        found = measure(Path(directory), options)
    write(options.json, machine(), list(entries(found)), listings=options.listings, parts=options.parts)


def measure(folder: Path, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Every process, by its name."""
    rows = [listing(number, options.listings) for number in range(options.listings)]
    offer(folder, rows)
    for number in range(options.listings):
        if number % 100 < options.same:
            other = (number * 7919 + 50) % options.listings
            (folder / "shop" / f"{number}.jpg").write_bytes((folder / "shop" / f"{other}.jpg").read_bytes())
    time.sleep(1)  # photos lie at rest
    found = {"one process": run(folder, "alone", "curate")}
    plan = found["plan"] = run(folder, "shared", "plan")
    for part in range(options.parts):
        told = run(folder, "shared", "part", plan["plan"], str(part), str(options.parts))
        found[f"part {part + 1} of {options.parts}"] = told
    last = found["curate after them"] = run(folder, "shared", "curate")
    if last["ref"] != found["one process"]["ref"]:
        raise SystemExit("the snapshots differ")
    stores = [Far(folder / name) for name in ("alone", "shared")]
    sizes = [sum(info.size for info in store.list(keys.PACKS)) for store in stores]
    photos = described(stores[1], folder)
    found["packs"] = {"equal": float(sizes[0] == sizes[1]), "bytes": sizes[1], "photos": photos}
    return found


def run(folder: Path, *command: str) -> dict[str, Any]:
    """One step in a process of its own."""
    full = [sys.executable, "-m", "benchmarks.parts", "--step", str(folder), *command]
    told: dict[str, Any] = json.loads(subprocess.run(full, check=True, stdout=subprocess.PIPE).stdout)
    print(command, told, file=sys.stderr, flush=True)
    return told


def step(folder: str, name: str, what: str, *given: str) -> dict[str, Any]:
    """Seconds, CPU seconds, peak memory in MB, bytes by kind, and what came of it."""
    suspects.MOST_PHOTOS = 0  # labels are doubted by who commits, and that is not looked at here
    began, place = time.monotonic(), Path(folder)
    store, uri = Far(place / name), str(place / "shop" / "listings.csv")
    with TemporaryDirectory(dir=place) as cache:
        if what == "plan":
            plan = plan_curation(store, uri, cache_dir=Path(cache))
            assert plan is not None
            told: dict[str, Any] = {"plan": plan.name, "runs": plan.runs}
        elif what == "part":
            told = {"reads": curate_part(store, uri, given[0], *map(int, given[1:]), cache_dir=Path(cache))}
        else:
            told = {"ref": str(curate(store, uri, cache_dir=Path(cache)))}
    spent = {"seconds": time.monotonic() - began, "cpu_s": time.process_time(), "peak_mb": peak_mb()}
    return told | spent | moved(store)


def entries(found: Mapping[str, Mapping[str, Any]]) -> Iterator[Entry]:
    for name, told in found.items():
        for what, value in told.items():
            if isinstance(value, int | float):
                unit = {"seconds": "s", "cpu_s": "s", "peak_mb": "MB", "bytes": "B"}.get(what, "")
                yield Entry(f"{name}: {what}", value, unit, "higher" if what == "equal" else "lower")


if __name__ == "__main__":
    main()
