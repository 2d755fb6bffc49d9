"""What the images install is named by digest, and nothing else is installed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("image", ["search", "pipeline"])
def test_every_package_of_an_image_has_digests(image: str) -> None:
    text = (ROOT / "requirements" / f"{image}.txt").read_text()
    packages = re.findall(
        r"^([a-z0-9._-]+)==(\S+)(?: ;[^\\]*)? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", text, re.M
    )
    named = re.findall(r"^[^#\s].*==", text, re.M)
    assert len(packages) == len(named) > 30, "a package without a digest"


def test_images_install_by_digest() -> None:
    lines = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    installs = [
        part for line in lines for part in line.split("&&") if "pip install" in part and "-r " in part
    ]
    assert len(installs) == 3
    assert all("--require-hashes" in each and "--no-deps" in each for each in installs)
