"""A shop's export becomes a table under our columns' names, with photos that can be found.

A URI and a `Layout` enter: which preset, which folder of photos, which query. What is not said is told from the
table: the format (`sources`), the system it comes from (`shaping`), where its photos lie (`photo_folders`). An
`Export` leaves, open for reading.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from typing import Any

from lookalike.catalogue import fields
from lookalike.catalogue.fields import as_text
from lookalike.catalogue.known_presets import preset_named
from lookalike.catalogue.photo_folders import PhotoFolder, find_photos, given_folder
from lookalike.catalogue.places import PhotoPlaces
from lookalike.catalogue.presets import Preset
from lookalike.catalogue.shaping import image_paths, recognised, shaped
from lookalike.catalogue.sources.opening import Source, folder_of, opened
from lookalike.catalogue.tables import RowProblem, Rows, Table
from lookalike.catalogue.web_photos import WebPhotos, WebPolicy
from lookalike.errors import CatalogueError, SettingsError
from lookalike.settings import S3Settings
from lookalike.storage.artefacts import digest_of

NO_PRESET = "none"
"""Asked for, no preset is taken, not even one that the table is recognised by."""
_IMAGE = re.compile(r"image(_[0-9]{1,3})?")
_PROBED = 200
"""Rows whose photos are looked for."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a shop lays out its export."""

    preset: str = ""
    """Name of a preset; empty to recognise it, `none` for none."""
    photos: str = ""
    """Folder that the photos lie in: a path, or ``s3://bucket/prefix``."""
    query: str = ""
    """What to ask a database."""
    web: WebPolicy = field(default_factory=WebPolicy)
    """How photos are fetched from the web."""

    def chosen(self) -> Preset | None:
        """The preset that is asked for. Raises `SettingsError`."""
        return None if self.preset in ("", NO_PRESET) else preset_named(self.preset)

    def said(self) -> dict[str, str]:
        """What a snapshot's manifest says of it, to read the next export alike; nothing where nothing was asked for."""
        told = {"preset": self.preset, "photos": self.photos, "query": self.query}
        return {name: value for name, value in told.items() if value}


@dataclass(frozen=True, slots=True)
class Export:
    """An export that is open for reading."""

    table: Table
    columns: Mapping[str, str]
    """Our column -> the table's, where the caller said so and no preset has carried it out."""
    preset: Preset
    """By which it is read; without a name where there is none."""
    places: PhotoPlaces
    digest: str
    """SHA-256 of the table's bytes; with a preset, of the preset, too."""
    state: str
    """See `sources.opening.state_now`."""


@contextmanager
def open_export(
    uri: str,
    layout: Layout,
    *,
    columns: Mapping[str, str] | None = None,
    photo_roots: Sequence[str] = (),
    s3: S3Settings | None = None,
) -> Iterator[Export]:
    """The export at `uri`. Raises `CatalogueError`, `SettingsError` and `StorageError`."""
    asked = layout.chosen()
    told = asked or Preset()
    with opened(uri, s3, query=layout.query, encoding=told.encoding, overflow=told.overflow) as source:
        preset = asked or (recognised(source.table.header) if layout.preset != NO_PRESET else None)
        if preset is not None and preset.overflow and not told.overflow:  # recognised by the header alone
            with opened(uri, s3, query=layout.query, overflow=True) as again:
                yield _export(uri, again, preset, layout, columns or {}, photo_roots, s3)
            return
        yield _export(uri, source, preset, layout, columns or {}, photo_roots, s3)


