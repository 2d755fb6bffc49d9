"""A search process in the memory that its manifest gives it, under a burst of the worst photos that can be sent."""

from __future__ import annotations

import io
import json
import os
import platform
import re
import signal
import socket
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

from tests.attacks.photos import FLAT_WEBP
from tests.serving.cgroup import MemoryCgroup, memory_cgroup
from tests.serving.running import eventually
from tests.shop import Shop, render

MANIFEST = Path(__file__).parents[2] / "k8s/base/search/deployment.yaml"
VASE = render("home/vase", 5)
BOMBS, HUGE = 12, 14
SLOWER, SECONDS = 8, 0.3
"""Times that an ordinary search may take beside the burst, in the median, or seconds if that is more: 1.2 to 1.4 where
other work leaves the processes of this test two cores, 7 among a whole suite of tests on those two."""


BURST = f"""
import json, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import httpx
photo, bomb = Path(sys.argv[2]).read_bytes(), bytes.fromhex(sys.argv[3])
with httpx.Client(base_url=sys.argv[1], timeout=120) as client, ThreadPoolExecutor({BOMBS + HUGE}) as crowd:
    send = lambda body: client.post("/v1/search", content=body).status_code
    print(json.dumps(list(crowd.map(send, [bomb] * {BOMBS} + [photo] * {HUGE}))))
"""


KEPT = """
import sys
from pathlib import Path
from lookalike.serving.memory import return_freed_memory
def resident(): return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6
fixed = return_freed_memory() if sys.argv[1] == "fixed" else None
bytearray(24_000_000)  # glibc takes blocks up to this size from its heap from now on
before, photos, small = resident(), [], []
for _ in range(20):
    photos.append(bytearray(b"x") * 8_000_000)
    small.append(bytearray(b"x") * 200_000)
del photos
print(fixed, resident() - before)
"""


def limit_of_manifest() -> int:
    found = re.search(r"limits: \{memory: (\d+)Gi", MANIFEST.read_text())
    assert found
    return int(found[1]) << 30


def huge_photo() -> bytes:
    """A JPEG of 15 MB and some 48 megapixels, as a phone makes them."""
    grain = np.random.default_rng(3).integers(0, 256, (750, 1000), np.uint8)
    image = Image.fromarray(grain).resize((8000, 6000), Image.Resampling.BICUBIC).convert("RGB")
    out = io.BytesIO()
    image.save(out, "JPEG", quality=93)
    data = out.getvalue()
    assert 8_000_000 < len(data) < 15_000_000, len(data)
    return data + bytes(15_000_000 - len(data))  # phones append a film


@contextmanager
def serving(shop: Shop, group: MemoryCgroup) -> Iterator[tuple[httpx.Client, psutil.Process]]:
    """`lookalike serve` as a process of its own in that group, ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = (
        "from pathlib import Path; from lookalike import serving; "
        f"serving.run({shop.store.uri!r}, port={port}, index={str(shop.index)!r}, threads=2, "
        f"cache_dir=Path({str(shop.cache_dir)!r}))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(
        [sys.executable, "-c", f"import sys; sys.stdin.read(1); {code}"],
        env=environment,
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        group.add(process.pid)
        assert process.stdin
        process.stdin.write(b"x")
        process.stdin.close()
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            eventually(lambda: ready(client), 60)
            yield client, psutil.Process(process.pid)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()


def ready(client: httpx.Client) -> bool:
    with suppress(httpx.TransportError):
        return client.get("/readyz").status_code == 200
    return False


def seconds(client: httpx.Client) -> float:
    reply = client.post("/v1/search", content=VASE)
    assert reply.status_code == 200
    return reply.elapsed.total_seconds()


def test_a_burst_of_bombs_and_huge_photos_fits_the_manifest_and_leaves_searches_alone(
    shop: Shop, tmp_path: Path
) -> None:
    (tmp_path / "photo").write_bytes(huge_photo())
    with memory_cgroup(limit_of_manifest()) as group, serving(shop, group) as (client, process):
        for _ in range(10):
            seconds(client)
        alone = statistics.median(seconds(client) for _ in range(30))
        before = process.memory_info().rss
        beside = []
        words = [str(client.base_url), str(tmp_path / "photo"), FLAT_WEBP.hex()]
        with subprocess.Popen([sys.executable, "-c", BURST, *words], stdout=subprocess.PIPE) as burst:
            while burst.poll() is None:
                beside.append(seconds(client))
            assert burst.stdout
            statuses = json.loads(burst.stdout.read())
        kept = process.memory_info().rss - before
        numbers = {
            "milliseconds alone": round(1e3 * alone, 1),
            "milliseconds beside": round(1e3 * statistics.median(beside), 1),
            "searches beside": len(beside),
            "peak MB with page cache": group.peak // 1_000_000,
            "kept MB": kept // 1_000_000,
            "huge answered": statuses[BOMBS:].count(200),
        }
        assert group.kills == 0, numbers
        assert set(statuses[:BOMBS]) == {413}
        assert set(statuses[BOMBS:]) <= {200, 503}
        assert statuses[BOMBS:].count(200) >= 1, numbers
        assert statistics.median(beside) < max(SLOWER * alone, SECONDS), numbers
        assert kept < 250_000_000, numbers
        assert seconds(client) < 10


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps freed blocks like this")
def test_memory_of_photos_goes_back_to_the_system() -> None:
    def kept(how: str) -> tuple[str, float]:
        words = [sys.executable, "-c", KEPT, how]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        said = subprocess.run(words, capture_output=True, text=True, check=True, env=environment).stdout
        return said.split()[0], float(said.split()[1])

    assert kept("as it was")[1] > 100
    fixed, megabytes = kept("fixed")
    assert fixed == "True"
    assert megabytes < 20
