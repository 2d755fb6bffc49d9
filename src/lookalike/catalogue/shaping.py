"""An export's table enters, and the preset by which it is laid out; the same listings leave under our columns' names.

Rows stay rows: several that name one listing are put together by `reading`. Where names of aspects stand in cells, or
a cell holds several categories, the table is read once before, to know the columns and how many listings share a
category.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from lookalike.catalogue.fields import as_text
from lookalike.catalogue.known_presets import PRESETS
from lookalike.catalogue.paths import as_path
from lookalike.catalogue.presets import Preset, folded
from lookalike.catalogue.prices import parse_price
from lookalike.catalogue.tables import RowProblem, Rows, Table
from lookalike.errors import CatalogueError

ENOUGH = 10
"""Listings that share a category of a cell that holds several, for it to be preferred over a less deep one."""
MOST = 0.8
"""Share of the rows that share a category without one above it, at most: a tag that everything has tells nothing."""
_ROWS = "\0rows"
MOST_ASPECTS = 100
"""Aspects that cells may name; the most frequent are taken."""
_OURS = ("listing_id", "image", "category")


def recognised(header: Sequence[str]) -> Preset | None:
    """The preset that a header is the header of; None where it has our own columns, or those of no preset."""
    names = set(map(folded, header))
    if names.issuperset(_OURS):
        return None
    fitting = [
        preset
        for preset in PRESETS.values()
        if all(not names.isdisjoint(map(folded, either.split("|"))) for either in preset.recognised_by)
    ]
    return max(fitting, key=lambda preset: len(preset.recognised_by), default=None)


def shaped(table: Table, preset: Preset, image_paths: Mapping[str, str] | None = None) -> Table:
    """`table` under our names. `image_paths` is what the preset's `image_table` says. Raises `CatalogueError`."""
    columns = _Columns(table.header)
    shape = _Shape(columns, preset, image_paths)
    needed = columns.used or list(table.header[:1])
    aspects, shared = _counted(table.rows(needed), shape) if shape.looks_ahead else ([], Counter())
    names = [*shape.names, *(name for name in aspects if name not in shape.names)]

    def rows(_: object) -> Rows:
        for line, row in table.rows(needed):
            if isinstance(row, RowProblem):
                yield line, row
            elif (why := shape.skipped(row)) is None:
                yield line, dict.fromkeys(names) | shape.values(row, shared)
            else:
                passed_over[why] += 1
        told = [f"{count:,} {table.unit}s passed over: {why}" for why, count in passed_over.items()]
        table.notes[:] = [*(note for note in table.notes if "passed over" not in note), *told]
        passed_over.clear()

    passed_over: Counter[str] = Counter()
    ignored = tuple(name for name in table.header if name not in columns.used)
    no_text = frozenset(columns.used) & table.no_text
    if no_text:
        raise CatalogueError(f"{preset.title}: {sorted(no_text)[0]!r} is a column of structs or maps")
    return Table(tuple(names), table.unit, rows, notes=table.notes, ignored=ignored)


class _Columns:
    """The columns of an export, by how presets name them; remembers which were asked for."""

    def __init__(self, header: Sequence[str]) -> None:
        self._by_name = {folded(name): name for name in reversed(header)}
        self._asked: dict[str, None] = {}

    @property
    def used(self) -> list[str]:
        return list(self._asked)

    def find(self, patterns: Iterable[str]) -> list[str]:
        """The export's names; ``*`` in a pattern is any number, in its order."""
        found: list[str] = []
        for pattern in map(folded, patterns):
            if "*" in pattern:
                fits = re.compile(re.escape(pattern).replace(r"\*", r"(\d+)"))
                numbered = {
                    int(hit[1]): name for key, name in self._by_name.items() if (hit := fits.fullmatch(key))
                }
                found += [numbered[number] for number in sorted(numbered)]
            elif pattern in self._by_name:
                found.append(self._by_name[pattern])
        self._asked |= dict.fromkeys(found)
        return found


