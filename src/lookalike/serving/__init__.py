"""The search endpoint: the HTTP API, the page, and the life of a search process.

The functions of `server` are imported when they are named: whoever only reads `ServingConfig`, to check a
settings file, loads no server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lookalike.serving.access import AccessConfig
from lookalike.serving.config import ServingConfig

if TYPE_CHECKING:
    from lookalike.serving.server import index_named, require_free, run, run_ranker

__all__ = ["AccessConfig", "ServingConfig", "index_named", "require_free", "run", "run_ranker"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__} has no attribute {name!r}")
    from lookalike.serving import server

    return getattr(server, name)
