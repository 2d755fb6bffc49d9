"""Ctrl-C in `make demo`, which a terminal sends to the demo and to Prefect's embedded server alike, and `kill`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.serving.running import eventually

from .conftest import ROOT, wait_until


@pytest.mark.parametrize(
    ("send", "number", "code"),
    [(os.killpg, signal.SIGINT, 130), (os.kill, signal.SIGTERM, 143)],
    ids=["ctrl-c", "kill"],
)
def test_the_demo_ends_with_the_server_it_started(
    send: Callable[[int, int], None], number: int, code: int, environ: dict[str, str], tmp_path: Path
) -> None:
    command = "import signal; from local.demo import main; "
    command += "signal.signal(signal.SIGINT, signal.default_int_handler); main()"  # as a shell starts it
    options = ["--once", "--recipe", "demo", "--products", "2", "--directory", str(tmp_path / "demo")]
    log = tmp_path / "log.txt"
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", command, *options],
            cwd=ROOT,
            env={name: value for name, value in environ.items() if name != "PREFECT_API_URL"},
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a process group of its own, as a job of a terminal has
        )
    try:
        wait_until("the training begins", lambda: "train categories: 1/" in log.read_text(), process, 200)
        send(process.pid, number)
        assert process.wait(40) == code, log.read_text()
        eventually(
            lambda: not _alive(process.pid)
        )  # multiprocessing's tracker sees that its program has ended
    finally:
        if _alive(process.pid):
            os.killpg(process.pid, signal.SIGKILL)


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