class _Shape:
    """A preset, bound to the columns of one table."""

    def __init__(self, columns: _Columns, preset: Preset, image_paths: Mapping[str, str] | None) -> None:
        self._preset, self._image_paths = preset, image_paths
        self._plain = {
            ours: found for ours, theirs in preset.columns.items() if (found := columns.find(theirs))
        }
        self._images = columns.find(preset.image_columns)
        self._in_template = {
            name: found[0]
            for name in re.findall(r"\{(.+?)\}", preset.image_template)
            if (found := columns.find([name]))
        }
        self._categories = columns.find(preset.category_columns)
        self._aspects = {
            name: found for name, theirs in preset.aspects.items() if (found := columns.find(theirs))
        }
        self._pairs = columns.find([preset.attribute_column] if preset.attribute_column else [])
        self._named = list(
            zip(columns.find(preset.attribute_names), columns.find(preset.attribute_values), strict=False)
        )
        self._skip = [
            (found[0], values) for name, values in preset.skip.items() if (found := columns.find([name]))
        ]
        self._last_names: dict[
            str, str
        ] = {}  # further rows of a listing do not repeat what an option is called
        self._last_id = ""
        own = [
            *(c for c in ("split", "title", "price", "currency", "product", "seller") if c not in self._plain)
        ]
        self._own = {name: found[0] for name in own if (found := columns.find([name])) and found[0] == name}
        pictured = ["image"] if self._images or self._in_template else []
        placed = ["category"] if self._categories else []
        currency = ["currency"] if preset.currency and "currency" not in {*self._plain, *self._own} else []
        aspects = [f"aspect_{name}" for name in self._aspects]
        self.names = [*self._plain, *pictured, *placed, *self._own, *currency, *aspects]
        self.looks_ahead = bool(self._pairs or self._named or (self._categories and preset.category_split))

    def skipped(self, row: Mapping[str, Any]) -> str | None:
        """Why a row is no listing of its own."""
        for name, values in self._skip:
            text = self._text(row, name)
            if text and ("*" in values or text in values):
                return f"{name} is set, so the row repeats another" if "*" in values else f"{name} is {text}"
        return None

    def values(self, row: Mapping[str, Any], shared: Mapping[str, int]) -> dict[str, Any]:
        """The row under our names."""
        preset = self._preset
        found: dict[str, Any] = {ours: self._first(row, theirs) for ours, theirs in self._plain.items()}
        if preset.id_prefix:
            found["listing_id"] = as_text(found["listing_id"]).removeprefix(preset.id_prefix)
        found |= {name: row[theirs] for name, theirs in self._own.items()}
        if "image" in self.names:
            found["image"] = self._photos(row)
        if self._categories:
            found["category"] = self._category(row, shared)
        if preset.price_unit != 1 and (priced := parse_price(self._text(found, "price"), preset.decimal)):
            found["price"] = f"{priced[0] * preset.price_unit:.6g} {priced[1]}".strip()
        if preset.currency and not found.get("currency"):
            found["currency"] = preset.currency
        for name, columns in self._aspects.items():
            found[f"aspect_{name}"] = [value for column in columns for value in self._several(row, column)]
        for name, values in self.attributes(row).items():
            found[name] = [*found.get(name, []), *values]
        return found

    def attributes(self, row: Mapping[str, Any]) -> dict[str, list[str]]:
        """Aspects that the row's cells name, as ``aspect_name``."""
        found: dict[str, list[str]] = {}
        for column in self._pairs:
            for pair in re.split(r",(?=[^,=]+=)", self._text(row, column)):
                name, equals, value = pair.partition("=")
                if equals and value.strip():
                    found.setdefault(_aspect(name), []).extend(value.split("|"))
        if self._named:
            listing_id = self._first(row, self._plain.get("listing_id", []))
            if listing_id != self._last_id:
                self._last_names, self._last_id = {}, as_text(listing_id)
            for name_column, value_column in self._named:
                if name := self._text(row, name_column):
                    self._last_names[name_column] = name
                name = self._last_names.get(name_column, "")
                values = self._several(row, value_column)
                if (
                    name and values and (name, values) != ("Title", ["Default Title"])
                ):  # Shopify's for "no options"
                    found.setdefault(_aspect(name), []).extend(values)
        return {name: values for name, values in found.items() if name != "aspect_"}

    def categories(self, row: Mapping[str, Any]) -> list[str]:
        """The categories that the row names, as paths; the empty list where it names none."""
        preset = self._preset
        cells = [cell for column in self._categories if (cell := self._localised(row.get(column)))]
        if isinstance(cells[0] if cells else None, list):
            texts = [as_text(text) for text in cells[0]]
        elif preset.category_join:
            texts = [" > ".join(re.sub(r"\s*[/>]\s*", "-", as_text(cell).strip()) for cell in cells)]
        else:
            text = next((text for cell in cells if (text := as_text(cell).strip())), "")
            texts = _parts(text, preset.category_split, preset.category_escape)
        if preset.category_pattern:
            texts = [hit[1] for text in texts if (hit := re.search(preset.category_pattern, text)) and hit[1]]
        separator = ">" if preset.category_join else preset.category_separator
        paths = (as_path(text, separator, preset.category_escape) for text in texts)
        return [path for path in dict.fromkeys(map(self._below_root, paths)) if path]

    def _below_root(self, path: str) -> str:
        names = path.split("/")
        while len(names) > 1 and names[0] in self._preset.category_roots:
            names = names[1:]
        return "/".join(names)

    def _category(self, row: Mapping[str, Any], shared: Mapping[str, int]) -> str:
        found = self.categories(row)
        if len(found) < 2:
            return found[0] if found else ""
        return max(
            found,
            key=lambda path: (
                shared[path] >= ENOUGH and ("/" in path or shared[path] <= MOST * shared[_ROWS]),
                path.count("/"),
                shared[path],
                -found.index(path),
            ),
        )

    def _photos(self, row: Mapping[str, Any]) -> list[str]:
        preset = self._preset
        if self._in_template:
            values = {name: self._text(row, column) for name, column in self._in_template.items()}
            if not all(values.values()):
                return []
            return [re.sub(r"\{(.+?)\}", lambda found: values.get(found[1], ""), preset.image_template)]
        found: dict[str, None] = {}
        for column in self._images:
            cell = row.get(column)
            for text in cell if isinstance(cell, list) else [cell]:
                cut = (
                    _parts(as_text(text), preset.image_split, "")
                    if preset.image_split
                    else [as_text(text).strip()]
                )
                found |= dict.fromkeys(part for part in cut if part)
        if self._image_paths is None:
            return list(found)
        return [self._image_paths.get(name, name) for name in found]

    def _first(self, row: Mapping[str, Any], columns: Sequence[str]) -> Any:
        cells = (self._localised(row.get(column)) for column in columns)
        return next((cell for cell in cells if isinstance(cell, RowProblem) or as_text(cell).strip()), "")

    def _several(self, row: Mapping[str, Any], column: str) -> list[str]:
        cell = self._localised(row.get(column))
        if isinstance(cell, RowProblem) or cell is None:
            return []
        texts = cell if isinstance(cell, list) else [cell]
        marks = "[" + re.escape("|" + self._preset.aspect_split) + "]"
        parts = (part.strip() for text in texts for part in re.split(marks, as_text(text)))
        return [part for part in parts if part]

    def _text(self, row: Mapping[str, Any], column: str) -> str:
        cell = row.get(column)
        return "" if isinstance(cell, RowProblem) else as_text(cell).strip()

    def _localised(self, cell: Any) -> Any:
        """Of texts in several languages (``[{"language_tag": "en_US", "value": "Sofa"}]``) those in one."""
        if isinstance(cell, str) and cell.startswith("[{"):
            try:
                cell = json.loads(cell)
            except ValueError:
                return cell
        if not isinstance(cell, list) or not all(isinstance(entry, dict) for entry in cell):
            return cell
        told = [entry for entry in cell if entry.get("value")]
        chosen = [
            x for x in told if str(x.get("language_tag", "")).startswith(self._preset.language)
        ] or told[:1]
        values = [as_text(entry["value"]) for entry in chosen]
        return values[0] if len(values) == 1 else values


