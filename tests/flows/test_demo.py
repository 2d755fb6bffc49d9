"""Ctrl-C in `make demo`, which a terminal sends to the demo and to Prefect's embedded server alike."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.serving.running import eventually

from .conftest import ROOT, wait_until


def test_ctrl_c_ends_the_demo_and_the_server_it_started(environ: dict[str, str], tmp_path: Path) -> None:
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
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(40) == 130, log.read_text()
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
