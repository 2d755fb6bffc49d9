"""What the door for image bytes refuses, by which rule, and how much memory it takes before it knows."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lookalike.errors import PhotoError
from lookalike.imaging.limits import QUERY_LIMITS, Limits, PhotoLimits
from lookalike.imaging.photos import (
    load_square,
    prepare,
    probe,
    thumbnail,
)
from tests.imaging.pictures import encoded, quarters, waves


def png_header(width: int, height: int) -> bytes:
    """A PNG of that size by its header, with hardly any data behind it."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def rule_of(data: bytes, limits: Limits | None = None) -> str:
    with pytest.raises(PhotoError) as caught:
        load_square(data, 32, limits=limits or PhotoLimits())
    assert "\n" not in str(caught.value)
    return caught.value.rule


@pytest.mark.parametrize("kind", ["ICO", "PPM", "TGA", "JPEG2000", "PCX", "SGI", "DDS"])
def test_other_formats_of_pillow_are_refused(kind: str) -> None:
    assert rule_of(encoded(quarters(64, 64), kind)) == "type"


def test_eighty_megapixels_are_refused_before_decoding() -> None:
    assert rule_of(png_header(10_000, 8_000)) == "pixels"
    assert rule_of(png_header(2**31 - 1, 2**31 - 1)) == "pixels"


def test_a_webp_canvas_too_large_is_refused_before_it_is_allocated() -> None:
    extended = b"RIFF\x4c\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff\x3f\0" * 2 + b"VP8L" + b"\0" * 50
    assert rule_of(extended) == "pixels"


def test_a_jpeg_too_large_is_refused_before_decoding() -> None:
    data = bytearray(encoded(quarters(), "JPEG"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", 65_000, 65_000)
    assert rule_of(bytes(data)) == "pixels"


PEAK = """
import sys, pathlib
from lookalike.imaging import photos
data, tiny = sys.stdin.buffer.read(), pathlib.Path(sys.argv[1]).read_bytes()
status, again = pathlib.Path("/proc/self/status"), pathlib.Path("/proc/self/clear_refs")
def peak(): return 1024 * next(int(l.split()[1]) for l in status.read_text().splitlines() if "VmHWM" in l)
photos.load_square(tiny, 8)
again.write_text("5")
before = peak()
photos.load_square(data, 256)
print(peak() - before, photos.probe(data).decoding_bytes)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("PNG", "RGBA", {}),
        ("PNG", "LA", {}),
        ("PNG", "I;16", {}),
        ("JPEG", "CMYK", {"progressive": True, "subsampling": 0}),
        ("WEBP", "RGBA", {"method": 0}),
        ("AVIF", "RGBA", {"subsampling": "4:4:4", "speed": 10}),
        ("GIF", "RGB", {}),
        ("TIFF", "RGBA", {"compression": "tiff_deflate"}),
        ("TIFF", "CMYK", {"compression": "tiff_lzw"}),
    ],
)
def test_decoding_takes_no_more_memory_than_foretold(
    kind: str, mode: str, options: dict[str, object], tmp_path: Path
) -> None:
    image = quarters(3000, 3000)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) << 8)
    elif mode in ("RGBA", "LA"):
        image.putalpha(image.convert("L"))
        image = image.convert(mode)
    else:
        image = image.convert(mode)
    small = tmp_path / "small"
    small.write_bytes(encoded(quarters(), kind))
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(small)],
        input=encoded(image, kind, **options),
        capture_output=True,
        check=True,
    )
    grown, foretold = map(int, done.stdout.split())
    assert grown < foretold + 8_000_000


def with_scans(count: int) -> bytes:
    """A progressive JPEG that refines its last bits again and again."""
    data = encoded(waves(80, 60), "JPEG", progressive=True)
    refinement = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + refinement * (count - data.count(b"\xff\xda\0")) + b"\xff\xd9"


def test_a_jpeg_of_very_many_scans_is_refused_before_decoding() -> None:
    assert load_square(with_scans(100), 32).shape == (32, 32, 3)
    with pytest.raises(PhotoError, match="more than 100 scans") as caught:
        load_square(with_scans(101), 32)
    assert caught.value.rule == "effort"
    assert rule_of(with_scans(17), QUERY_LIMITS) == "effort"
    assert load_square(with_scans(16), 32, limits=QUERY_LIMITS).shape == (32, 32, 3)


def test_what_comes_behind_a_jpeg_is_not_taken_for_scans() -> None:
    """Phones append a film to a photo, in which any two bytes occur."""
    film = np.random.default_rng(0).bytes(10_000_000)
    assert film.count(b"\xff\xda") > 100
    assert load_square(encoded(quarters(), "JPEG") + film, 32).shape == (32, 32, 3)


def test_the_caps_can_be_changed() -> None:
    data = encoded(quarters())
    assert rule_of(data, PhotoLimits(max_bytes=len(data) - 1)) == "bytes"
    assert rule_of(data, PhotoLimits(max_pixels=80 * 60 - 1)) == "pixels"
    assert load_square(data, 8, limits=PhotoLimits(len(data), 80 * 60)).shape == (8, 8, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_a_photo_that_ends_early_is_refused(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    assert rule_of(data[: len(data) * 2 // 3]) in {"truncated", "damaged"}
    if kind in ("JPEG", "WEBP"):
        assert rule_of(data[: len(data) * 2 // 3]) == "truncated"


def test_a_large_truncated_jpeg_is_refused_when_decoded_small() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (1200, 1200, 3), np.uint8)
    data = encoded(Image.fromarray(noise), "JPEG")
    assert rule_of(data[: len(data) // 2]) == "truncated"
    with pytest.raises(PhotoError):
        thumbnail(data[: len(data) // 2], 100)


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"", "empty"),
        (b"this is text, whatever its name says", "type"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "type"),
        (b"\xff\xd8\xff", "damaged"),
        (b"\x89PNG\r\n\x1a\n", "damaged"),
        (b"RIFF\x04\0\0\0WEBP", "truncated"),
    ],
)
def test_what_is_no_photo_is_named(data: bytes, rule: str) -> None:
    assert rule_of(data) == rule
    for look in (probe, lambda d: thumbnail(d, 10), lambda d: prepare(d, keep_side=9, shrunk_side=8)):
        with pytest.raises(PhotoError):
            look(data)


_HEIC = (Path(__file__).parent / "heic" / "p3.heic").read_bytes()
_SOUND = [encoded(quarters(), kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")] + [
    _HEIC
]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_broken_bytes_raise_photo_errors_only(data: st.DataObject) -> None:
    good = bytearray(data.draw(st.sampled_from(_SOUND)))
    for _ in range(data.draw(st.integers(1, 8))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    broken = bytes(good[: data.draw(st.integers(0, len(good)))])
    with suppress(PhotoError):
        assert load_square(broken, 16).shape == (16, 16, 3)
