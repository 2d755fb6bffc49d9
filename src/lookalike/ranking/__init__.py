"""From an encoded photo to hits: which categories to open, scan, merge, re-rank, group."""
