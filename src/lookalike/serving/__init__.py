"""The search endpoint: the HTTP API, the page, and the life of a search process."""

from lookalike.serving.access import AccessConfig
from lookalike.serving.config import ServingConfig
from lookalike.serving.server import index_named, require_free, run, run_ranker

__all__ = ["AccessConfig", "ServingConfig", "index_named", "require_free", "run", "run_ranker"]
