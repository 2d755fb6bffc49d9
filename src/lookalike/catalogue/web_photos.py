"""Photos at web addresses: fetched politely, and from public addresses alone.

An ``https://`` or ``http://`` address enters; bytes and their version leave. Whoever writes the catalogue chooses the
addresses, so none of them may lead into the operator's own network. The address that a connection is made to is judged
itself, at the moment it is made: a name that resolves anew to another address, a redirect, or an IPv4 address inside an
IPv6 one changes nothing (https://cheatsheetseries.owasp.org, Server-Side Request Forgery). User names in addresses are
refused, no cookies or credentials are sent, and proxies of the environment are not used.

A host is asked by few connections at a time, again after a pause where it is busy, and no more once it fails often.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, LocationParseError, NewConnectionError
from urllib3.util import Timeout

from lookalike.errors import ObjectNotFound, PhotoOutside, SettingsError, StorageError

Resolves = Callable[[str, int], Sequence[str]]
"""A host and a port -> its addresses. Raises `OSError`."""

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
_MOVED = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 5
_FAILURES = 20
"""Failures of a host in a row, after which it is not asked again in this run."""
_STEP = 64 << 10
_HEADERS = {"User-Agent": "Lookalike (photo search)", "Accept": "image/*", "Accept-Encoding": "identity"}


@dataclass(frozen=True, slots=True)
class WebPolicy:
    """How photos are fetched from the web."""

    private: bool = False
    """Fetch from private addresses, too."""
    per_host: int = 6
    """Connections to one host at a time."""
    attempts: int = 3
    """Times that a photo is asked for where its host is busy or does not answer."""
    timeout_s: float = 20.0
    """Seconds to wait for a connection or for the next bytes; a photo may take three times as long in all."""
    ca: str = ""
    """File of the authorities (PEM) whose certificates are believed; empty for the system's."""
    longest_pause_s: float = 30.0
    """Seconds to wait before another attempt, at most, whatever the host asks for."""


def is_web(image: str) -> bool:
    """Whether `image` is an address of the web."""
    return image[:8].lower().startswith(("https://", "http://"))


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet, by itself and by any address inside it."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inside = [found.ipv4_mapped, found.sixtofour, *(found.teredo or ())]
        if found in _NAT64:
            inside.append(ipaddress.IPv4Address(int(found) & 0xFFFFFFFF))
        if any(x is not None and not is_public(str(x)) for x in inside):
            return False
        if found.ipv4_mapped is not None:
            return True
    return found.is_global and not found.is_multicast


def _resolve(host: str, port: int) -> list[str]:
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class _Private(OSError):
    """Every address of a host is one that must not be asked."""


