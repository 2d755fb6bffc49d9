"""Tests of the benchmarks: that they run to the end on little data, and count right."""
