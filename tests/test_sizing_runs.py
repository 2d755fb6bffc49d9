"""What runs of the pipeline are planned to need is what was measured, and what the templates of their Jobs say."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from lookalike.catalogue import runs as photo_runs
from lookalike.catalogue import snapshot_tables, suspects
from lookalike.catalogue.rules import CurationConfig
from lookalike.cli.app import app
from lookalike.coding.encoder import Encoding
from lookalike.coding.shards import put_shard
from lookalike.errors import SettingsError
from lookalike.index import likeness
from lookalike.sizing import Catalogue, Measured
from lookalike.sizing_runs import TEMPLATES, Inventory, MeasuredRuns, Pool, Run, Runs, plan_runs
from lookalike.storage import keys
from lookalike.storage.artefacts import Kind, Ref
from lookalike.storage.directory import DirectoryStore

TOP = Path(__file__).parents[1]
GIB = 2**30 / 1e9
BLOTS = Inventory(10, photo_bytes=2_600, stored_bytes=2_640, measured=MeasuredRuns(photo_ms=1.3))
"""Photos as benchmarks/growth.py makes them, whose pages are compared here."""


def runs(
    listings: float = 1e6, *, changed: float = 1000, photos: float = 1.0, inventory: Inventory | None = None
) -> Runs:
    given = inventory or Inventory(changed)
    return plan_runs(Catalogue(listings, photos=photos), given, Measured())


def step(found: tuple[Run, ...], name: str) -> Run:
    (run,) = (each for each in found if each.step == name)
    return run


def measured_rows() -> dict[tuple[int, str], tuple[float, float, float, float]]:
    """Listings and what was done -> MB of log, of tables and of memory, and CPU seconds, as the page has them."""
    text = (TOP / "docs" / "operations.md").read_text()
    found = {}
    row = r"^\| ([\d,]+) \| ([^|]+) \| [\d,]+ \| [^|]+ \| ([^|]+) \| ([^|]+) \| ([\d,]+) MB \| ([\d.]+) s \|$"
    for listings, what, log, tables, memory, cpu in re.findall(row, text, re.MULTILINE):
        sizes = (megabytes(log), megabytes(tables), float(memory))
        found[int(listings.replace(",", "")), what.split(":")[0]] = (*sizes, float(cpu))
    return found


def megabytes(text: str) -> float:
    number, _, unit = text.partition(" ")
    return float(number) * {"": 0.0, "kB": 1e-3, "MB": 1.0}[unit]


@pytest.mark.parametrize("what", ["first curation", "10 changed"])
@pytest.mark.parametrize("listings", [2_000, 10_000])
def test_a_curation_is_planned_as_it_was_measured(listings: int, what: str) -> None:
    log, tables, memory, cpu = measured_rows()[listings, what]
    inventory = replace(BLOTS, changed=4)  # photos that came in, of ten changes
    found = runs(listings, inventory=inventory)
    curate = step(found.first if what == "first curation" else found.hourly, "curate")
    taken_in, decoding = curate.photos, MeasuredRuns().decoding_gb
    written = curate.written_gb * 1e3 - taken_in * inventory.stored_bytes / 1e6
    assert log + tables <= written * 1.1
    assert written <= 1.5 * (log + tables) + 2.5  # tables of real listings are longer than these
    assert memory <= (curate.memory_gb - decoding) * 1e3 <= 1.3 * memory
    assert curate.cpu_s is not None
    assert 0.8 * cpu <= curate.cpu_s <= 1.6 * cpu


def test_bytes_of_a_coded_photo_are_those_of_a_real_shard(tmp_path: Path) -> None:
    store, release, count = DirectoryStore(tmp_path), Ref(Kind.RELEASE, "0" * 16, "0" * 64), 400
    rng = np.random.default_rng(1)
    ids = sorted(hashlib.md5(b"%d" % n, usedforsecurity=False).hexdigest() for n in range(count))
    codes = rng.integers(0, 256, (count, 512), np.uint8)
    features = rng.random((count, MeasuredRuns().features)).astype(np.float32)
    shard = put_shard(store, release, ids, [Encoding(features, features, features, codes)])
    extract = step(runs(changed=1000).hourly, "extract")
    listed = store.head(keys.code_shard_photos(shard.key)).size
    assert (shard.size + listed) / count == pytest.approx(extract.written_gb * 1e9 / 1000, rel=0.03)


def test_numbers_of_the_code_are_those_of_the_plan() -> None:
    from lookalike import sizing_runs

    assert suspects.MOST_PHOTOS == sizing_runs._MOST_LOOKS
    assert snapshot_tables.ROWS == sizing_runs._ROW_GROUP
    assert CurationConfig().shard_bytes == sizing_runs._PACK_BYTES
    assert likeness.SHOPPERS == sizing_runs._TAKEN_ANEW
    assert photo_runs._ROWS_OF_A_LOT == sizing_runs._MOST_IN_A_LOT


@pytest.mark.parametrize(
    ("pool", "squares"),
    [("cpu", "k8s/base/kustomization.yaml"), ("gpu", "k8s/components/gpu-node/kustomization.yaml")],
)
def test_templates_are_those_of_the_jobs(pool: Pool, squares: str) -> None:
    variables = json.loads((TOP / "k8s" / "jobs" / f"{pool}.json").read_text())["variables"]["properties"]
    template = TEMPLATES[pool]
    assert variables["memory_limit"]["default"] == f"{template.memory_gib}Gi"
    assert variables["scratch"]["default"] == f"{template.scratch_gib}Gi"
    assert variables["disk_limit"]["default"] == f"{template.scratch_gib + 3}Gi"
    assert f"LOOKALIKE_SQUARES_GIB={template.squares_gib} " in (TOP / squares).read_text()


def test_pages_state_how_many_listings_the_template_holds() -> None:
    for page in ("operations.md", "scale.md"):
        text = " ".join((TOP / "docs" / page).read_text().split())
        (stated,) = re.findall(r"4 GiB hold some ([\d,]+) listings", text)
        most = float(stated.replace(",", ""))
        assert step(runs(most).first, "curate").memory_gb <= 4 * GIB
        assert step(runs(most * 1.05).first, "curate").memory_gb > 4 * GIB


def test_job_variables_are_asked_for_where_a_template_has_too_little_and_suffice() -> None:
    assert runs(1e5, changed=100).asks == {}
    found = runs(5e6, changed=5000)
    asked = found.asks
    assert {"curate", "extract"} <= set(asked)
    for run in (*found.first, *found.hourly):
        template, given = TEMPLATES[run.pool], asked.get(run.step, {})
        memory = float(given.get("memory_limit", f"{template.memory_gib}Gi").removesuffix("Gi"))
        scratch = float(given.get("scratch", f"{template.scratch_gib}Gi").removesuffix("Gi"))
        assert run.memory_gb <= memory * GIB
        assert run.disk_gb <= scratch * GIB
    fields = json.loads((TOP / "k8s" / "jobs" / "cpu.json").read_text())["variables"]["properties"]
    assert all(set(variables) <= set(fields) for variables in asked.values())


def test_work_on_photos_follows_what_changed_and_passes_follow_what_there_is() -> None:
    small, large = runs(1e5), runs(1e6)
    for name in ("curate", "extract"):
        assert step(small.hourly, name).photos == step(large.hourly, name).photos
    assert step(large.hourly, "curate").photos == 1000
    assert step(small.hourly, "extract").written_gb == step(large.hourly, "extract").written_gb
    assert small.hourly_fetch_gb == large.hourly_fetch_gb < large.first_fetch_gb / 100
    assert step(large.hourly, "delta").read_gb > step(small.hourly, "delta").read_gb
    assert runs(changed=2000).hourly_cpu_s > large.hourly_cpu_s > small.hourly_cpu_s


def test_more_photos_never_need_less() -> None:
    for few, many in zip(
        (*runs(2e6).first, *runs(2e6).hourly),
        (*runs(2e6, photos=3).first, *runs(2e6, photos=3).hourly),
        strict=True,
    ):
        assert many.memory_gb >= few.memory_gb
        assert (many.cpu_s or 0) >= (few.cpu_s or 0)
        assert many.read_gb >= few.read_gb
        assert many.written_gb >= few.written_gb


def test_a_training_keeps_squares_only_where_they_fit() -> None:
    few, many = (step(runs(listings).first, "train") for listings in (4e5, 6e5))
    assert few.disk_gb > 4e5 * 196_608 / 1e9
    assert many.disk_gb < few.disk_gb


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(SettingsError, match="give --changed fewer"):
        runs(1000, changed=2000)
    with pytest.raises(SettingsError, match="bytes of a photo: must be above 0"):
        runs(inventory=Inventory(10, photo_bytes=0))


def test_the_command_tells_runs_as_json_and_for_people() -> None:
    words = ["plan", "--listings", "3e6", "--changed", "500", "--photos", "2", "--photo-size", "200KB"]
    result = CliRunner().invoke(app, [*words, "--json"])
    assert result.exit_code == 0
    body = json.loads(result.stdout)
    assert body["inventory"]["photo_bytes"] == 200_000
    curate = next(run for run in body["runs"]["hourly"] if run["step"] == "curate")
    assert curate["photos"] == 1000
    asked = body["runs"]["job_variables"]["curate"]["memory_limit"]
    told = CliRunner().invoke(app, words).stdout
    assert f"curate: memory_limit={asked}" in told
    assert "hourly  each pod fetches" in told
    small = CliRunner().invoke(app, ["plan", "--listings", "10000"]).stdout
    assert "fit the templates of k8s/jobs as they are" in small
    wrong = CliRunner().invoke(app, [*words[:-1], "large"])
    assert wrong.exit_code != 0
    assert "--photo-size" in str(wrong.exception) + wrong.output
