"""The operations page: what is live, how good, what is running, and the buttons Retrain, Re-index and Roll back."""

from lookalike.console.server import run

__all__ = ["run"]
