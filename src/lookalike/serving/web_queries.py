"""Query photos that a request names by their web address, fetched by the rules of a catalogue's photos.

Off unless hosts are named: whoever may search could otherwise let this process ask whom he likes. An address must be of
a host that is named, and what a connection is made to must be public (`catalogue.web_photos`), redirects included. What
went wrong is said in the same words whatever it was, so that nobody learns of hosts that he cannot reach himself.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from urllib.parse import urlsplit

from lookalike.catalogue.web_photos import WebPhotos, WebPolicy, is_web
from lookalike.errors import (
    CatalogueError,
    PhotoError,
    QueryError,
    QueryUnreachable,
    SettingsError,
    StorageError,
)

_LOG = logging.getLogger("lookalike.serving")
POLICY = WebPolicy(attempts=1, timeout_s=3.0)
"""A photo comes within 9 seconds or not at all: somebody waits for it."""
_AT_ONCE = 4
_ANEW = 60.0
"""Seconds after which a host that failed often is asked again."""


class WebQueries:
    """Fetches query photos, a few at a time."""

    def __init__(self, hosts: Sequence[str], max_bytes: int, photos: WebPhotos | None = None) -> None:
        """`hosts` may be asked, ``*`` all that are public; none: nobody."""
        self._hosts, self._max_bytes = frozenset(host.lower() for host in hosts), max_bytes
        self._fixed, self._photos, self._since = photos, photos or WebPhotos(POLICY), time.monotonic()
        self._lock = Lock()
        self.threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="image-url")

    def check(self, address: str) -> None:
        """Raises `QueryError` for an address that is not asked, as far as its text tells."""
        if not self._hosts:
            raise QueryError(
                "image_url: this process fetches no photos (serving.image_hosts); send the photo"
            )
        if not is_web(address):
            raise QueryError("image_url: give an address that begins with https:// or http://")
        try:
            host = (urlsplit(address).hostname or "").lower()
        except ValueError:
            host = ""
        if not host or not ("*" in self._hosts or host in self._hosts):
            raise QueryError(f"image_url: photos of {host[:100]!r} are not fetched")

    def fetch(self, address: str) -> bytes:
        """The photo's bytes. Raises `QueryUnreachable`, or `PhotoError` where it has too many."""
        try:
            data, _ = self._current().read(address, length=self._max_bytes + 1)
        except (StorageError, CatalogueError, SettingsError) as error:
            _LOG.info("a query photo was not fetched: %s", error)
            raise QueryUnreachable("image_url: no photo could be fetched from there") from error
        if len(data) > self._max_bytes:
            raise PhotoError("bytes", f"a photo may have {self._max_bytes:,} bytes at most")
        return data

    def stop(self) -> None:
        """Let what is under way end."""
        self.threads.shutdown(cancel_futures=True)

    def _current(self) -> WebPhotos:
        """Those that remember which hosts fail, for a while."""
        with self._lock:
            if self._fixed is None and time.monotonic() - self._since > _ANEW:
                self._photos, self._since = WebPhotos(POLICY), time.monotonic()
            return self._photos
