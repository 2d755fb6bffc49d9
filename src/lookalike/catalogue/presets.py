"""Presets: how the exports of common shop systems are laid out, as plain declarations.

A preset says which columns of an export become which of ours, and how cells are taken apart. `known_presets` holds
those that Lookalike has; a shop copies one into `[presets.NAME]` of `lookalike.toml` and changes it, or starts one
from nothing. `shaping` carries them out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from lookalike.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Preset:
    """One layout. Columns are named as the export has them; case, spaces and underscores do not count."""

    name: str = ""
    title: str = ""
    """What people call the export."""
    recognised_by: tuple[str, ...] = ()
    """Columns that an export of this kind has; where all are there, the preset is taken without being asked for. Of
    ``Handle|URL handle`` either will do."""
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Our column -> columns of the export, of which the first that holds anything is taken."""
    id_prefix: str = ""
    """What stands before an id where a row refers to another's: ``id:44``."""
    image_columns: tuple[str, ...] = ()
    """Columns that name photos, the main one first; ``IMAGE*`` stands for ``IMAGE1``, ``IMAGE2`` and so on."""
    image_split: str = ""
    """What stands between several photos in a cell."""
    image_template: str = ""
    """Where a photo lies, by other columns: ``images/{id}.jpg``."""
    image_table: str = ""
    """A table beside the catalogue that says where each photo lies, such as ``images.csv.gz``."""
    image_table_columns: tuple[str, ...] = ()
    """In it the column with what `image_columns` hold, and the column with the path."""
    photo_folders: tuple[str, ...] = ()
    """Folders, relative to the catalogue's, that photos are usually kept in; the first that holds them is taken."""
    category_columns: tuple[str, ...] = ()
    """Columns of the category; of several the first that holds anything is taken, unless they are to be joined."""
    category_join: bool = False
    """Join the `category_columns`, the widest first, to one path."""
    category_split: str = ""
    """What stands between several categories in a cell. The deepest that enough listings share is taken."""
    category_separator: str = ""
    """What stands between a category and the one below it; told from the cell where it is not given."""
    category_escape: str = ""
    """What stands before a separator that belongs to a name: with ``\\`` a cell of ``A\\/B/C`` is `C` below `A-B`."""
    category_pattern: str = ""
    """A regular expression whose first group is the category."""
    category_roots: tuple[str, ...] = ()
    """Names that are left out where a category begins with them."""
    aspects: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Aspect -> columns of the export."""
    aspect_split: str = ""
    """What stands between several values of an aspect, beside ``|``; each character counts."""
    attribute_column: str = ""
    """A column of pairs, ``color=Blue,size=M``: each becomes an aspect."""
    attribute_names: tuple[str, ...] = ()
    """Columns that hold an aspect's name, with the `attribute_values` beside; ``*`` is a number."""
    attribute_values: tuple[str, ...] = ()
    """Columns that hold the value of the aspect whose name stands in `attribute_names`, in the same order."""
    skip: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Column -> values of rows that are no listings of their own; ``*`` is any value."""
    price_unit: float = 1.0
    """What 1 in the price column is worth: 0.01 where prices stand in cents."""
    decimal: str = ""
    """The decimal mark of prices, ``.`` or ``,``; told from the prices where it is not given."""
    currency: str = ""
    """Of prices that name none."""
    encoding: str = ""
    """Of a table of text; told from its bytes where it is not given."""
    overflow: bool = False
    """Fields beyond the header belong to the last column: for exports that do not quote their titles."""
    language: str = "en"
    """Of cells that hold a text in several languages, as JSON."""

    def __post_init__(self) -> None:
        """Raises `SettingsError` where it cannot be carried out."""
        where = f"preset {self.name}"
        if self.decimal not in ("", ".", ","):
            raise SettingsError(f"{where}: decimal is {self.decimal!r}; it is '.' or ','")
        if not self.price_unit > 0:
            raise SettingsError(f"{where}: price_unit is {self.price_unit}; it must be above 0")
        if len(self.image_table_columns) != 2 * bool(self.image_table):
            raise SettingsError(f"{where}: image_table needs image_table_columns, two of them")
        if len(self.attribute_names) != len(self.attribute_values):
            raise SettingsError(f"{where}: attribute_names and attribute_values are pairs")
        try:
            groups = re.compile(self.category_pattern).groups
        except re.error as error:
            raise SettingsError(f"{where}: category_pattern: {error}") from error
        if self.category_pattern and not groups:
            raise SettingsError(f"{where}: category_pattern needs a group: (...)")

    def with_columns(self, columns: Mapping[str, str]) -> Preset:
        """The same, with some of our columns taken from elsewhere (``--column``)."""
        preset = self
        for ours, theirs in columns.items():
            if ours == "image":
                preset = replace(
                    preset, image_columns=(theirs,), image_template="", image_table="", image_table_columns=()
                )
            elif ours == "category":
                preset = replace(preset, category_columns=(theirs,), category_pattern="")
            elif ours.startswith("aspect_"):
                preset = replace(preset, aspects={**preset.aspects, ours.removeprefix("aspect_"): (theirs,)})
            else:
                preset = replace(preset, columns={**preset.columns, ours: (theirs,)})
        return preset


def folded(column: str) -> str:
    """A column's name as presets compare it."""
    return re.sub(r"[\s_]+", "_", column.strip().casefold()).removeprefix("g:")
