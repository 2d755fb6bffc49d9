"""How many files the process may open: every connection is one, and where there is none left no port answers."""

from __future__ import annotations

import logging
import resource

_LOG = logging.getLogger("lookalike.serving")
WAITING = 1024
"""Connections that wait at the door for their turn; what is more waits in the kernel, in order of arrival."""
_OTHERS = 512 + WAITING
"""Files beside the connections: those that wait at the door, segments, the store's connections, probes."""


def allow_files(connections: int) -> int:
    """Raise the soft limit on open files for `connections`; the number of connections that fit under the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHERS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        soft = allowed
    if soft != resource.RLIM_INFINITY and soft < wanted:
        fitting = max(2, soft - _OTHERS, soft // 2)
        _LOG.warning(
            "%d open files are allowed: %d connections instead of %d (ulimit -n)", soft, fitting, connections
        )
        return fitting
    return connections


def waiting_places() -> int:
    """How many connections may wait at the door: a quarter of the files at most."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return WAITING if soft == resource.RLIM_INFINITY else min(WAITING, soft // 4)
