"""The sample catalogue: drawn, deterministic, with everything in it that real catalogues have, flaws
included.

::

    write_sample(directory)
        catalogue.csv    photos/        what the shop offers
        queries.csv      query-photos/  the same products photographed anew, worse, by shoppers
        planted.csv                     which listings are wrong on purpose, and how

Way of a photo: a product's variant (`products`) is drawn (`garments`, `wares`, with `drawing`, `surfaces`,
`looks`), then photographed (`scenes`); `flaws` breaks some; `shop` decides who offers what and writes the
tables.
"""

from sample_shop.shop import SamplePaths, drawers, write_sample

__all__ = ["SamplePaths", "drawers", "write_sample"]
