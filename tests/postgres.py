"""A PostgreSQL server of a test's own, from the programs that the machine has."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

_USER = "postgres"


@dataclass(frozen=True)
class Postgres:
    """A running server; everybody on this machine may do everything in it."""

    programs: Path
    port: int

    def create(self, database: str) -> str:
        """A new database; its address as SQLAlchemy's asyncpg takes it."""
        self.run("createdb", database)
        return f"postgresql+asyncpg://{_USER}@127.0.0.1:{self.port}/{database}"

    def run(self, program: str, *arguments: str) -> str:
        """What one of PostgreSQL's programs says."""
        command = [str(self.programs / program), "-h", "127.0.0.1", "-p", str(self.port), "-U", _USER]
        return subprocess.run(
            [*command, *arguments], check=True, capture_output=True, text=True, timeout=120
        ).stdout


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or [
        Path(path) for path in [shutil.which("initdb")] if path
    ]
    if not found:
        pytest.skip("no PostgreSQL on this machine: apt-get install postgresql")
    return found[-1].parent


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    programs = _programs()
    user = None
    if os.getuid() == 0:  # it refuses to run as root
        try:
            user = pwd.getpwnam(_USER).pw_name
        except KeyError:
            pytest.skip(f"PostgreSQL does not run as root, and there is no user {_USER}")
    home = Path(tempfile.mkdtemp(prefix="postgres-"))  # pytest's own folders are closed to other users
    if user:
        shutil.chown(home, user)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])

    def run(*command: str) -> None:
        subprocess.run(command, user=user, cwd=home, check=True, capture_output=True, timeout=120)

    data = str(home / "data")
    try:
        run(str(programs / "initdb"), "-D", data, "-U", _USER, "--auth", "trust", "--no-sync")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={home} -c fsync=off"
        run(str(programs / "pg_ctl"), "-D", data, "-w", "-o", options, "-l", str(home / "log"), "start")
        try:
            yield Postgres(programs, port)
        finally:
            run(str(programs / "pg_ctl"), "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(home, ignore_errors=True)
