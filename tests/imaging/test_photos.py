"""What the door for image bytes lets in, and how it turns it into pixels."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lookalike.errors import QueryError
from lookalike.imaging.limits import PhotoInfo
from lookalike.imaging.photos import (
    contact_sheet,
    load_square,
    prepare,
    probe,
    thumbnail,
)
from tests.imaging.pictures import BLUE, GREEN, RED, WHITE, encoded, quarters, waves


def corners(pixels: np.ndarray) -> list[tuple[int, int, int]]:
    """Colours near the four corners: top left, top right, bottom left, bottom right."""
    near, far = pixels.shape[0] // 5, pixels.shape[0] - pixels.shape[0] // 5
    return [tuple(int(v) for v in pixels[y, x]) for y in (near, far) for x in (near, far)]


def close(found: list[tuple[int, int, int]], wanted: list[tuple[int, int, int]]) -> bool:
    return bool(np.abs(np.array(found, int) - np.array(wanted, int)).max() < 25)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_three_formats_become_the_same_pixels(kind: str) -> None:
    data = encoded(quarters(), kind)
    assert probe(data) == PhotoInfo(kind, 80, 60)
    pixels = load_square(data, 40)
    assert pixels.shape == (40, 40, 3)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert close(corners(pixels), [RED, GREEN, BLUE, WHITE])


def in_mode(mode: str) -> bytes:
    """A photo all of one colour, in a mode that is not RGB."""
    plain = Image.new("RGB", (30, 30), RED)
    match mode:
        case "I;16":
            return encoded(Image.fromarray(np.full((30, 30), 200 << 8, np.uint16)))
        case "1":
            return encoded(Image.new("1", (30, 30), 1))
        case "PA":
            return encoded(plain.convert("RGBA").quantize(8))
        case "CMYK":
            return encoded(plain.convert("CMYK"), "JPEG", quality=95)
        case _:
            return encoded(plain.convert(mode))


@pytest.mark.parametrize(
    ("mode", "colour"),
    [
        ("L", (86, 86, 86)),
        ("LA", (86, 86, 86)),
        ("1", WHITE),
        ("P", RED),
        ("PA", RED),
        ("RGBA", RED),
        ("CMYK", RED),
        ("I;16", (200, 200, 200)),
    ],
)
def test_every_mode_becomes_rgb(mode: str, colour: tuple[int, int, int]) -> None:
    pixels = load_square(in_mode(mode), 10)
    assert pixels.shape == (10, 10, 3)
    assert close([tuple(int(v) for v in pixels[5, 5])], [colour])


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_what_is_see_through_shows_white(kind: str) -> None:
    image = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    image.paste((*BLUE, 255), (0, 0, 40, 20))
    pixels = load_square(encoded(image, kind, **({"lossless": True} if kind == "WEBP" else {})), 40)
    assert close(corners(pixels), [BLUE, BLUE, WHITE, WHITE])


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "I;16"])
def test_a_photo_of_several_tiles_is_flattened_as_one_piece(mode: str) -> None:
    side = 1100
    noise = np.random.default_rng(3).integers(0, 256, (side, side, 4), np.uint8)
    if mode == "I;16":
        deep = np.ascontiguousarray(noise[..., :2]).view("<u2")[..., 0]
        image, expected = Image.fromarray(deep), np.repeat(deep[..., None] >> 8, 3, axis=2)
    else:
        image = Image.fromarray(noise).convert("L").quantize(8) if mode == "P" else Image.fromarray(noise)
        image = image.convert(mode)
        image.info |= {"transparency": 3} if mode == "P" else {}
        whole = Image.new("RGB", (side, side), "white")
        whole.paste(image.convert("RGBA"), mask=image.convert("RGBA").getchannel("A"))
        expected = np.asarray(whole)
    assert (load_square(encoded(image, compress_level=1), side) == expected).all()


def test_a_palette_with_a_see_through_colour_shows_white_there() -> None:
    image = Image.new("P", (20, 20), 0)
    image.putpalette([0, 0, 0, 200, 10, 10])
    image.paste(1, (0, 0, 20, 10))
    pixels = load_square(encoded(image, "PNG", transparency=0), 20)
    assert tuple(pixels[15, 10]) == WHITE
    assert tuple(pixels[4, 10]) == (200, 10, 10)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_the_photo_upright(kind: str, orientation: int) -> None:
    undo = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    lying = quarters() if undo is None else quarters().transpose(undo)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(lying, kind, exif=exif.tobytes())
    info = probe(data)
    assert (info.width, info.height) == (80, 60)
    assert close(corners(load_square(data, 40)), [RED, GREEN, BLUE, WHITE])
    assert probe(thumbnail(data, 40)) == PhotoInfo("JPEG", 40, 30)
    assert close(corners(load_square(thumbnail(data, 40), 40)), [RED, GREEN, BLUE, WHITE])
    blue_corner = load_square(data, 16, box=(0.0, 0.6, 0.4, 0.4))
    assert close([tuple(blue_corner[8, 8])], [BLUE])


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_broken_exif_block_is_no_reason_to_refuse() -> None:
    data = encoded(quarters(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff" + b"\x99" * 40)
    assert close(corners(load_square(data, 40)), [RED, GREEN, BLUE, WHITE])


def test_only_the_first_frame_counts() -> None:
    frames = [Image.new("RGB", (32, 32), colour) for colour in (RED, GREEN)]
    for kind in ("PNG", "WEBP"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=100)
        assert close([tuple(load_square(data, 8)[4, 4])], [RED])


def test_a_box_shows_that_part_alone() -> None:
    data = encoded(quarters())
    pixels = load_square(data, 20, box=(0.5, 0.0, 0.5, 0.5))
    assert (pixels[1:-1, 1:-1] == GREEN).all()
    assert load_square(data, 5, box=(0.999, 0.999, 0.001, 0.001)).shape == (5, 5, 3)


@pytest.mark.parametrize(
    "box", [(0, 0, 0, 1), (-0.1, 0, 1, 1), (0.5, 0, 0.6, 1), (0, 0, float("nan"), 1), (0, 2, 1, 1)]
)
def test_a_box_outside_the_photo_is_a_wrong_query(box: tuple[float, float, float, float]) -> None:
    with pytest.raises(QueryError, match="does not lie in the photo"):
        load_square(encoded(quarters()), 20, box=box)


def test_large_jpegs_decoded_small_look_like_full_decoding() -> None:
    image = waves(2000, 1500)
    by_jpeg = load_square(encoded(image, "JPEG", quality=95), 64).astype(int)
    by_png = load_square(encoded(image), 64).astype(int)
    assert np.abs(by_jpeg - by_png).mean() < 1.5


def test_thumbnails_carry_no_metadata() -> None:
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    data = encoded(quarters(400, 300), "JPEG", exif=exif.tobytes(), comment=b"taken at home")
    assert b"taken at home" in data
    for kind in ("JPEG", "WEBP"):
        small = thumbnail(data, 100, kind=kind)
        assert b"taken at home" not in small
        assert probe(small) == PhotoInfo(kind, 100, 75)
    assert probe(thumbnail(data, 1000)) == PhotoInfo("JPEG", 400, 300)


def test_a_contact_sheet_shows_photos_and_names_what_is_none() -> None:
    good = encoded(Image.new("RGB", (50, 50), RED))
    sheet = contact_sheet([(good, "one\n12.50"), (b"text", "a very long caption " * 9), (good, "")], 2, 60)
    assert probe(sheet).format == "PNG"
    pixels = np.array(Image.open(io.BytesIO(sheet)))
    assert pixels.shape[1] < 2 * 60 + 4 * 60 // 10
    assert tuple(pixels[30, 30]) == RED
    assert tuple(pixels[10, 80]) == (221, 221, 221)
    assert contact_sheet([], 3, 60).startswith(b"\x89PNG")


def test_preparing_keeps_small_photos_and_shrinks_large_ones() -> None:
    blobs = Image.fromarray(np.random.default_rng(1).integers(0, 255, (9, 12, 3), np.uint8))
    kept = encoded(blobs.resize((400, 300)))
    as_it_came = prepare(kept, keep_side=320, shrunk_side=256)
    assert as_it_came.stored == kept
    assert as_it_came.prints.shape == (2, 32, 32, 3)
    shrunk = prepare(encoded(blobs.resize((1600, 1200))), keep_side=320, shrunk_side=256)
    assert probe(shrunk.stored) == PhotoInfo("JPEG", 341, 256)
    assert (shrunk.info.width, shrunk.info.height) == (1600, 1200)
    assert 0 <= shrunk.phash < 2**64
    assert (shrunk.phash ^ as_it_came.phash).bit_count() <= 4


def test_a_search_process_needs_numpy_and_pillow_alone() -> None:
    code = (
        "import sys, lookalike.imaging.photos as p; p.contact_sheet([(b'x', 'y')], 1, 40)\n"
        "print(sorted({'torch', 'scipy', 'imagehash', 'pyarrow', 'boto3'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_real_photos_come_out_as_pillow_shows_them(sample_data: Path) -> None:
    for path in sorted((sample_data / "clothing" / "images").iterdir())[:40]:
        ours = load_square(path.read_bytes(), 96)
        with Image.open(path) as image:
            theirs = np.array(image.convert("RGB").resize((96, 96), Image.Resampling.BILINEAR))
        assert np.abs(ours.astype(int) - theirs.astype(int)).mean() < 2
