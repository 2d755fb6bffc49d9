"""Colours as their file means them: profiles, PNG's own words for them, transparency, and what is ignored."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lookalike.imaging.photos import load_square, prepare, thumbnail
from tests.imaging.pictures import BLUE, GREEN, RED, WHITE, encoded, quarters
from tests.imaging.profiles import (
    P3,
    SRGB,
    chunk,
    gamma_chunk,
    grey_profile,
    png_with,
    primaries_chunk,
    profile,
    raw_png,
)

HEIC = Path(__file__).parent / "heic"
SHOWN = [(240, 0, 0), (0, 183, 0), (27, 40, 229), WHITE]
"""RED, GREEN and BLUE of Display P3 in sRGB, by the matrix of CSS Color 4, 17; what lies outside is cut off."""


def corners(data: bytes) -> np.ndarray:
    pixels = load_square(data, 40)
    return np.array([pixels[y, x] for y in (8, 31) for x in (8, 31)], int)


def close(data: bytes, wanted: list[tuple[int, int, int]], levels: int = 4) -> bool:
    return bool(np.abs(corners(data) - np.array(wanted)).max() <= levels)


OPTIONS = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True},
    "AVIF": {"quality": 95, "subsampling": "4:4:4"},
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_a_profile_moves_colours(kind: str) -> None:
    plain = encoded(quarters(), kind, **OPTIONS.get(kind, {}))
    wide = encoded(quarters(), kind, icc_profile=profile(), **OPTIONS.get(kind, {}))
    assert close(plain, [RED, GREEN, BLUE, WHITE])
    assert close(wide, SHOWN)


def test_a_heic_of_a_phone_is_shown_by_its_profile() -> None:
    assert close((HEIC / "plain.heic").read_bytes(), [RED, GREEN, BLUE, WHITE])
    assert close((HEIC / "p3.heic").read_bytes(), SHOWN, 8)


def test_what_is_stored_looks_as_what_came() -> None:
    small, large = (
        encoded(quarters(*size), "PNG", icc_profile=profile()) for size in ((200, 150), (800, 600))
    )
    kept = prepare(small, keep_side=320, shrunk_side=256)
    assert kept.stored == small
    shrunk = prepare(large, keep_side=320, shrunk_side=256)
    assert b"ICC_PROFILE" not in shrunk.stored
    for stored in (kept.stored, shrunk.stored, thumbnail(large, 100)):
        assert close(stored, SHOWN, 6)


def test_a_grey_profile_moves_greys() -> None:
    grey = Image.new("L", (60, 60), 64)
    light = encoded(grey, icc_profile=grey_profile(1.0))
    assert abs(int(load_square(light, 8)[4, 4, 0]) - 137) <= 2  # 0.251 of the light, by sRGB's curve
    assert (load_square(encoded(grey), 8) == 64).all()
    moved = load_square(encoded(grey, icc_profile=profile(1.0, SRGB)), 8)
    assert abs(int(moved[4, 4, 0]) - 137) <= 2


@pytest.mark.parametrize(
    "bad",
    [
        b"junk" * 50,
        profile()[:300],
        grey_profile(1.0),
        profile()[:12] + b"link" + profile()[16:],
        profile() + bytes(5_000_000),
    ],
    ids=["junk", "cut off", "grey", "link", "oversized"],
)
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_a_profile_that_does_not_fit_is_ignored(kind: str, bad: bytes) -> None:
    assert close(
        encoded(quarters(), kind, icc_profile=bad, **OPTIONS.get(kind, {})), [RED, GREEN, BLUE, WHITE]
    )


def test_a_jpeg_profile_in_pieces_needs_all_of_them() -> None:
    padded = profile() + bytes(100_000)
    padded = struct.pack(">I", len(padded)) + padded[4:]
    data = encoded(quarters(), "JPEG", icc_profile=padded, **OPTIONS["JPEG"])
    assert close(data, SHOWN)
    second = data.index(b"ICC_PROFILE\0\2\2")
    assert close(data[:second] + b"XCC" + data[second + 3 :], [RED, GREEN, BLUE, WHITE])


def test_cmyk_without_a_profile_is_ink_on_white() -> None:
    assert close(encoded(quarters().convert("CMYK"), "JPEG", **OPTIONS["JPEG"]), [RED, GREEN, BLUE, WHITE])
    assert close(encoded(quarters().convert("CMYK"), "TIFF"), [RED, GREEN, BLUE, WHITE])


def test_lab_is_shown() -> None:
    from PIL import ImageCms

    lab = ImageCms.profileToProfile(
        quarters(), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert close(encoded(lab, "TIFF"), [RED, GREEN, BLUE, WHITE])


# --- PNG's own words ----------------------------------------------------------------------------------------------


def test_a_png_says_gamma_and_primaries() -> None:
    assert close(png_with(quarters(), gamma_chunk(1 / 2.2), primaries_chunk(P3)), SHOWN, 12)
    linear = corners(png_with(Image.new("RGB", (80, 60), (64, 64, 64)), gamma_chunk(1.0)))
    assert np.abs(linear - 137).max() <= 2
    assert close(png_with(quarters(), gamma_chunk(0.45455)), [RED, GREEN, BLUE, WHITE], 0)


def test_numbers_of_video_are_colours_of_a_png() -> None:
    assert close(png_with(quarters(), chunk(b"cICP", bytes([12, 13, 0, 1]))), SHOWN)
    assert close(png_with(quarters(), chunk(b"cICP", bytes([1, 13, 0, 1]))), [RED, GREEN, BLUE, WHITE], 0)


@pytest.mark.parametrize(
    "chunks",
    [
        (gamma_chunk(1.0), primaries_chunk(P3), chunk(b"sRGB", b"\0")),
        (gamma_chunk(0), primaries_chunk(P3)),
        (gamma_chunk(0.45455), primaries_chunk((0.0,) * 8)),
        (primaries_chunk(P3),),
        (gamma_chunk(1.0)[:-1] + b"?",),
    ],
    ids=["sRGB goes before", "no gamma", "no primaries", "primaries alone", "wrong check sum"],
)
def test_other_words_of_a_png_change_nothing(chunks: tuple[bytes, ...]) -> None:
    assert close(png_with(quarters(), *chunks), [RED, GREEN, BLUE, WHITE], 0)


def test_damage_in_a_chunk_that_nobody_needs_refuses_no_photo() -> None:
    damaged = bytearray(encoded(quarters(), "PNG", icc_profile=profile()))
    damaged[damaged.index(b"iCCP") + 40] ^= 255
    assert close(bytes(damaged), [RED, GREEN, BLUE, WHITE], 0)
    see_through = bytearray(png_with(quarters(), chunk(b"tRNS", struct.pack(">3H", *RED))))
    assert tuple(corners(bytes(see_through))[0]) == WHITE
    see_through[see_through.index(b"tRNS") + 11] ^= 1
    assert close(bytes(see_through), [RED, GREEN, BLUE, WHITE], 0)
    cut = encoded(quarters())
    end = cut.index(b"IEND") - 4
    assert close(cut[:end] + struct.pack(">I4s", 9999, b"tEXt") + b"ends early", [RED, GREEN, BLUE, WHITE], 0)


# --- transparency -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_a_see_through_grey_shows_white(depth: int) -> None:
    """The left half is black and see-through, the right half of a grey that is not."""
    most = (1 << depth) - 1
    left, right = 0, max(1, most // 3)
    samples = [left] * 16 + [right] * 16
    row = int("".join(f"{value:0{depth}b}" for value in samples), 2).to_bytes(4 * depth, "big")
    rows = (b"\0" + row) * 32
    data = raw_png(32, 32, depth, 0, rows, chunk(b"tRNS", struct.pack(">H", left)))
    pixels = load_square(data, 32)
    assert tuple(pixels[16, 4]) == WHITE
    assert abs(int(pixels[16, 28, 0]) - right * 255 / most) <= 1


def test_a_see_through_colour_of_16_bits_shows_white() -> None:
    row = struct.pack(">3H", 0x1234, 0x5678, 0x9ABC) * 16 + struct.pack(">3H", 0xFF00, 0, 0) * 16
    data = raw_png(
        32, 32, 16, 2, (b"\0" + row) * 32, chunk(b"tRNS", struct.pack(">3H", 0x1234, 0x5678, 0x9ABC))
    )
    pixels = load_square(data, 32)
    assert tuple(pixels[16, 4]) == WHITE
    assert tuple(pixels[16, 28]) == (255, 0, 0)


def test_transparency_and_a_profile_go_together() -> None:
    image = quarters().convert("RGBA")
    image.paste((0, 0, 0, 0), (40, 30, 80, 60))
    assert close(encoded(image, icc_profile=profile()), SHOWN)
