"""Photo search over a marketplace's own listings.

How data flows, one room per step::

    catalogue -> curated snapshot -> model release -> code shards -> index snapshot -> live ref -> search

Every step is a plain function that takes references to immutable artefacts and returns one. From Python, begin with
`open`: it gives a `Shop` to search, judge, train and publish with. What `__all__` names is the public surface.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lookalike import version

if TYPE_CHECKING:
    from lookalike.api import Shop, open
    from lookalike.errors import LookalikeError
    from lookalike.ranking.filters import Filters
    from lookalike.ranking.request import Hit, SearchRequest
    from lookalike.results import Results
    from lookalike.storage.artefacts import Ref

__version__ = version.VERSION

__all__ = [
    "Filters",
    "Hit",
    "LookalikeError",
    "Ref",
    "Results",
    "SearchRequest",
    "Shop",
    "__version__",
    "open",
]

_HOMES = {
    "Filters": "ranking.filters",
    "Hit": "ranking.request",
    "LookalikeError": "errors",
    "Ref": "storage.artefacts",
    "Results": "results",
    "SearchRequest": "ranking.request",
    "Shop": "api",
    "open": "api",
}


def __getattr__(name: str) -> Any:
    """A public name, imported when it is first used: a search pod that imports one module must not load them all."""
    if name not in _HOMES:
        raise AttributeError(f"module 'lookalike' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"lookalike.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
