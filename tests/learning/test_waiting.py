"""What OpenMP's threads do while they wait is settled before torch loads them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = "import lookalike.learning, os, sys; print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"


@pytest.mark.parametrize(("said", "found"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")])
def test_waiting_threads_sleep_unless_somebody_said_otherwise(said: dict[str, str], found: str) -> None:
    environ = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, env=environ | said
    )
    assert done.stdout.split() == [found, "False"]
