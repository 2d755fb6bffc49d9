"""Colours as their file means them, made sRGB by Little CMS (`PIL.ImageCms`).

Pixels and the bytes of an ICC profile enter; an RGB image in sRGB leaves. It is called on pixels that were made small
already: a conversion costs by the pixel, and a network sees 50,000 of a photo's twelve million. A profile that is
damaged, of another colour space than the pixels, or no description of a device is ignored, as browsers do. The
conversion of the last profiles is kept, since a shop's photos share theirs.
"""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageChops, ImageCms

from lookalike.imaging.profiles import SRGB_CURVE, Calibrated, made

_SPACES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}
_DEVICES = (b"scnr", b"mntr", b"prtr", b"spac")
_NO_DIFFERENCE = 2
"""Grey levels: a profile that moves no colour further is sRGB under another name, and costs nothing."""


def to_srgb(image: Image.Image, profile: bytes | None, *, as_browsers: bool = True) -> Image.Image:
    """`image` (L, RGB, CMYK or LAB) as RGB: by its profile, or as its numbers stand where that is none.

    `as_browsers` shows CMYK with a profile as Chromium does, which puts black ink into the other three before it asks
    the profile: dark tones come out lighter than printed, by 9 grey levels on average. Shoppers see listings so, and
    their page shrinks photos so before it sends them.
    """
    if image.mode == "LAB":
        return _from_lab().apply(image)
    space = _space(profile) if profile else None
    if profile and space == "RGB" and image.mode == "L":
        image = image.convert("RGB")
    if as_browsers and space == "CMYK" and image.mode == "CMYK":
        image = _without_black(image)
    if profile and space == image.mode and (transform := _transform(profile, image.mode)) is not None:
        return transform.apply(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _space(profile: bytes) -> str | None:
    if len(profile) < 132 or profile[36:40] != b"acsp" or profile[12:16] not in _DEVICES:
        return None
    return _SPACES.get(profile[16:20])


@lru_cache(maxsize=32)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The conversion of `mode` to sRGB; None where the profile cannot be used, or changes nothing."""
    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            _srgb(),
            mode,
            "RGB",
            ImageCms.Intent.PERCEPTUAL,
            ImageCms.Flags.NONE,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    if mode != "RGB":
        return transform
    levels = np.linspace(0, 255, 9).round().astype(np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(27, 27, 3)
    moved = np.asarray(transform.apply(Image.fromarray(cube))).astype(int) - cube
    return transform if np.abs(moved).max() > _NO_DIFFERENCE else None


@lru_cache(maxsize=1)
def _srgb() -> ImageCms.ImageCmsProfile:
    """Of version 2: towards one of version 4 (Pillow's), Little CMS would lift black points, as no browser does."""
    return ImageCms.ImageCmsProfile(io.BytesIO(made(Calibrated(SRGB_CURVE)) or b""))


@lru_cache(maxsize=1)
def _from_lab() -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(ImageCms.createProfile("LAB"), _srgb(), "LAB", "RGB")


def _without_black(image: Image.Image) -> Image.Image:
    *inks, black = image.split()
    light = ImageChops.invert(black)
    mixed = [ImageChops.invert(ImageChops.multiply(ImageChops.invert(ink), light)) for ink in inks]
    return Image.merge("CMYK", [*mixed, Image.new("L", image.size, 0)])
