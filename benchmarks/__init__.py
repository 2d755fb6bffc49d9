"""Measurements behind the numbers of the documentation, each a program: ``python -m benchmarks.NAME``."""
