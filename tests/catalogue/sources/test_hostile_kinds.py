"""A hundred tables and feeds that are made to harm: one line each, in a process that may not have much memory."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest

from tests.attacks.catalogues import hostile

HOSTILE = hostile()
_BOUNDED = """
import json, resource, sys
from pathlib import Path
from lookalike.catalogue.reading import read_catalogue
from lookalike.catalogue.sources import files
from lookalike.errors import CatalogueError
import openpyxl, defusedxml.ElementTree, pyarrow.parquet, pyarrow.compute
files.FREE_UNPACKED = 1 << 20
own = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (own + (400 << 20),) * 2)
for folder in sorted(Path(sys.argv[1]).iterdir()):
    [file] = folder.iterdir()
    try:
        found = read_catalogue(str(file))
        said = {"listings": len(found.listings), "details": [row.detail for row in found.left_out]}
    except CatalogueError as error:
        said = {"error": str(error).replace(str(folder), "")}
    except BaseException as error:
        said = {"crash": repr(error)[:300]}
    print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What one process says of each, in 400 MiB of address space above what its imports take."""
    root = tmp_path_factory.mktemp("hostile")
    for number, (name, data, _) in enumerate(HOSTILE.values()):
        (root / f"{number:03d}").mkdir()
        (root / f"{number:03d}" / name).write_bytes(data)
    command = [sys.executable, "-c", _BOUNDED, str(root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return dict(zip(HOSTILE, map(json.loads, done.stdout.splitlines()), strict=True))


def test_there_are_a_hundred() -> None:
    assert len(HOSTILE) >= 100


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_catalogue_is_one_line(answers: dict[str, dict[str, Any]], kind: str) -> None:
    said, wanted = answers[kind], HOSTILE[kind][2]
    if wanted is None:
        assert said.get("listings"), said
        lines = said["details"]
    else:
        assert re.search(wanted, said.get("error", "")), said
        lines = [said["error"]]
    assert all("\n" not in line and len(line) < 900 for line in lines)
