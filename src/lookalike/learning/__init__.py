"""From a curated snapshot to a model release. The only room that imports torch."""