def _export(
    uri: str,
    source: Source,
    preset: Preset | None,
    layout: Layout,
    columns: Mapping[str, str],
    photo_roots: Sequence[str],
    s3: S3Settings | None,
) -> Export:
    photos = given_folder(layout.photos, source.folder) if layout.photos else ""
    places = places_of(uri, layout, photo_roots=photo_roots, s3=s3)
    table, digest = source.table, source.digest
    if preset is not None:
        for ours, theirs in columns.items():
            if theirs not in table.header:
                raise CatalogueError(f"{uri} has no column {theirs!r} (asked for as {ours})")
        changed = preset.with_columns(columns)
        table = shaped(table, changed, _image_table(source, changed, s3))
        digest = digest_of([digest, asdict(changed)])
        columns = {}
    else:
        taken = {*columns.values()}
        called = {name: fields.ours(name) for name in table.header if name not in taken}
        table = table.renamed(
            {
                theirs: ours
                for theirs, ours in called.items()
                if theirs != ours
                and ours not in {*table.header, *columns}
                and [*called.values()].count(ours) == 1
            }
        )
    usual = preset.photo_folders if preset else ("images", "photos")
    names = _image_columns(table.header, columns)
    folder = (
        find_photos(_images(table, names), places, photos, usual) if names else PhotoFolder(as_written=True)
    )
    return Export(_placed(table, names, folder), columns, preset or Preset(), places, digest, source.state)


def places_of(
    uri: str, layout: Layout, *, photo_roots: Sequence[str] = (), s3: S3Settings | None = None
) -> PhotoPlaces:
    """Where the photos of the export at `uri` may lie; nothing is read. Raises `SettingsError`."""
    folder = folder_of(uri)
    photos = [given_folder(layout.photos, folder)] if layout.photos else []
    return PhotoPlaces(folder, [*photo_roots, *photos], s3, WebPhotos(layout.web))


def _image_table(source: Source, preset: Preset, s3: S3Settings | None) -> dict[str, str] | None:
    """What the table of photos beside the catalogue says, packed or not."""
    if not preset.image_table:
        return None
    tried = []
    for folder in (
        "",
        *(f"{name}/" for name in ("images/metadata", "images", "metadata", *preset.photo_folders)),
    ):
        for packed in ("", ".gz"):
            address = f"{source.folder}/{folder}{preset.image_table}{packed}"
            try:
                with opened(address, s3) as photos:
                    if missing := set(preset.image_table_columns) - set(photos.table.header):
                        raise SettingsError(f"{address} has no column {min(missing)!r}")
                    return image_paths(
                        photos.table.rows(preset.image_table_columns), preset.image_table_columns
                    )
            except CatalogueError:
                tried.append(f"{folder}{preset.image_table}{packed}")
    raise CatalogueError(
        f"{preset.title}: no table of photos beside the catalogue; looked for {', '.join(tried[:4])} and others"
    )


def _image_columns(header: Sequence[str], columns: Mapping[str, str]) -> list[str]:
    named = {theirs for ours, theirs in columns.items() if _IMAGE.fullmatch(ours)}
    return [name for name in header if name in named or (_IMAGE.fullmatch(name) and name not in columns)]


def _images(table: Table, names: Sequence[str]) -> Iterator[str]:
    for _, row in islice(table.rows(names), _PROBED):
        if not isinstance(row, RowProblem):
            for name in names:
                yield from _listed(row.get(name))


def _listed(cell: Any) -> list[str]:
    if isinstance(cell, RowProblem) or cell is None:
        return []
    try:
        texts = (
            [as_text(part) for part in cell]
            if isinstance(cell, list)
            else fields.listed_photos(as_text(cell))
        )
    except UnicodeDecodeError:
        return []
    return [text.strip().replace("\\", "/") for text in texts if text.strip()]


def _placed(table: Table, names: Sequence[str], folder: PhotoFolder) -> Table:
    """The same table, whose photos are named by where they lie."""
    if folder.as_written:
        return table

    def rows(asked: Sequence[str]) -> Rows:
        for line, row in table.rows(asked):
            if not isinstance(row, RowProblem):
                for name in names:
                    if images := _listed(row.get(name)):
                        row[name] = [folder.place(image) for image in images]
            yield line, row

    return replace(table, rows=rows)