class WebPhotos:
    """Photos of the web by their addresses. Safe for several threads."""

    def __init__(self, policy: WebPolicy | None = None, resolve: Resolves = _resolve) -> None:
        self._policy = policy or WebPolicy()
        self._pools = _pools(self._policy, resolve)
        self._failures: Counter[str] = Counter()
        self._lock = threading.Lock()

    def check(self, image: str) -> None:
        """Raises `PhotoOutside` for an address that must not be asked, as far as its text tells, and `SettingsError`
        for one that is none."""
        try:
            parts = urlsplit(image)
            host, _ = parts.hostname, parts.port
        except ValueError as error:
            raise SettingsError(f"not an address: {image!r}") from error
        if not host or parts.scheme.lower() not in ("http", "https") or any(c.isspace() for c in image):
            raise SettingsError(f"not an address: {image!r}")
        if parts.username is not None or parts.password is not None:
            raise PhotoOutside(f"{_shown(image)} holds a user name; photos are fetched without credentials")
        try:
            literal = str(ipaddress.ip_address(host.partition("%")[0]))
        except ValueError:
            return  # a name, which is judged by where it leads
        if not self._policy.private and not is_public(literal):
            raise PhotoOutside(f"{image} leads to a private address")

    def read(self, image: str, *, length: int) -> tuple[bytes, str]:
        """The first `length` bytes of a photo, and its validator: ETag or else Last-Modified; empty where it has none.

        Raises `ObjectNotFound`, `PhotoOutside`, and `StorageError` for whatever another run may not meet again.
        """
        return self._asked("GET", image, length)

    def validator(self, image: str) -> str | None:
        """The validator that a photo has now, empty where it has none; None where there is no photo."""
        try:
            return self._asked("HEAD", image, 0)[1]
        except (StorageError, PhotoOutside, SettingsError):
            return None

    def _asked(self, method: str, image: str, length: int) -> tuple[bytes, str]:
        host = urlsplit(image).netloc
        if self._failures[host] >= _FAILURES:
            raise StorageError(image, f"{host} failed {_FAILURES} times in a row and is not asked again")
        problem = ""
        for attempt in range(self._policy.attempts):
            try:
                found, pause, problem = self._once(method, image, length)
            except (HTTPError, OSError) as error:
                found, pause, problem = None, 0.0, _words(error)
            if found is not None:
                self._failures.pop(host, None)
                return found
            if attempt + 1 < self._policy.attempts:
                time.sleep(min(max(pause, 0.25 * 4**attempt), self._policy.longest_pause_s))
        with self._lock:
            self._failures[host] += 1
        raise StorageError(image, f"{_shown(image)}: {problem}")

    def _once(self, method: str, image: str, length: int) -> tuple[tuple[bytes, str] | None, float, str]:
        """Bytes and validator; or None, the seconds to wait, and why."""
        address, deadline = image, time.monotonic() + 3 * self._policy.timeout_s
        for _ in range(_MOST_REDIRECTS + 1):
            self.check(address)
            try:
                answer = self._pools.urlopen(
                    method, address, headers=_HEADERS, redirect=False, retries=False, preload_content=False
                )
            except LocationParseError as error:
                raise SettingsError(f"not an address: {address!r}") from error
            except (NewConnectionError, _Private) as error:
                if isinstance(error, _Private) or isinstance(error.__cause__, _Private):
                    raise PhotoOutside(f"{_shown(image)} leads to a private address") from error
                raise
            try:
                if answer.status in _MOVED and (moved := answer.headers.get("Location")):
                    address = urljoin(address, moved)
                    continue
                return self._judged(answer, image, length, deadline)
            finally:
                answer.close()
                answer.release_conn()
        raise StorageError(image, f"{_shown(image)} is redirected more than {_MOST_REDIRECTS} times")

    def _judged(
        self, answer: Any, image: str, length: int, deadline: float
    ) -> tuple[tuple[bytes, str] | None, float, str]:
        if answer.status in _BUSY:
            asked = answer.headers.get("Retry-After", "")
            return None, float(asked) if asked.isdigit() else 0.0, f"the host answers {answer.status}"
        if answer.status in (404, 410):
            raise ObjectNotFound(image, f"{_shown(image)} does not exist ({answer.status})")
        if answer.status != 200:
            raise StorageError(image, f"{_shown(image)}: the host answers {answer.status}")
        kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if (
            kind
            and not kind.startswith("image/")
            and kind not in ("application/octet-stream", "binary/octet-stream")
        ):
            raise StorageError(image, f"{_shown(image)} is no photo, but {kind[:60]}")
        token = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
        stated = answer.headers.get("Content-Length", "")
        pieces, size = [], 0
        if not length:
            answer.read()  # of HEAD, whose connection is free again then
        while size < length and (piece := answer.read(min(_STEP, length - size))):
            pieces.append(piece)
            size += len(piece)
            if time.monotonic() > deadline:
                raise StorageError(image, f"{_shown(image)} came too slowly")
        if length and stated.isdigit() and size < min(int(stated), length):
            return None, 0.0, f"only {size:,} of {int(stated):,} bytes came"
        return (b"".join(pieces), token), 0.0, ""


def _pools(policy: WebPolicy, resolve: Resolves) -> urllib3.PoolManager:
    """Pools whose connections choose the address that they connect to themselves."""

    def connect(connection: HTTPConnection) -> socket.socket:
        problem: OSError = OSError("it has no address")
        try:
            addresses = resolve(connection._dns_host, connection.port)
        except OSError as error:
            raise NewConnectionError(connection, f"no such host ({error})") from error
        allowed = [address for address in addresses if policy.private or is_public(address)]
        if addresses and not allowed:
            raise NewConnectionError(connection, "a private address") from _Private()
        for address in allowed:
            try:
                return socket.create_connection((address, connection.port), policy.timeout_s)
            except OSError as error:
                problem = error
        raise NewConnectionError(connection, f"no connection ({problem})") from problem

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return connect(self)

    class Secure(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return connect(self)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    pools = urllib3.PoolManager(
        num_pools=64,
        maxsize=policy.per_host,
        block=True,
        timeout=Timeout(policy.timeout_s, policy.timeout_s),
        ca_certs=policy.ca or None,
    )
    pools.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}
    return pools


def _shown(image: str) -> str:
    """An address without what may be a secret in it."""
    parts = urlsplit(image)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _words(error: Exception) -> str:
    text = str(error).partition("\n")[0]
    return text.rpartition("object at 0x")[2].partition(">: ")[2] or text or type(error).__name__
