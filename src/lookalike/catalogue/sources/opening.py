"""A catalogue's URI becomes a table: the format is told by the first bytes, or by the extension that a package adds.

A file, a folder of files (whose folders' names may hold columns, as Hive writes them) or a database enters. A `Source`
leaves. Copies of what lies in a store are kept in a temporary folder as long as the source is open. Other packages add
formats by the extension of the file's name (`plugins`).
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from lookalike.catalogue.sources import databases
from lookalike.catalogue.sources.delimited import delimited
from lookalike.catalogue.sources.excel import excel
from lookalike.catalogue.sources.feeds import feed
from lookalike.catalogue.sources.files import TableFile, bring, state_of
from lookalike.catalogue.sources.json_lines import json_lines
from lookalike.catalogue.sources.parquet import parquet
from lookalike.catalogue.tables import RowProblem, Rows, Table
from lookalike.errors import CatalogueError, SettingsError
from lookalike.plugins import Registry
from lookalike.settings import S3Settings
from lookalike.storage.stores import split_uri

ReadsTable = Callable[[str, bytes], Table]
"""A table's URI, for messages, and its bytes -> the table. Raises `CatalogueError`."""


@dataclass(frozen=True, slots=True)
class Source:
    """A catalogue that is open for reading."""

    table: Table
    digest: str
    """SHA-256 of the table's bytes."""
    state: str
    """What `state_now` gives as long as nothing changes."""
    folder: str
    """URI of the folder that the table lies in, by which photos are named."""


@contextmanager
def opened(
    uri: str, s3: S3Settings | None = None, *, query: str = "", encoding: str = "", overflow: bool = False
) -> Iterator[Source]:
    """The catalogue at `uri`: a path, ``file://`` or ``s3://`` of a file or folder, or a database's address.

    `query` is for databases, `encoding` and `overflow` for text (`delimited`). Raises `CatalogueError`,
    `SettingsError` and `StorageError`.
    """
    if databases.is_database(uri):
        table = databases.query_table(uri, query)
        yield Source(table, databases.digest_of_rows(table, query), "", folder_of(uri))
        return
    if query:
        raise SettingsError(f"{uri} is no database, so there is nothing to query; leave out --query")
    with tempfile.TemporaryDirectory(prefix="lookalike-table-") as folder:
        files = bring(uri, Path(folder), s3)
        if not any(file.size for file in files.files):
            raise CatalogueError(f"{uri} is an empty file")
        tables = [read_table(file, encoding=encoding, overflow=overflow) for file in files.files]
        yield Source(_together(files.files, tables), files.digest, files.state, folder_of(uri))


def folder_of(uri: str) -> str:
    """The `Source.folder` that `opened` would give."""
    return Path.cwd().as_uri() if databases.is_database(uri) else split_uri(uri.rstrip("/"))[0]


def state_now(uri: str, s3: S3Settings | None = None) -> str:
    """The `Source.state` that `opened` would give now. Raises `ObjectNotFound`."""
    return "" if databases.is_database(uri) else state_of(uri, s3)


def read_table(file: TableFile, *, encoding: str = "", overflow: bool = False) -> Table:
    """A format that a package adds by its extension; else what the first bytes say.

    Raises `CatalogueError`, and `SettingsError` where that package cannot be used.
    """
    extension = file.extension
    if extension not in CATALOGUES or (extension in CATALOGUES.built_in and CATALOGUES[extension] is _ours):
        return _by_content(file, encoding=encoding, overflow=overflow)
    with file.open() as stream:
        table = CATALOGUES[extension](file.uri, stream.read())
    if not isinstance(table, Table):
        raise SettingsError(
            f"{file.uri}: what {CATALOGUES.distribution(extension)} reads it as is a {type(table).__name__}, no Table"
        )
    return table


def _by_content(file: TableFile, *, encoding: str = "", overflow: bool = False) -> Table:
    start = file.start()
    if start.startswith(b"PAR1"):
        return parquet(file)
    if start.startswith(b"PK\x03\x04"):
        return excel(file)
    if start.startswith(b"\xd0\xcf\x11\xe0"):
        raise CatalogueError(f"{file.uri} is an old .xls workbook; save it as .xlsx or CSV")
    if start.startswith(b"SQLite format 3\0"):
        raise CatalogueError(f"{file.uri} is a database; name it sqlite:///{file.uri} and give a --query")
    text = start.removeprefix(b"\xef\xbb\xbf").replace(b"\0", b"").lstrip(b"\xff\xfe \t\r\n")
    if text.startswith(b"<"):
        return feed(file)
    if text.startswith(b"{") or re.match(rb"\[\s*\{", text):
        return json_lines(file)
    return delimited(file, encoding=encoding, overflow=overflow)


def _ours(uri: str, data: bytes) -> Table:
    return _by_content(TableFile.of_bytes(uri, data))


CATALOGUES: Registry[ReadsTable] = Registry(
    "lookalike.catalogues",
    "catalogue format",
    dict.fromkeys(("csv", "jsonl", "parquet", "tsv", "txt", "xlsx", "xml"), _ours),
)
"""Extension of a file's name, in small letters and without the dot -> what reads such a table."""


def _together(files: Sequence[TableFile], tables: Sequence[Table]) -> Table:
    """Several files of one folder as one table, with the columns that their folders' names give."""
    if len(tables) == 1 and not files[0].partitions:
        return tables[0]
    header = tuple(
        dict.fromkeys(
            name
            for file, table in zip(files, tables, strict=True)
            for name in (*table.header, *file.partitions)
        )
    )

    def rows(names: Sequence[str]) -> Rows:
        before = 0
        for file, table in zip(files, tables, strict=True):
            own = [name for name in names if name in table.header and name not in file.partitions]
            line = 0
            for line, row in table.rows(own or table.header[:1]):
                if isinstance(row, RowProblem):
                    yield before + line, row
                else:
                    yield before + line, {name: file.partitions.get(name, row.get(name)) for name in names}
            before += line

    no_text = frozenset().union(*(table.no_text for table in tables))
    notes = [note for table in tables for note in table.notes]
    return replace(tables[0], header=header, rows=rows, no_text=no_text, notes=notes[:1])
