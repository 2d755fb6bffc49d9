"""A query on a database enters, its rows leave: SQLite by the standard library, PostgreSQL and MySQL by SQLAlchemy.

SQLAlchemy was chosen over ADBC since it reads both through drivers that are well kept (psycopg, PyMySQL); ADBC has
one for PostgreSQL and none for MySQL. Rows are fetched in steps by a cursor of the server, inside a transaction that
may only read. A password comes from the environment or the driver's own files (PGPASSWORD, ~/.pgpass, MYSQL_PWD), or
stands in the address, and never in a message.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from lookalike.catalogue.sources.delimited import checked_header
from lookalike.catalogue.tables import Rows, Table
from lookalike.errors import CatalogueError, SettingsError
from lookalike.settings import mysql_password

SCHEMES: Mapping[str, str] = {
    "sqlite": "",
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mysql+pymysql",
}
"""Scheme of a database's address -> SQLAlchemy's name of its driver."""
_STEP = 2_000


def is_database(uri: str) -> bool:
    """Whether `uri` names a database rather than a file."""
    return urlsplit(uri).scheme in SCHEMES


def shown(uri: str) -> str:
    """`uri` without its password."""
    parts = urlsplit(uri)
    if parts.password is None:
        return uri
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}:***@{host}"))


def query_table(uri: str, query: str) -> Table:
    """The rows that `query` gives. Raises `CatalogueError`, and `SettingsError` where a driver is not installed."""
    if not query.strip():
        raise SettingsError(f"{shown(uri)}: say what to read by --query 'SELECT ...' or --query @file.sql")
    with _rows_of(uri, query) as (names, _):
        header = checked_header(shown(uri), names)

    def rows(_: Sequence[str]) -> Rows:
        with _rows_of(uri, query) as (_names, found):
            for number, values in enumerate(found, 1):
                yield number, dict(zip(header, map(_plain, values), strict=True))

    return Table(header, "row", rows)


def digest_of_rows(table: Table, query: str) -> str:
    """SHA-256 of the query and all that it gives."""
    digest = hashlib.sha256(query.encode())
    for _, row in table.rows(table.header):
        digest.update(repr(row).encode(errors="surrogatepass"))
    return digest.hexdigest()


@contextmanager
def _rows_of(uri: str, query: str) -> Iterator[tuple[tuple[str, ...], Iterator[Sequence[Any]]]]:
    opened = _sqlite(uri, query) if urlsplit(uri).scheme == "sqlite" else _server(uri, query)
    with opened as found:
        yield found


@contextmanager
def _sqlite(uri: str, query: str) -> Iterator[tuple[tuple[str, ...], Iterator[Sequence[Any]]]]:
    """``sqlite:///relative.db`` and ``sqlite:////absolute.db``, as SQLAlchemy writes them."""
    path = Path(unquote(urlsplit(uri).path.removeprefix("/"))).expanduser()
    if not path.is_file():
        raise CatalogueError(f"{uri}: there is no such database")
    address = f"file:{quote(str(path.absolute()))}?mode=ro"
    try:
        connection = sqlite3.connect(address, uri=True)
        try:
            cursor = connection.execute(query)
            yield tuple(name for name, *_ in cursor.description or ()), cursor
        finally:
            connection.close()
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise CatalogueError(f"{uri}: the query failed: {_first_line(error)}") from error


@contextmanager
def _server(uri: str, query: str) -> Iterator[tuple[tuple[str, ...], Iterator[Sequence[Any]]]]:
    try:
        from sqlalchemy import create_engine, text
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
    except ImportError as error:
        raise SettingsError(
            f"{shown(uri)}: databases need SQLAlchemy: pip install 'lookalike[sql]'"
        ) from error
    try:
        address = make_url(uri)
        address = address.set(drivername=SCHEMES[urlsplit(uri).scheme])
        if address.drivername.startswith("mysql") and not address.password:
            address = address.set(password=mysql_password())
        engine = create_engine(address, pool_pre_ping=False)
    except ImportError as error:
        message = f"{shown(uri)}: its driver is not installed ({error}): pip install 'lookalike[sql]'"
        raise SettingsError(message) from error
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        raise SettingsError(f"{shown(uri)} is no address of a database: {_first_line(error)}") from error
    try:
        with engine.connect() as connection:
            connection.execute(
                text("SET TRANSACTION READ ONLY")
                if engine.dialect.name == "postgresql"
                else text("START TRANSACTION READ ONLY")
            )
            streamed = connection.execution_options(stream_results=True, max_row_buffer=_STEP)
            result = streamed.execute(text(query.replace(":", r"\:")))
            if not result.returns_rows:
                raise CatalogueError(f"{shown(uri)}: the query gives no rows; it must be a SELECT")
            try:
                yield tuple(result.keys()), iter(result)
            finally:
                result.close()  # reads what is left, which PyMySQL must have done before it ends the transaction
    except SQLAlchemyError as error:
        message = f"{shown(uri)}: the query failed: {_first_line(getattr(error, 'orig', None) or error)}"
        raise CatalogueError(message) from error
    finally:
        engine.dispose()


def _plain(value: Any) -> Any:
    """A cell as text or a number; dates by ISO 8601."""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, memoryview):
        return bytes(value)
    return value.isoformat() if isinstance(value, (date, datetime, time)) else value


def _first_line(error: object) -> str:
    return str(error).strip().partition("\n")[0]
