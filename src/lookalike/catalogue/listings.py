"""A checked catalogue: its usable rows as listings, and the rows that are left out.

`reading` makes one of a shop's table. Photos may lie where `places` says, and are read only when asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from lookalike.catalogue.places import PhotoPlaces, Version
from lookalike.catalogue.sources.opening import state_now
from lookalike.catalogue.tables import CUT_OFF
from lookalike.errors import CatalogueError, ObjectNotFound
from lookalike.settings import S3Settings
from lookalike.storage.stores import split_uri


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Rows, or a photo, that are not used: where they stand, a stable word or two for the reason, and a sentence."""

    line: int
    listing_id: str
    reason: str
    detail: str
    rows: int = 1
    """Rows of the table, where a whole listing is left out; 1 for a photo."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What one or more rows say of a listing. Empty text means that the catalogue does not say."""

    listing_id: str
    images: tuple[str, ...]
    """References to its photos, each once; the first is the main photo."""
    category: str
    """Slash path, without spaces around its parts."""
    line: int
    """Where it stands first: the line of a CSV (the header is line 1), the row of a Parquet table counted from 1."""
    split: str = ""
    title: str = ""
    price: float | None = None
    product: str = ""
    seller: str = ""
    further: Mapping[str, str] = field(default_factory=dict)
    """Other columns of the registry (`fields.FURTHER`) -> text, where the row states one."""
    aspects: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Name without the prefix -> values, in the order given; only what is not empty."""
    unclear: Mapping[str, str] = field(default_factory=dict)
    """Optional column -> what stands there and was not understood: the field is empty then."""
    rows: int = 1
    """Rows of the table that speak of it."""
    contradictions: Mapping[str, str] = field(default_factory=dict)
    """Column -> which rows state different things; the first one is believed."""
    lost: tuple[LeftOut, ...] = ()
    """Photos that the table names in a way that cannot be used; the listing has others."""


class Catalogue:
    """A checked catalogue, in the order of its rows. Photos are read through it; safe for several threads."""

    def __init__(
        self,
        uri: str,
        digest: str,
        listings: tuple[Listing, ...],
        *,
        left_out: tuple[LeftOut, ...] = (),
        ignored_columns: tuple[str, ...] = (),
        aspects: tuple[str, ...] = (),
        unit: str = "line",
        places: PhotoPlaces | None = None,
        state: str = "",
        notes: tuple[str, ...] = (),
        preset: str = "",
        s3: S3Settings | None = None,
    ) -> None:
        self.uri = uri
        self.digest = digest
        """SHA-256 of the table's bytes."""
        self.listings = listings
        self.left_out = left_out
        self.ignored_columns = ignored_columns
        """Columns of the table that mean nothing here, in its order."""
        self.aspects = aspects
        """Names of the aspect columns, without the prefix, in the table's order."""
        self.unit = unit
        """What the number of a row counts: `line` or `row`."""
        self._places = places or PhotoPlaces(split_uri(uri)[0])
        self.notes = notes
        """What a person should know of how the table was read."""
        self.preset = preset
        """Name of the preset that it was read by; empty for our own columns."""
        self._state, self._s3 = state, s3

    def __len__(self) -> int:
        return len(self.listings)

    def check_unchanged(self) -> None:
        """Raises `CatalogueError` where the table is no longer the one whose reading began (its etag says so)."""
        try:
            if not self._state or state_now(self.uri, self._s3) == self._state:
                return
            what = "changed"
        except ObjectNotFound:
            what = "was removed"
        cut = [row.line for row in self.left_out if row.reason == CUT_OFF]
        ends = f"; what was read ends in the middle of line {cut[0]}" if cut else ""
        raise CatalogueError(
            f"{self.uri} {what} while it was read{ends}; run it again when the export is finished"
        )

    def photo(self, image: str, *, max_bytes: int | None = None) -> bytes:
        """The bytes of a photo that a listing names, or the first `max_bytes` + 1 of them.

        Raises `ObjectNotFound` where there is none, `PhotoOutside` where a link leads out of where photos may lie, and
        other `StorageError`s.
        """
        return self._places.read(image, length=None if max_bytes is None else max_bytes + 1)

    def read_version(self, image: str, *, max_bytes: int, size: int | None = None) -> tuple[bytes, Version]:
        """The same, and the version of the photo that was read; `size` as `PhotoPlaces.read_version` takes it."""
        return self._places.read_version(image, length=max_bytes + 1, size=size)

    def versions(self, images: Sequence[str], known: Collection[str] = ()) -> dict[str, Version]:
        """`PhotoPlaces.versions`."""
        return self._places.versions(images, known)

    def has_photo(self, image: str) -> bool:
        """Whether the photo is there, as far as can be seen without reading it."""
        return self._places.has(image)

    def photo_is_local(self, image: str) -> bool:
        """Whether the photo lies on this machine, so that trouble with it is no trouble with a service."""
        return self._places.is_local(image)
