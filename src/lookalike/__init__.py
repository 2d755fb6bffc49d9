"""Photo search over a marketplace's own listings.

The data's way, one room per step::

    catalogue -> curated snapshot -> model release -> code shards -> index snapshot -> live ref -> search

Every step is a plain function that takes references to immutable artefacts and returns one.
"""

__version__ = "0.1.0"
