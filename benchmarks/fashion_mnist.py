"""Fashion-MNIST as a catalogue: its four IDX files in, PNG photos and a `listings.csv` out.

    python -m benchmarks.fashion_mnist IDX_FOLDER CATALOGUE_FOLDER --store STORE
    lookalike train --recipe fashion_mnist --store STORE

The standard split stays as it is: the 10,000 test photos are `test` and never trained on. Of the 60,000 training
photos the last 2,000 are `val`, for curves and calibration. With `--store` the catalogue is also curated, without
the rules that are there for listing photos: 28 pixels are enough, and alike garments are not near duplicates.

The format is that of Yann LeCun's MNIST: big-endian magic number (type, dimensions), sizes, then bytes.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import struct
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lookalike.catalogue.curation import curate
from lookalike.catalogue.rules import CurationConfig
from lookalike.storage.artefacts import Ref
from lookalike.storage.stores import open_store

CATEGORIES = (
    "tops/t-shirt",
    "bottoms/trouser",
    "tops/pullover",
    "dresses/dress",
    "outerwear/coat",
    "shoes/sandal",
    "tops/shirt",
    "shoes/sneaker",
    "bags/bag",
    "shoes/ankle-boot",
)
VALIDATION = 2000
CURATION = CurationConfig(min_side=28, min_deviation=0.0, find_copies=False, leaks="nothing")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("idx", type=Path, help="folder of train-images-idx3-ubyte.gz and its three siblings")
    parser.add_argument("catalogue", type=Path, help="folder to write listings.csv and the photos to")
    parser.add_argument("--store", default=None, help="curate the catalogue into this store")
    options = parser.parse_args()
    listings = convert(options.idx, options.catalogue)
    print(f"catalogue: {listings}")
    if options.store:
        print(f"curated: {curate_into(options.store, listings)}")


def convert(idx: Path, folder: Path) -> Path:
    """Write the photos and `listings.csv` of the IDX files in `idx` to `folder`; the path of the CSV."""
    rows = []
    for part, stem in (("train", "train"), ("test", "t10k")):
        photos = read_idx(idx / f"{stem}-images-idx3-ubyte.gz")
        labels = read_idx(idx / f"{stem}-labels-idx1-ubyte.gz")
        (folder / part).mkdir(parents=True, exist_ok=True)
        held_back = len(photos) - min(VALIDATION, len(photos) // 10)
        for number, (photo, label) in enumerate(zip(photos, labels, strict=True)):
            name = f"{part}/{number:05d}.png"
            Image.fromarray(photo).save(folder / name)
            split = "val" if part == "train" and number >= held_back else part
            rows.append((f"{part}-{number:05d}", name, CATEGORIES[label], split))
    listings = folder / "listings.csv"
    with listings.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("listing_id", "image", "category", "split"))
        writer.writerows(rows)
    return listings


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array of unsigned bytes in a gzipped IDX file, in its shape. Raises `ValueError` for any other content."""
    data = gzip.decompress(path.read_bytes())
    zeros, kind, dimensions = struct.unpack(">HBB", data[:4])
    if zeros != 0 or kind != 8:
        raise ValueError(f"{path} is no IDX file of unsigned bytes")
    shape = struct.unpack(f">{dimensions}I", data[4 : 4 + 4 * dimensions])
    values = np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions)
    if values.size != np.prod(shape):
        raise ValueError(f"{path} holds {values.size} bytes, its head says {shape}")
    return values.reshape(shape)


def curate_into(store: str, listings: Path) -> Ref:
    """The curated snapshot of the catalogue in `store`."""
    with tempfile.TemporaryDirectory(prefix="fashion-") as cache:
        return curate(open_store(store), str(listings), CURATION, cache_dir=Path(cache))


if __name__ == "__main__":
    main()
