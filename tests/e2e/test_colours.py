"""Photos as a real Chromium shows them: what it paints on a canvas, beside what we make of the same file."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page

from lookalike.errors import PhotoError
from lookalike.imaging.limits import QUERY_LIMITS
from lookalike.imaging.photos import load_square
from tests.imaging.pictures import encoded, quarters, waves
from tests.imaging.profiles import (
    P3,
    chunk,
    gamma_chunk,
    grey_profile,
    png_with,
    primaries_chunk,
    profile,
    raw_png,
)
from tests.serving.running import Running

pytestmark = pytest.mark.browser

SIDE = 128
LEVELS = 2.0
"""Grey levels of difference, on average."""

PAINT = """async (encoded) => {
  const bytes = Uint8Array.from(atob(encoded), (c) => c.charCodeAt(0));
  const image = new Image();
  image.src = URL.createObjectURL(new Blob([bytes]));
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
  const context = canvas.getContext("2d", { colorSpace: "srgb" });
  context.fillStyle = "#fff"; context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  let text = "";
  for (let at = 0; at < data.length; at += 8192) text += String.fromCharCode(...data.subarray(at, at + 8192));
  return [canvas.width, canvas.height, btoa(text)];
}"""


def painted(page: Page, data: bytes) -> Image.Image:
    width, height, pixels = page.evaluate(PAINT, base64.b64encode(data).decode())
    return Image.frombytes("RGBA", (width, height), base64.b64decode(pixels)).convert("RGB")


def difference(page: Page, data: bytes) -> float:
    theirs = np.asarray(painted(page, data).resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    return float(np.abs(load_square(data, SIDE).astype(int) - theirs).mean())


@pytest.fixture(scope="module")
def photos() -> list[Path]:
    folder = os.environ.get("LOOKALIKE_TEST_CASES")
    if not folder:
        pytest.skip("LOOKALIKE_TEST_CASES is not set: it names a folder with photos/ (see CONTRIBUTING.md)")
    return sorted(path for path in (Path(folder) / "photos").iterdir() if not path.name.startswith("bomb"))


def test_every_difficult_photo_is_as_the_browser_shows_it(page: Page, photos: list[Path]) -> None:
    off = {path.name: difference(page, path.read_bytes()) for path in photos}
    assert len(off) >= 10
    assert {name: levels for name, levels in off.items() if levels > LEVELS} == {}


def test_every_difficult_photo_finds_what_its_twin_finds(process: Running, photos: list[Path]) -> None:
    def first(path: Path) -> str:
        reply = process.client.post("/v1/search", params={"k": 1}, content=path.read_bytes())
        assert reply.status_code == 200, reply.text
        hit: str = reply.json()["hits"][0]["listing_id"]
        return hit

    twins = {path.name: first(path) for path in photos if path.name != "gray16_trns.png"}
    assert set(twins.values()) == {twins["truth.png"]}


def test_a_bomb_is_refused(photos: list[Path]) -> None:
    for path in photos[0].parent.glob("bomb*"):
        with pytest.raises(PhotoError):
            load_square(path.read_bytes(), SIDE, limits=QUERY_LIMITS)


def made() -> dict[str, bytes]:
    """One photo of each kind of colour, made here."""
    photo = waves(160, 120)
    photo.paste(quarters(), (20, 20))
    see_through = photo.convert("RGBA").rotate(20)
    turned = Image.Exif()
    turned[0x0112] = 6
    film = [photo, photo.transpose(Image.Transpose.ROTATE_180)]
    return {
        "p3.webp": encoded(photo, "WEBP", lossless=True, icc_profile=profile()),
        "p3.avif": encoded(photo, "AVIF", quality=95, icc_profile=profile()),
        "p3-see-through.png": encoded(see_through, icc_profile=profile()),
        "grey-profile.jpg": encoded(photo.convert("L"), "JPEG", quality=95, icc_profile=grey_profile(1.0)),
        "rgb-profile-of-grey.png": encoded(photo.convert("L"), icc_profile=profile(1.0)),
        "grey-profile-of-rgb.png": encoded(photo, icc_profile=grey_profile(1.0)),
        "junk-profile.jpg": encoded(photo, "JPEG", quality=95, icc_profile=b"junk" * 100),
        "gamma.png": png_with(photo, gamma_chunk(1.0)),
        "gamma-of-grey.png": png_with(photo.convert("L"), gamma_chunk(1.0)),
        "usual-gamma.png": png_with(photo, gamma_chunk(0.45455)),
        "primaries.png": png_with(photo, gamma_chunk(0.5), primaries_chunk(P3)),
        "primaries-alone.png": png_with(photo, primaries_chunk(P3)),
        "srgb-and-gamma.png": png_with(photo, gamma_chunk(1.0), primaries_chunk(P3), chunk(b"sRGB", b"\0")),
        "numbers-of-video.png": png_with(photo, chunk(b"cICP", bytes([12, 13, 0, 1]))),
        "film-curve.png": png_with(photo, chunk(b"cICP", bytes([1, 1, 0, 1]))),
        "cmyk.jpg": encoded(photo.convert("CMYK"), "JPEG", quality=95),
        "palette.png": encoded(photo.quantize(32), transparency=3),
        "film.gif": encoded(film[0], "GIF", save_all=True, append_images=film[1:], duration=100),
        "film.webp": encoded(film[0], "WEBP", save_all=True, append_images=film[1:], duration=100),
        "see-through.avif": encoded(see_through, "AVIF", quality=95),
        "see-through.bmp": encoded(see_through, "BMP"),
        "turned.jpg": encoded(photo, "JPEG", quality=95, exif=turned.tobytes()),
        "turned.png": encoded(photo, exif=turned.tobytes()),
        "turned.avif": encoded(photo, "AVIF", quality=95, exif=turned.tobytes()),
        "progressive.jpg": encoded(photo, "JPEG", quality=90, progressive=True, subsampling="4:2:0"),
        "two-profiles.jpg": encoded(photo, "JPEG", quality=95, icc_profile=profile(), comment=b"x" * 5_000),
        "grey-see-through.png": encoded(see_through.convert("LA")),
        "deep.png": raw_png(64, 64, 16, 2, deep_rows()),
        "black-and-white.png": encoded(photo.convert("1")),
        "palette.bmp": encoded(photo.quantize(64), "BMP"),
        "black-and-white.bmp": encoded(photo.convert("1"), "BMP"),
        "see-through.webp": encoded(see_through, "WEBP", quality=90),
        "see-through.gif": encoded(see_through.convert("P"), "GIF", transparency=0),
        "p3-see-through.avif": encoded(see_through, "AVIF", quality=95, icc_profile=profile()),
        "grey.webp": encoded(photo.convert("L").convert("RGB"), "WEBP", quality=90),
    }


def deep_rows() -> bytes:
    """A slope of 16 bits in each colour."""
    rows = np.zeros((64, 64, 3), ">u2")
    rows[..., 0], rows[..., 1], rows[..., 2] = np.arange(64) * 1023, np.arange(64)[:, None] * 1023, 30_000
    return b"".join(b"\0" + row.tobytes() for row in rows)


def test_every_kind_of_colour_is_as_the_browser_shows_it(page: Page) -> None:
    off = {name: difference(page, data) for name, data in made().items()}
    assert {name: levels for name, levels in off.items() if levels > LEVELS} == {}
