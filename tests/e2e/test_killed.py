"""The whole chain, killed again and again, ends where an undisturbed run ends: same bytes, same references."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sample_shop import write_sample

KILLED_AT = (0.4, 0.65, 0.9)
"""Moments of the kills, as parts of the undisturbed run's time. Each stage by itself: tests/flows/test_retrain.py."""


def start(catalogue: Path, place: Path) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "lookalike",
        "run",
        "--catalogue",
        str(catalogue),
        "--recipe",
        "tiny",
        "--json",
    ]
    options = ["--store", str(place / "store"), "--min-category", "4", "--threads", "1"]
    environment = os.environ | {"LOOKALIKE_CACHE_DIR": str(place / "cache")}
    return subprocess.Popen(
        command + options, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen[str]) -> dict[str, str]:
    """The references of all that was made."""
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    refs = json.loads(out)
    assert isinstance(refs, dict)
    refs.pop("curation")  # it names a file of this store
    return refs


@pytest.mark.timeout(600)
def test_a_chain_killed_at_any_moment_ends_like_an_undisturbed_one(tmp_path: Path) -> None:
    catalogue = write_sample(tmp_path / "sample", products=2).catalogue
    began = time.monotonic()
    undisturbed = finish(start(catalogue, tmp_path / "undisturbed"))
    whole = time.monotonic() - began

    disturbed = tmp_path / "disturbed"
    for part in KILLED_AT:
        process = start(catalogue, disturbed)
        try:
            process.wait(part * whole)
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate()
    assert finish(start(catalogue, disturbed)) == undisturbed
