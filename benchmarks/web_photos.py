"""Photos of an https server: how fast they are fetched, and what is fetched again after a kill.

    python -m benchmarks.web_photos [--photos 10000] [--json FILE]

A server on this machine, with a certificate of its own, has so many different photos of some 5 kB. `lookalike curate`
fetches them, as a process of its own, and is killed after two fifths. Then it is run again, and once more when all is
there. Server and fetching share the processors.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.photo_site import Site, signed
from benchmarks.report import Entry, machine, write


def photo(seed: int) -> bytes:
    blots = np.random.default_rng(seed).integers(0, 255, (12, 14, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(blots).resize((200, 170), Image.Resampling.BILINEAR).save(out, "JPEG", quality=80)
    return out.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=int, default=10_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        site = Site(signed(root / "site.pem"))
        site.photos = {f"/{i}.jpg": photo(i) for i in range(options.photos)}
        lines = [f"L{i},{site.uri}/{i}.jpg,{'ab'[i % 2]}" for i in range(options.photos)]
        (root / "shop.csv").write_text("listing_id,image,category\n" + "\n".join(lines) + "\n")
        (root / "lookalike.toml").write_text(
            f'cache_dir = "{root / "cache"}"\n[catalogue]\nweb_private = true\nweb_ca = "{root / "site.pem"}"\n'
        )
        command = [sys.executable, "-m", "lookalike", "--config", str(root / "lookalike.toml"), "curate"]
        command += ["--catalogue", str(root / "shop.csv"), "--store", str(root / "store"), "--json"]

        began = time.monotonic()
        first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while site.gets() < options.photos * 2 // 5 and first.poll() is None:
            time.sleep(0.05)
        first.kill()
        first.wait()
        fetched, seconds = site.gets(), time.monotonic() - began
        site.asked.clear()
        began = time.monotonic()
        said = subprocess.run(command, check=True, capture_output=True, text=True)
        again, whole = site.gets(), time.monotonic() - began
        site.asked.clear()
        began = time.monotonic()
        subprocess.run(command, check=True, capture_output=True)
        unchanged, seconds_unchanged = site.gets(), time.monotonic() - began
        site.close()
        assert json.loads(said.stdout), "the snapshot's reference"
    entries = [
        Entry("photos per second, with curation", again / whole, "1/s", "higher"),
        Entry("photos fetched before the kill", float(fetched), "", "higher"),
        Entry("seconds until the kill", seconds, "s", "lower"),
        Entry("photos fetched twice", float(fetched + again - options.photos), "", "lower", 2_200),
        Entry("most connections at a time", float(site.most_together), "", "lower", 6),
        Entry("photos fetched where nothing has changed", float(unchanged), "", "lower", 0),
        Entry("seconds where nothing has changed", seconds_unchanged, "s", "lower"),
    ]
    write(options.json, machine(), entries)


if __name__ == "__main__":
    main()
