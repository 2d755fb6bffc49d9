"""Stores by the scheme of their URI: ``s3://bucket/prefix``, ``file:///dir`` or a plain directory path.

Other packages add schemes (`plugins`). boto3 is imported when the first store in S3 is opened: it takes 0.3 s.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lookalike.errors import SettingsError
from lookalike.plugins import Registry
from lookalike.settings import S3Settings
from lookalike.storage.directory import DirectoryStore
from lookalike.storage.objects import ObjectStore

OpensStore = Callable[[str, S3Settings | None], ObjectStore]
"""A store's URI and how to talk to S3, which only stores in S3 read -> the store. Raises `SettingsError`."""


def _s3(uri: str, s3: S3Settings | None) -> ObjectStore:
    from lookalike.storage.s3 import S3Store

    parts = urlsplit(uri)
    if not parts.netloc:
        raise SettingsError(f"{uri}: an S3 address needs a bucket: s3://bucket/prefix")
    return S3Store(parts.netloc, parts.path.strip("/"), s3)


def _directory(uri: str, _: S3Settings | None) -> ObjectStore:
    parts = urlsplit(uri)
    if parts.netloc not in ("", "localhost"):
        raise SettingsError(f"{uri}: a file address has three slashes: file:///dir")
    return DirectoryStore(Path(unquote(parts.path)))


STORES: Registry[OpensStore] = Registry("lookalike.stores", "store", {"file": _directory, "s3": _s3})
"""Scheme -> what opens a store of that scheme."""


def open_store(uri: str, s3: S3Settings | None = None) -> ObjectStore:
    """The store that `uri` names: ``s3://bucket/prefix``, ``file:///dir``, a plain directory path, or an added scheme.

    Raises `SettingsError`.
    """
    scheme = urlsplit(uri).scheme
    if scheme and scheme in STORES:
        store = STORES[scheme](uri, s3)
        if not isinstance(store, ObjectStore):
            raise SettingsError(
                f"{uri}: {STORES.distribution(scheme)} opens it as {type(store).__name__}, which is no ObjectStore"
            )
        return store
    if scheme and "://" in uri:
        added = [name for name in STORES if name not in STORES.built_in]
        more = f"; packages add {', '.join(f'{name}://' for name in added)}" if added else ""
        raise SettingsError(f"{uri}: unknown kind of store; use s3://bucket/prefix or file:///dir{more}")
    return DirectoryStore(Path(uri))


def split_uri(uri: str) -> tuple[str, str]:
    """The URI of the folder an object lies in, and its key there: ``s3://b/x/y.csv`` -> ``s3://b/x``, ``y.csv``."""
    if "://" not in uri:
        uri = Path(uri).expanduser().absolute().as_uri()
    folder, _, name = uri.rpartition("/")
    name = unquote(name) if uri.startswith("file:") else name
    if not name or folder.endswith(":/"):
        raise SettingsError(f"{uri}: names no file")
    return folder, name
