"""However many threads read photos, what they decode at a time stays within a limit of memory."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

import numpy as np
import pytest
from PIL import Image

from lookalike.catalogue.budget import Budget
from lookalike.imaging.photos import foresee_preparing
from lookalike.settings import S3Settings
from lookalike.storage.stores import open_store
from tests.catalogue.conftest import Shop, plain
from tests.catalogue.test_curation_s3 import s3  # noqa: F401  a fixture

CURATE = """
import sys
from pathlib import Path
from lookalike.catalogue.curation import CurationConfig, curate
from lookalike.settings import S3Settings
from lookalike.storage.stores import open_store
def peak():
    status = Path("/proc/self/status").read_text()  # getrusage starts at what pytest has
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024
import lookalike.imaging.photos, imagehash, scipy.fftpack, botocore.session
before = peak()
config = CurationConfig(min_category=2, find_copies=False)
store, uri, cache = sys.argv[1:]
curate(open_store(store), uri, config, photo_roots=["s3://shop/large"], s3=S3Settings(), cache_dir=Path(cache))
print(before, peak())
"""


def test_what_threads_take_together_stays_within_the_limit() -> None:
    budget, lock = Budget(100), Lock()
    held: list[int] = []
    most: list[int] = []

    def work(size: int) -> None:
        with budget.taken(size):
            with lock:
                held.append(size)
                most.append(sum(min(one, 100) for one in held))
            with lock:
                held.remove(size)

    sizes = np.random.default_rng(0).choice([1, 30, 60, 100, 1000], 2000).tolist()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, sizes))
    assert len(most) == 2000
    assert max(most) <= 100


def test_bytes_that_failing_work_took_are_free_again() -> None:
    budget = Budget(10)
    for _ in range(3):
        with pytest.raises(ValueError, match="no photo"), budget.taken(10):
            raise ValueError("no photo")


def large(number: int) -> bytes:
    """A PNG of 12 megapixels, of which blots make it another one each."""
    blots = np.random.default_rng(number).integers(0, 255, (6, 8, 3), np.uint8)
    out = io.BytesIO()
    image = Image.fromarray(blots).resize((4000, 3000), Image.Resampling.NEAREST)
    image.save(out, "PNG", compress_level=1)
    return out.getvalue()


def test_large_photos_of_a_bucket_are_decoded_within_the_limit(shop: Shop, s3: S3Settings) -> None:  # noqa: F811
    count, one = 10, foresee_preparing(large(0), shrunk_side=256) / 1e6
    bucket = open_store("s3://shop/large", s3)
    for number in range(count):
        bucket.put(f"{number}.png", large(number))
    rows = [row | {"image": f"s3://shop/large/{number}.png"} for number, row in enumerate(plain(count))]
    uri = shop.write(rows, {})
    limit = 1.5 * one
    grown = {}
    for said in (limit, 100 * one):
        folder = shop.cache / str(said)
        environment = os.environ | {
            "LOOKALIKE_CATALOGUE_DECODING_MB": str(int(said)),
            "MALLOC_MMAP_THRESHOLD_": "1048576",  # as in the images
            "S3_ENDPOINT_URL": str(s3.endpoint_url),
        }
        command = [sys.executable, "-c", CURATE, str(folder / "store"), uri, str(folder / "cache")]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        before, peak = map(int, done.stdout.split())
        grown[said] = peak - before
    assert grown[limit] < limit + 100, "one at a time"
    assert grown[100 * one] > grown[limit] + 2 * one, "sixteen threads decode many at a time where they may"