def _counted(rows: Rows, shape: _Shape) -> tuple[list[str], Counter[str]]:
    """Aspects that cells name, the most frequent first; and how many rows share each category of cells with several."""
    aspects: Counter[str] = Counter()
    shared: Counter[str] = Counter()
    for _, row in rows:
        if not isinstance(row, RowProblem) and shape.skipped(row) is None:
            aspects.update(shape.attributes(row).keys())
            shared.update([_ROWS, *shape.categories(row)])
    return [name for name, _ in aspects.most_common(MOST_ASPECTS)], shared


def _parts(text: str, separator: str, escape: str) -> list[str]:
    """The parts of a cell; an escaped separator parts nothing."""
    if not separator:
        return [text]
    pattern = (rf"(?<!{re.escape(escape)})" if escape else "") + re.escape(separator)
    cut = (
        part.replace(escape + separator, separator) if escape else part for part in re.split(pattern, text)
    )
    return [part.strip() for part in cut if part.strip()]


def _aspect(name: str) -> str:
    return "aspect_" + re.sub(r"[^\w]+", "_", name.strip().casefold()).strip("_").removeprefix("pa_")


def image_paths(rows: Iterator[tuple[int, Any]], columns: Sequence[str]) -> dict[str, str]:
    """What a table of photos says: id -> path."""
    key, path = columns
    return {as_text(row[key]): as_text(row[path]) for _, row in rows if not isinstance(row, RowProblem)}
