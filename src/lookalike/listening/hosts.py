"""Which host a request is for.

A request that names no host, or two, is refused whatever the settings: whoever forwards it and whoever answers could
each believe another. Where names are known, others are refused, too: a stranger's name that leads to this process
(DNS rebinding) would make a browser take it for the stranger's own site.
"""

from __future__ import annotations

from collections.abc import Collection

from starlette.types import Scope

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
"""What a process that listens for its own machine alone is called there."""


def wrong_host(scope: Scope, names: Collection[str]) -> str:
    """What is wrong with the host of a request; empty where nothing is. `names`, if any, are those it may have, in
    lower case and without port."""
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if len(hosts) != 1:
        return f"a request names one host, not {len(hosts) or 'none'}"
    name = _without_port(hosts[0].decode("latin-1")).lower()
    if names and name not in names:
        return f"this is not {name[:100]!r}"
    return ""


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() else host
