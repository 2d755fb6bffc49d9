"""A new column of a listing is one line of the registry: from a shop's table to a hit, through rankers, too."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from lookalike.columns import COLUMNS, SHOWN

ROOT = Path(__file__).parents[2]
REGISTERED = """
import lookalike.columns as columns

new = [
    columns.Column("grade", columns.TEXT, "A made-up label.", offered=True, stored="label", shown=True),
    columns.Column("weight", columns.NUMBER, "A made-up number.", stored="number", shown=True),
]
columns.COLUMNS += tuple(new)
columns.OFFERED = tuple(c for c in columns.COLUMNS if c.offered)
columns.STORED = tuple(c for c in columns.COLUMNS if c.stored is not None)
columns.SHOWN = tuple(c for c in columns.COLUMNS if c.shown)
"""
USED = """
import dataclasses, json, pathlib, sys
import numpy as np
from lookalike.catalogue.fields import OPTIONAL
from lookalike.catalogue.snapshot import listings_schema
from lookalike.index.builder import build
from lookalike.index.reader import IndexSnapshot
from lookalike.index.hamming import Scanner
from lookalike.ranking.listings import Wanted
from lookalike.ranking.local import MappedListings
from lookalike.ranking.filters import Filters
from lookalike.serving.description import openapi
from lookalike.sharding import wire
from lookalike.sharding.remote import RemoteCandidates, merge_nearest
from lookalike.storage.artefacts import ArtefactWriter, Kind, fetch
import pyarrow as pa
from tests.index.conftest import make_snapshot, parquet

root = pathlib.Path(sys.argv[1])
made = make_snapshot(root / "store", {"a": 40})
count = made.listings.num_rows
grades = pa.array([None if i % 3 == 0 else f"g{i % 2}" for i in range(count)], pa.utf8())
weights = pa.array([i / 4 for i in range(count)])
listings = made.listings.append_column("grade", grades).append_column("weight", weights)
writer = ArtefactWriter(made.store, Kind.CURATED, inputs={"with": str(made.curated)}, config={})
writer.add("listings.parquet", parquet(listings))
index = build(made.store, writer.commit(), made.extraction, cache_dir=root)
local = MappedListings(IndexSnapshot.open(fetch(made.store, index, root)), Scanner(1))
(code,) = local.find(listings["listing_id"][7].as_py())[1]
wanted = [Wanted(code, ("a",), Filters(), 40)]
(found,) = local.nearest(wanted)
(batch,) = wire.read_found(wire.found_bytes(wanted, [found]), wanted)
remote = RemoteCandidates(wanted[0], merge_nearest(wanted[0], [batch]), ())
assert found.listings(()) == remote.listings(())
read = wire.read_listing(wire.listing_json(local.find("L0000012") or local.find(listings["listing_id"][0].as_py())))
schema = openapi()["components"]["schemas"]["Hit"]
print(json.dumps({
    "offered": "grade" in OPTIONAL,
    "curated": str(listings_schema([]).field("weight").type),
    "segment": [list(pair) for pair in local.index.columns],
    "hits": {x.listing_id: [x.columns["grade"], x.columns["weight"]] for x in remote.listings(())},
    "stated": {r["listing_id"]: [r["grade"], r["weight"]] for r in listings.to_pylist()},
    "read": sorted(read[0].columns),
    "schema": schema["properties"]["weight"],
    "required": "grade" in schema["required"],
}))
"""


def test_a_registered_column_goes_all_the_way(tmp_path: Path) -> None:
    command = [sys.executable, "-c", REGISTERED + USED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["offered"]
    assert said["curated"] == "double"
    assert said["segment"][-2:] == [["grade", "label"], ["weight", "number"]]
    assert said["hits"] == said["stated"]
    assert {"grade", "weight"} <= set(said["read"])
    assert said["schema"] == {"type": ["number", "null"], "description": "A made-up number."}
    assert said["required"]


def test_every_column_is_documented() -> None:
    contracts = (ROOT / "docs" / "architecture.md").read_text()
    assert [c.name for c in COLUMNS if f"| `{c.name}` |" not in contracts] == []
    api = (ROOT / "docs" / "api.md").read_text()
    assert [c.name for c in SHOWN if f"`{c.name}`" not in api] == []
