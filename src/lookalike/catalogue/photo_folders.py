"""Which folder a catalogue's photos lie in: references as the table has them enter, usable ones leave.

A shop's export names photos as its own server does: ``/m/b/mb01.jpg`` below a media folder, ``/images/1.jpg`` below
the site. Some of the first references are looked for in each place they may mean: as they are, below the catalogue's
folder, below the folder that the shop names (``--photos``), below those that its system uses; with their whole path
or by their name alone. The place that has most of them is taken for all.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from lookalike.catalogue.places import PhotoPlaces

_LOOKED_FOR = 8
"""References; each is looked for in every place, and a store takes some milliseconds for each."""


class PhotoFolder(NamedTuple):
    """Where references lead."""

    folder: str = ""
    """Before them; empty for the catalogue's own folder."""
    by_name: bool = False
    """By the last part alone."""
    as_written: bool = False

    def place(self, image: str) -> str:
        """`image` as `PhotoPlaces` takes it. An address stays as it is."""
        if self.as_written or "://" in image or not image.strip("/"):
            return image
        path = posixpath.basename(image.rstrip("/")) if self.by_name else image.lstrip("/")
        return posixpath.join(self.folder, path) if self.folder else path


def given_folder(photos: str, table_folder: str) -> str:
    """What ``--photos`` names, as a URI or an absolute path: below the working directory, or else beside the table."""
    if "://" in photos or posixpath.isabs(photos):
        return photos.rstrip("/")
    here = Path(photos).expanduser()
    if here.is_dir():
        return str(here.absolute())
    return f"{table_folder}/{photos.strip('/')}"


def find_photos(images: Iterable[str], places: PhotoPlaces, given: str, usual: Sequence[str]) -> PhotoFolder:
    """Where the photos of a table lie. `given` is the folder that the shop names, `usual` its system's."""
    relative = (image for image in dict.fromkeys(images) if "://" not in image)
    sample = list(islice(relative, _LOOKED_FOR))
    folders = [given] if given else ["", *usual]
    candidates = [PhotoFolder(as_written=True)] if not given else []
    candidates += [PhotoFolder(folder, by_name) for by_name in (False, True) for folder in folders]
    best, most = candidates[0], 0
    for candidate in candidates:
        found = sum(map(_has(places, candidate), sample))
        if found > most:
            best, most = candidate, found
        if most == len(sample):
            break
    return best


def _has(places: PhotoPlaces, folder: PhotoFolder) -> Callable[[str], bool]:
    return lambda image: places.has(folder.place(image))
