"""Formats beside JPEG, PNG and WebP: which are taken, what of them, and which are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lookalike.errors import PhotoError
from lookalike.imaging.limits import PhotoInfo
from lookalike.imaging.photos import load_square, prepare, probe, thumbnail
from tests.attacks.photos import bmp, tiff
from tests.imaging.pictures import BLUE, GREEN, RED, WHITE, encoded, quarters
from tests.imaging.test_colours import close

HEIC = Path(__file__).parent / "heic"
ALL = [RED, GREEN, BLUE, WHITE]


@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("GIF", "RGB", {}),
        ("BMP", "RGB", {}),
        ("BMP", "P", {}),
        ("TIFF", "RGB", {}),
        ("TIFF", "RGB", {"compression": "tiff_lzw"}),
        ("TIFF", "RGB", {"compression": "tiff_adobe_deflate"}),
        ("TIFF", "RGB", {"compression": "packbits"}),
        ("TIFF", "RGB", {"compression": "jpeg", "quality": 95}),
        ("TIFF", "P", {}),
        ("TIFF", "RGBA", {}),
        ("TIFF", "RGB", {"big_endian": True}),
        ("AVIF", "RGB", {"quality": 95, "subsampling": "4:4:4"}),
    ],
)
def test_a_format_becomes_the_same_pixels(kind: str, mode: str, options: dict[str, object]) -> None:
    image = quarters().quantize(8) if mode == "P" else quarters().convert(mode)
    data = encoded(image, kind, **options)
    assert probe(data) == PhotoInfo(kind, 80, 60)
    assert close(data, ALL, 8)
    assert probe(thumbnail(data, 40)) == PhotoInfo("JPEG", 40, 30)
    assert prepare(data, keep_side=320, shrunk_side=256).stored == data


def test_a_heic_is_a_photo() -> None:
    assert probe((HEIC / "plain.heic").read_bytes()) == PhotoInfo("HEIC", 160, 120)
    for name in ("plain", "film", "turned"):
        assert close((HEIC / f"{name}.heic").read_bytes(), ALL, 8)
    assert probe((HEIC / "turned.heic").read_bytes()) == PhotoInfo("HEIC", 160, 120)
    assert close((HEIC / "see-through.heic").read_bytes(), [BLUE, BLUE, WHITE, WHITE], 8)


@pytest.mark.parametrize("kind", ["GIF", "AVIF", "TIFF"])
def test_only_the_first_picture_counts(kind: str) -> None:
    frames = [Image.new("RGB", (32, 32), colour) for colour in (RED, GREEN)]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    assert np.abs(load_square(data, 8)[4, 4].astype(int) - RED).max() < 12


def test_a_see_through_gif_and_one_larger_than_its_frame_show_white() -> None:
    image = Image.new("P", (40, 40), 0)
    image.putpalette([0, 0, 0, *BLUE])
    image.paste(1, (0, 0, 40, 20))
    data = bytearray(encoded(image, "GIF", transparency=0))
    assert close(bytes(data), [BLUE, BLUE, WHITE, WHITE], 0)
    data[6:10] = (80).to_bytes(2, "little") * 2
    assert probe(bytes(data)) == PhotoInfo("GIF", 80, 80)
    assert close(bytes(data), [BLUE, WHITE, WHITE, WHITE], 0)
    data[6:10] = (10).to_bytes(2, "little") * 2
    assert probe(bytes(data)) == PhotoInfo("GIF", 40, 40)


def test_a_bmp_whose_fourth_byte_means_nothing_is_opaque() -> None:
    """Programs write 32 bits a pixel and leave the fourth byte at zero."""
    image = quarters().convert("RGBA")
    image.putalpha(0)
    assert close(encoded(image, "BMP"), ALL, 0)
    rows = bytes([*BLUE[::-1], 0]) * 64
    plain = bytearray(bmp(8, 8, 0, rows))
    plain[28:30] = (32).to_bytes(2, "little")
    assert tuple(load_square(bytes(plain), 8)[4, 4]) == BLUE


@pytest.mark.parametrize("kind", ["AVIF", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photo_is_upright(kind: str, orientation: int) -> None:
    undo = [None, None, 0, 3, 1, 5, 2, 6, 4][orientation]
    lying = quarters() if undo is None else quarters().transpose(Image.Transpose(undo))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95, "subsampling": "4:4:4", "exif": exif} if kind == "AVIF" else {"exif": exif}
    data = encoded(lying, kind, **options)
    assert (probe(data).width, probe(data).height) == (80, 60)
    assert close(data, ALL, 10)


def test_a_tiff_of_one_strip_without_counts_is_read() -> None:
    whole = tiff({})
    count = whole.rindex(bytes([279 & 255, 279 >> 8, 4, 0]))
    assert load_square(whole[:count] + b"\xff\xfe" + whole[count + 2 :], 8).shape == (8, 8, 3)


def test_a_file_of_heif_without_a_photo_is_named() -> None:
    with pytest.raises(PhotoError) as caught:
        load_square((HEIC / "plain.heic").read_bytes().replace(b"hvc1", b"j2k1"), 8)
    assert caught.value.rule == "type"
