"""The search endpoint: the HTTP API, the page, and the life of a search process."""

from lookalike.serving.config import ServingConfig
from lookalike.serving.server import index_named, require_free, run, run_ranker

__all__ = ["ServingConfig", "index_named", "require_free", "run", "run_ranker"]
