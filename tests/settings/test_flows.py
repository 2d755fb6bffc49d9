"""The forms of the flows take their defaults from the settings file, where the flows are registered."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

FORMS = """
import json
from flows.parameters import Curate, Extract, Publish, Retrain
from tasks.settings import TASKS
forms = (Curate, Extract, Publish, Retrain)
said = {f"{form.__name__}.{name}": field.default for form in forms for name, field in form.model_fields.items()}
print(json.dumps({name: value for name, value in said.items() if isinstance(value, str | int | float)} | {
    "attempts": TASKS.attempts, "recipes": [*map(str, Retrain.model_fields["recipe"].annotation)]}))
"""
FILE = """
[flows]
recipe = "ours"
weights = "live"
shards = 3
shard_size = 100
nodes = 2
extract_parts = 4
curate_parts = 3

[curation]
min_category = 7

[quality_gate]
margin = 0.5
queries = 20

[data_gate]
slack = 9

[retention]
records = 5
grace_hours = 48

[task]
attempts = 2

[recipes.ours]
base = "tiny"
"""


def forms(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("LOOKALIKE_")}
    paths = os.pathsep.join(filter(None, sys.path))
    (folder / "lookalike.toml").write_text(text)
    return subprocess.run(
        [sys.executable, "-c", FORMS],
        cwd=folder,
        env=environ | {"PYTHONPATH": paths, "PREFECT_HOME": str(folder / "prefect")},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_defaults_of_forms_are_those_of_the_file(tmp_path: Path) -> None:
    ran = forms(FILE, tmp_path)
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout)
    assert said["recipes"][-1] == "ours"
    expected = {
        "attempts": 2,
        "Retrain.recipe": "ours",
        "Retrain.weights": "live",
        "Retrain.shards": 3,
        "Extract.shard_size": 100,
        "Retrain.nodes": 2,
        "Retrain.extract_parts": 4,
        "Retrain.curate_parts": 3,
        "Curate.parts": 3,
        "Curate.min_category": 7,
        "Retrain.min_category": 7,
        "Publish.margin": 0.5,
        "Publish.gate_queries": 20,
        "Publish.slack": 9,
        "Retrain.keep_records": 5,
        "Retrain.grace_hours": 48,
    }
    assert {name: said[name] for name in expected} == expected


def test_a_misspelt_table_stops_the_registration(tmp_path: Path) -> None:
    ran = forms("[retension]\nrecords = 1\n", tmp_path)
    assert ran.returncode != 0
    assert "lookalike.toml:1: unknown table 'retension'; did you mean retention?" in ran.stderr
