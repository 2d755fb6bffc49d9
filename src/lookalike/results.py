"""What a search from Python answers: hits that a notebook shows as pictures, and that become a table.

Enters: a `ranking` answer and a way to a photo's bytes. Leaves: a `Results`, a sequence of `Hit`.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, overload

import pyarrow as pa

from lookalike.columns import SHOWN
from lookalike.errors import LookalikeError, SettingsError
from lookalike.imaging.photos import thumbnail
from lookalike.ranking.facets import Facets
from lookalike.ranking.request import Answer, CategoryGuess, Hit

_PICTURE = 160
"""Longer side, in pixels, of a picture in a notebook."""


@dataclass(frozen=True, slots=True)
class Results(Sequence[Hit]):
    """The hits of one search, best first. In a notebook they are pictures."""

    answer: Answer
    """All that the search found out: hits, categories, predicted aspects, times."""
    photo_bytes: Callable[[str], bytes | None] = field(repr=False)
    """A photo id -> the photo as the store keeps it."""
    offset: int = 0
    """Hits before these, which were passed over."""

    @overload
    def __getitem__(self, index: int) -> Hit: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Hit]: ...
    def __getitem__(self, index: int | slice) -> Hit | Sequence[Hit]:
        return self.answer.hits[index]

    def __len__(self) -> int:
        return len(self.answer.hits)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.answer.hits)

    @property
    def categories(self) -> tuple[CategoryGuess, ...]:
        """The likeliest leaf categories of the photo, likeliest first."""
        return self.answer.categories

    @property
    def facets(self) -> Facets | None:
        """What the nearest listings that pass the filters state, counted; None unless ``facets=True`` was asked for."""
        return self.answer.facets

    @property
    def explain(self) -> Mapping[str, Any] | None:
        """How the answer came about (``explain`` of a hit: its score); None unless ``explain=True`` was asked for."""
        return self.answer.explain

    def to_arrow(self) -> pa.Table:
        """One row per hit: rank from 1, ids, category, score 0..1, distance in bits, group, price and so on.

        Then `number_<name>` or `text_<name>` for each of the shop's own columns, and a list of values
        ``aspect_<name>`` for each aspect that was to be shown."""
        columns: dict[str, tuple[pa.DataType, list[Any]]] = {
            "rank": (pa.int32(), list(range(self.offset + 1, self.offset + len(self) + 1))),
            "listing_id": (pa.utf8(), [hit.listing_id for hit in self]),
            "photo_id": (pa.utf8(), [hit.photo_id for hit in self]),
            "photo_ordinal": (pa.int32(), [hit.photo_ordinal for hit in self]),
            "category": (pa.utf8(), [hit.category for hit in self]),
            "score": (pa.float64(), [hit.score for hit in self]),
            "distance": (pa.int32(), [hit.distance for hit in self]),
            "group": (pa.utf8(), [hit.group for hit in self]),
        }
        columns |= {c.name: (c.type, [hit.columns[c.name] for hit in self]) for c in SHOWN}
        for name in sorted({name for hit in self for name in hit.extra}):
            said = [hit.extra.get(name) for hit in self]
            number = any(isinstance(each, float) for each in said)
            columns[f"number_{name}" if number else f"text_{name}"] = (
                pa.float64() if number else pa.utf8(),
                said,
            )
        for name in sorted({name for hit in self for name in hit.aspects or ()}):
            stated = [list((hit.aspects or {}).get(name, ())) for hit in self]
            columns[f"aspect_{name}"] = (pa.list_(pa.utf8()), stated)
        return pa.table({name: pa.array(values, kind) for name, (kind, values) in columns.items()})

    def to_pandas(self) -> Any:
        """`to_arrow` as a `pandas.DataFrame`. Raises `SettingsError` where pandas is not installed."""
        try:
            return self.to_arrow().to_pandas()
        except ImportError as error:
            raise SettingsError(
                "to_pandas needs pandas: pip install pandas; to_arrow needs nothing more"
            ) from error

    def _repr_html_(self) -> str:
        guess = self.categories[0] if self.categories else None
        seen = f"{escape(guess.category)} {guess.probability:.0%}" if guess else "nothing"
        cards = "".join(self._card(rank, hit) for rank, hit in enumerate(self, self.offset + 1))
        return (
            f'<div style="font:13px sans-serif"><p>Seen as <b>{seen}</b>; {len(self)} listings.</p>'
            f'<div style="display:flex;flex-wrap:wrap;gap:10px">{cards or "Nothing was found."}</div></div>'
        )

    def _card(self, rank: int, hit: Hit) -> str:
        price = "" if hit.price is None else f"<br>{hit.price:,.2f}"
        return (
            f'<figure style="margin:0;width:{_PICTURE}px">{self._picture(hit.photo_id)}'
            f'<figcaption style="overflow-wrap:anywhere"><b>{rank}</b> {escape(hit.listing_id)}<br>'
            f"{escape(hit.category.rpartition('/')[2])}{price}</figcaption></figure>"
        )

    def _picture(self, photo_id: str) -> str:
        size = f"width:{_PICTURE}px;height:{_PICTURE}px"
        try:
            data = self.photo_bytes(photo_id)
            picture = None if data is None else base64.b64encode(thumbnail(data, _PICTURE)).decode("ascii")
        except LookalikeError:  # a notebook shows what there is; the ids stand beside it
            picture = None
        if picture is None:
            return f'<div style="{size};background:#8883"></div>'
        return f'<img alt="" style="{size};object-fit:contain" src="data:image/jpeg;base64,{picture}">'
