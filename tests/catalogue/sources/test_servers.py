"""A query on real servers: MariaDB and PostgreSQL, started for the test. Skipped, saying so, where there is none."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lookalike.catalogue.exports import Layout
from lookalike.catalogue.reading import read_catalogue
from lookalike.errors import CatalogueError
from tests.postgres import Postgres

ROWS = 3_000
_TABLE = "CREATE TABLE wares (sku VARCHAR(9), photo VARCHAR(80), kind VARCHAR(80), price DECIMAL(10,2), seen TIMESTAMP)"
QUERY = (
    "SELECT sku AS listing_id, photo AS image, kind AS category, price, 'it''s 5:30 100%' AS title FROM wares"
)


def found(*names: str) -> str:
    """A program, which Debian may keep outside of PATH."""
    for name in names:
        if path := shutil.which(name, path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin"):
            return path
    pytest.skip("no MariaDB on this machine: apt-get install mariadb-server")


def waited(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 60
    while not ready():
        assert process.poll() is None, log.read_text()[-2000:]
        assert time.monotonic() < until, log.read_text()[-2000:]
        time.sleep(0.1)


@pytest.fixture(scope="module")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with a table of wares."""
    pymysql = pytest.importorskip("pymysql")
    server, install = found("mariadbd", "mysqld"), found("mariadb-install-db", "mysql_install_db")
    root = tmp_path_factory.mktemp("mariadb")
    user = [f"--user={pwd.getpwuid(os.getuid()).pw_name}"]
    data = [f"--datadir={root / 'data'}", *user]
    command = [install, "--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", *data]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    log = root / "log"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with log.open("wb") as out:
        command = [server, "--no-defaults", *data, f"--port={port}", f"--socket={root / 's'}"]
        command += ["--bind-address=127.0.0.1", f"--pid-file={root / 'pid'}"]
        process = subprocess.Popen(command, stdout=out, stderr=out)

    def ready() -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(root / "s")) == 0

    try:
        waited(ready, process, log)
        with pymysql.connect(unix_socket=str(root / "s"), user="root", autocommit=True) as connection:
            cursor = connection.cursor()
            cursor.execute("CREATE DATABASE shop CHARACTER SET utf8mb4")
            cursor.execute("CREATE USER reader@'127.0.0.1' IDENTIFIED BY 's3cret'")
            cursor.execute("GRANT ALL ON shop.* TO reader@'127.0.0.1'")
            cursor.execute("USE shop")
            cursor.execute(_TABLE)
            rows = [(f"L{i}", f"{i}.jpg", "größe/x", f"{12 + i}.90", "2026-01-01") for i in range(ROWS)]
            cursor.executemany("INSERT INTO wares VALUES (%s, %s, %s, %s, %s)", rows)
        yield f"127.0.0.1:{port}/shop"
    finally:
        process.terminate()
        process.wait(60)


def test_a_query_on_mariadb_gives_a_catalogue_and_cannot_write(
    mariadb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = read_catalogue(f"mysql://reader:s3cret@{mariadb}", layout=Layout(query=QUERY))
    assert len(read) == ROWS
    first = read.listings[0]
    assert (first.listing_id, first.category, first.price) == ("L0", "größe/x", 12.9)
    assert first.title == "it's 5:30 100%"
    monkeypatch.setenv("MYSQL_PWD", "s3cret")
    again = read_catalogue(f"mariadb://reader@{mariadb}", layout=Layout(query=QUERY))
    assert again.digest == read.digest
    for bad, message in (
        ("DELETE FROM wares", "READ ONLY transaction"),
        ("SELECT * FROM nowhere", "nowhere' doesn't exist"),
        ("SELECT 1 AS listing_id; DROP TABLE wares", "syntax"),
    ):
        with pytest.raises(CatalogueError, match=message) as caught:
            read_catalogue(f"mysql://reader:s3cret@{mariadb}", layout=Layout(query=bad))
        assert "s3cret" not in str(caught.value)
    with pytest.raises(CatalogueError, match="Access denied"):
        read_catalogue(f"mysql://reader:wrong@{mariadb}", layout=Layout(query=QUERY))
    assert len(read_catalogue(f"mysql://reader:s3cret@{mariadb}", layout=Layout(query=QUERY))) == ROWS


def test_a_query_on_postgresql_gives_a_catalogue_and_cannot_write(postgres: Postgres) -> None:
    uri = postgres.create("wares").replace("+asyncpg", "")
    filled = f"SELECT 'L' || n, n || '.jpg', 'größe/x', n + 12.9, now() FROM generate_series(0, {ROWS - 1}) n"
    postgres.run("psql", "-d", "wares", "-c", f"{_TABLE}; INSERT INTO wares {filled}")
    read = read_catalogue(uri, layout=Layout(query=f"{QUERY} ORDER BY price"))
    assert len(read) == ROWS
    first = read.listings[0]
    assert (first.listing_id, first.category, first.price) == ("L0", "größe/x", 12.9)
    assert first.title == "it's 5:30 100%"
    for bad, message in (
        ("DELETE FROM wares", 'syntax error at or near "DELETE"'),
        ("SELECT * FROM nowhere", 'relation "nowhere" does not exist'),
    ):
        with pytest.raises(CatalogueError, match=message):
            read_catalogue(uri, layout=Layout(query=bad))
