"""The command line: one verb per step of the data's way, and `run` for all of them."""

from lookalike.cli.app import main

__all__ = ["main"]
