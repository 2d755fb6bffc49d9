"""Aspect models: what a photo's colour, brand or pattern is likely to be."""
