"""What a small file may cost before it is refused, or decoded: milliseconds and some megabytes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lookalike.imaging.limits import QUERY_LIMITS
from lookalike.imaging.photos import foresee
from tests.attacks.photos import ATTACKS, padded_webp

SECONDS = 1.0
"""Each took 30 ms at most on an idle machine; without the checks up to 120 s."""
MEGABYTES = 60
"""Twice the largest file, and Pillow's smallest block."""

MEASURE = """
import json, sys, time
from pathlib import Path
from lookalike.imaging import photos
from lookalike.imaging.limits import QUERY_LIMITS
from lookalike.errors import PhotoError
def peak(): return next(int(l.split()[1]) for l in Path("/proc/self/status").open() if "VmHWM" in l) / 1e3
def cost(data):
    Path("/proc/self/clear_refs").write_text("5")
    before, started, rule = peak(), time.perf_counter(), ""
    try:
        photos.load_square(data, 227, limits=QUERY_LIMITS)
    except PhotoError as error:
        rule = error.rule
    return [rule, time.perf_counter() - started, peak() - before]
files = sorted(Path(sys.argv[1]).iterdir())
for path in files:  # modules and buffers that a first decoding makes are not of that photo
    if path.name.endswith("-of-5000-frames"): cost(path.read_bytes())
print(json.dumps({path.name: cost(path.read_bytes()) for path in files}))
"""


def costs(folder: Path) -> dict[str, tuple[str, float, float]]:
    """Rule, seconds and megabytes of every file, decoded one after the other in a process of its own."""
    done = subprocess.run([sys.executable, "-c", MEASURE, folder], capture_output=True, text=True, check=True)
    return {name: tuple(cost) for name, cost in json.loads(done.stdout).items()}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, float, float]]:
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("peak memory of a part of a process is known on Linux alone")
    folder = tmp_path_factory.mktemp("attacks")
    for name, (make, _) in ATTACKS.items():
        (folder / name).write_bytes(make())
    return costs(folder)


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_costs_milliseconds_and_megabytes(
    name: str, measured: dict[str, tuple[str, float, float]]
) -> None:
    rule, seconds, megabytes = measured[name]
    assert rule == ATTACKS[name][1]
    assert seconds < SECONDS
    assert megabytes < MEGABYTES


def test_the_costliest_photo_that_is_taken_keeps_to_the_limit(tmp_path: Path) -> None:
    """Flat, padded so that its size is believed, and as large as the memory for it allows."""
    data = bytearray(padded_webp(20_000))
    sides = int.from_bytes(data[21:25], "little") & ~0xFFFFFFF
    data[21:25] = (sides | 4079 << 14 | 4079).to_bytes(4, "little")
    (tmp_path / "webp").write_bytes(data)
    foreseen = foresee(bytes(data), 227, limits=QUERY_LIMITS).decoding_bytes
    assert 0.9 * QUERY_LIMITS.max_decoding_bytes < foreseen <= QUERY_LIMITS.max_decoding_bytes
    rule, _, megabytes = costs(tmp_path)["webp"]
    assert rule == ""
    assert megabytes < foreseen / 1e6 + 8
