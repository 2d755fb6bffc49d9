"""The command line: one verb per step, in the order in which data flows, and `run` for all of them."""

from lookalike.cli.app import main

__all__ = ["main"]
