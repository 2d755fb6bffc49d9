"""Verbs that serve, as processes of their own on a free port."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.serving.running import eventually


@contextmanager
def started(
    home: Path, *arguments: object, **environ: str
) -> Iterator[tuple[httpx.Client, subprocess.Popen[str]]]:
    """A verb that serves, as a process on a free port; killed at the end if it has not ended before."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "lookalike", *map(str, arguments), "--port", str(port)]
    paths = os.pathsep.join(filter(None, sys.path))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("LOOKALIKE_")}
    environment = inherited | {"PYTHONPATH": paths, "LOOKALIKE_CACHE_DIR": str(home / "cache")} | environ
    with (
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
        (home / f"{port}.log").open("w+") as log,
        subprocess.Popen(command, env=environment, stderr=log, text=True) as process,
    ):
        try:
            yield client, process
        finally:
            process.kill()


def until_answering(client: httpx.Client, process: subprocess.Popen[str], path: str) -> None:
    def answers() -> bool:
        assert process.poll() is None, "it ended by itself"
        try:
            return client.get(path).status_code == 200
        except httpx.TransportError:
            return False

    eventually(answers)
