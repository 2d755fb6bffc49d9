"""Tables that grow by parts: each an immutable Parquet file, named by the SHA-256 of its bytes, below one prefix.

Rows enter and stay. Parts are fetched once to this machine's disk and checked against their names. Several processes
may add at the same time, and one may merge what others read: a reader that misses a part lists anew.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lookalike.errors import CorruptObject, ObjectNotFound
from lookalike.storage import leftovers
from lookalike.storage.artefacts import sha256_of_file
from lookalike.storage.objects import ObjectStore
from lookalike.storage.tiers import crowded

_LARGE = 32 << 20
"""Bytes of a part that is not merged any more."""


def read_parts(store: ObjectStore, cache_dir: Path, prefix: str, schema: pa.Schema) -> pa.Table:
    """The columns of `schema` of all parts. Raises `CorruptObject` naming a damaged one."""
    while True:  # parts may be merged and removed while we look
        parts = [_part(store, cache_dir, info.key, schema) for info in store.list(prefix)]
        if all(part is not None for part in parts):
            return pa.concat_tables([schema.empty_table(), *parts])


def read_some(
    store: ObjectStore, cache_dir: Path, parts: Iterable[str], schema: pa.Schema
) -> pa.Table | None:
    """The same of the parts with these keys; None where one of them has gone."""
    found = [schema.empty_table()]
    for key in parts:
        part = _part(store, cache_dir, key, schema)
        if part is None:
            return None
        found.append(part)
    return pa.concat_tables(found)


def add_part(store: ObjectStore, prefix: str, rows: pa.Table) -> str:
    """Store `rows` as one part; its key."""
    out = pa.BufferOutputStream()
    pq.write_table(rows, out, compression="zstd")
    data = out.getvalue().to_pybytes()
    key = f"{prefix}{hashlib.sha256(data).hexdigest()}.parquet"
    store.put(key, data)
    return key


def merge_parts(
    store: ObjectStore,
    cache_dir: Path,
    prefix: str,
    schema: pa.Schema,
    tidied: Callable[[pa.Table], pa.Table],
) -> None:
    """Merge small parts of about one size where there are many. What is merged stays until that is stored."""
    found = list(store.list(prefix))
    chosen = [found[place] for place in crowded([info.size for info in found], _LARGE)]
    parts = [part for info in chosen if (part := _part(store, cache_dir, info.key, schema)) is not None]
    if not parts:
        return
    merged = add_part(store, prefix, tidied(pa.concat_tables(parts)))
    for info in chosen:
        if info.key != merged:
            store.delete(info.key)


def parts_with(store: ObjectStore, cache_dir: Path, prefix: str, column: str) -> Iterator[tuple[str, Path]]:
    """Key and file of those parts that have a column of this name."""
    for info in list(store.list(prefix)):
        path = fetched(store, cache_dir, info.key)
        with contextlib.suppress(FileNotFoundError):
            if path is not None and column in pq.read_schema(path).names:
                yield info.key, path


def fetched(store: ObjectStore, cache_dir: Path, key: str) -> Path | None:
    """An object whose key has its SHA-256 on this machine's disk, or None where it is gone. Raises `CorruptObject`."""
    local = store.local_path(key)
    path = local or cache_dir / key
    try:
        if local is None and not path.exists():
            store.download(key, path)
        elif local is None:
            leftovers.used(path)
        digest = sha256_of_file(path)
    except (ObjectNotFound, FileNotFoundError):
        return None
    if digest not in key:
        if local is None:
            path.unlink(missing_ok=True)
        raise CorruptObject(
            key, f"{store.uri}/{key} does not match its digest: it is damaged; remove it and run again"
        )
    return path


def _part(store: ObjectStore, cache_dir: Path, key: str, schema: pa.Schema) -> pa.Table | None:
    """The columns of `schema` of one part, or None where it is gone. Raises `CorruptObject`."""
    path = fetched(store, cache_dir, key)
    if path is None:
        return None
    with contextlib.suppress(FileNotFoundError), pa.memory_map(str(path)) as file:
        return pq.read_table(file, columns=schema.names).cast(schema)
    return None
