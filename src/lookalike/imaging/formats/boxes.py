"""AVIF and HEIC: ISO base media boxes (ISO/IEC 14496-12), HEIF items (23008-12), AV1 Image File Format 1.1.

The size that the container claims is not what decoders allocate by: that stands in the coded data. So the sequence
headers of every item that is decoded on the way to the photo are read as well (`bitstreams`), tiles and transparency
included, and a file that hides a larger picture is refused. Turns and mirrors are properties of an item; EXIF's
orientation does not count in these formats (23008-12, annex A.2.1), nor do films beside the picture, which the decoder
never sees.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from lookalike.errors import PhotoError
from lookalike.imaging.formats.bitstreams import Coded, av1, hevc
from lookalike.imaging.formats.header import Header
from lookalike.imaging.limits import Format, Limits, check_scans
from lookalike.imaging.profiles import ColourSource, Embedded, coded

_AVIF = {b"avif", b"avis"}
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"}
_MAXIMUM_BOXES = 1000
_MAXIMUM_ITEMS = 4000
"""A 48-megapixel photo of a phone has 192 tiles, a few for its preview, depth and gain maps."""
_MAXIMUM_EXTENTS = 64
_ORIENTATIONS = {(0, -1): 1, (1, -1): 8, (2, -1): 3, (3, -1): 6, (0, 1): 2, (0, 0): 4, (1, 1): 7, (1, 0): 5,
                 (2, 1): 4, (2, 0): 2, (3, 1): 5, (3, 0): 7}  # fmt: skip
"""EXIF's orientation, by quarter turns to the left and then the mirror (-1 none, 0 upside down, 1 left to right)."""

_Span = tuple[int, int]


def recognise(data: bytes) -> Format | None:
    """AVIF or HEIC by the brands of the file."""
    if data[4:8] != b"ftyp":
        return None
    end = min(int.from_bytes(data[:4], "big"), len(data), 1024)
    brands = [data[8:12]] + [data[at : at + 4] for at in range(16, end - 3, 4)]
    for brand in brands:
        if brand in _AVIF:
            return "AVIF"
        if brand in _HEIC:
            return "HEIC"
    return None


def read(data: bytes) -> Header:
    """What the header says. Raises `PhotoError`."""
    kind = recognise(data) or "AVIF"
    items = _Items(data)
    width, height = items.size
    decoded = items.decoded(kind)
    for number, (stated, coded_size) in decoded.items():
        if coded_size.width > stated[0] + 64 or coded_size.height > stated[1] + 64:
            raise PhotoError(
                "damaged", f"item {number} says {stated}, its data {coded_size.width} x {coded_size.height}"
            )
    orientation = items.orientation
    if kind == "HEIC" and orientation >= 5:  # libheif turns the photo itself
        width, height = height, width
    return Header(
        kind,
        width,
        height,
        1 if kind == "HEIC" else orientation,
        coded_pixels=sum(size.pixels for _, size in decoded.values()),
        colours=items.colours,
    )


def pixels(data: bytes, limits: Limits) -> tuple[bytes, int]:
    """The file without its films, and how many bytes code the photo. Raises `PhotoError`."""
    kind = recognise(data) or "AVIF"
    items = _Items(data)
    decoded = items.decoded(kind)
    check_scans(max(size.frames for _, size in decoded.values()), limits)
    whole = bytearray(data)
    for name, start, end in _boxes(data, 0, len(data)):
        if name == b"ftyp":  # no brand of a film: the picture is what counts
            for at in (start, *range(start + 8, end - 3, 4)):
                whole[at : at + 4] = whole[at : at + 4].replace(b"avis", b"avif")
        elif name in (b"moov", b"moof", b"mfra"):
            at = data.rindex(name, 0, start)
            whole[at : at + 4] = b"free"
    return bytes(whole), sum(sum(end - start for start, end in items.places.get(n, ())) for n in decoded)


@dataclass
class _Items:
    """The items of a file's `meta` box, as far as its primary item depends on them."""

    data: bytes
    primary: int = 0
    types: dict[int, bytes] = field(default_factory=dict)
    places: dict[int, list[_Span]] = field(default_factory=dict)
    properties: list[tuple[bytes, int, int]] = field(default_factory=list)
    owned: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    """Item -> the numbers of its properties, from 1."""
    parts: dict[int, list[int]] = field(default_factory=dict)
    """Derived item -> the items that it is made from."""
    beside: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    """Item -> its auxiliary items, such as transparency."""

    def __post_init__(self) -> None:
        top = {name: (start, end) for name, start, end in _boxes(self.data, 0, len(self.data))}
        if b"meta" not in top:
            raise PhotoError("damaged", "a file without a still picture")
        start, end = top[b"meta"]
        inside = {name: (begin, stop) for name, begin, stop in _boxes(self.data, start + 4, end)}
        try:
            self._read(inside)
        except (IndexError, KeyError) as error:
            raise PhotoError("damaged", "the file's list of pictures cannot be read") from error
        if self.primary not in self.types:
            raise PhotoError("damaged", "a file without a still picture")

    def _read(self, inside: dict[bytes, _Span]) -> None:
        at, _ = inside[b"pitm"]
        self.primary = self._number(at + 4, 4 if self.data[at] else 2)
        for name, start, end in self._listed(inside[b"iinf"]):
            if name == b"infe" and self.data[start] >= 2 and end - start >= 12:
                wide = 4 if self.data[start] > 2 else 2
                self.types[self._number(start + 4, wide)] = self.data[start + 6 + wide : start + 10 + wide]
        if len(self.types) > _MAXIMUM_ITEMS:
            raise PhotoError("damaged", f"a file of more than {_MAXIMUM_ITEMS:,} pictures")
        for name, start, end in _boxes(self.data, *inside[b"iprp"]):
            if name == b"ipco":
                self.properties = list(_boxes(self.data, start, end))
            elif name == b"ipma":
                self._own(start)
        self._locate(inside)
        if b"iref" in inside:
            self._refer(*inside[b"iref"])

    def _listed(self, span: _Span) -> Iterator[tuple[bytes, int, int]]:
        return _boxes(self.data, span[0] + (8 if self.data[span[0]] else 6), span[1], _MAXIMUM_ITEMS + 1)

    def _number(self, at: int, size: int) -> int:
        if at + size > len(self.data):
            raise IndexError
        return int.from_bytes(self.data[at : at + size], "big")

    def _own(self, at: int) -> None:
        wide, flags = (4 if self.data[at] else 2), self.data[at + 3]
        count, at = self._number(at + 4, 4), at + 8
        for _ in range(min(count, _MAXIMUM_ITEMS)):
            item, at = self._number(at, wide), at + wide
            owned, at = self.data[at], at + 1
            for _ in range(owned):
                number = self._number(at, 2) & 0x7FFF if flags & 1 else self.data[at] & 0x7F
                self.owned[item].append(number)
                at += 2 if flags & 1 else 1

    def _locate(self, inside: dict[bytes, _Span]) -> None:
        at, _ = inside[b"iloc"]
        version = self.data[at]
        sizes = self._number(at + 4, 2)
        offset, length, base, index = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
        wide = 4 if version == 2 else 2
        count, at = self._number(at + 6, wide), at + 6 + wide
        for _ in range(min(count, _MAXIMUM_ITEMS)):
            item, at = self._number(at, wide), at + wide
            method = 0
            if version:
                method, at = self._number(at, 2) & 15, at + 2
            from_here, at = self._number(at + 2, base), at + 2 + base
            extents, at = self._number(at, 2), at + 2
            if extents > _MAXIMUM_EXTENTS or method > 1:
                raise PhotoError("damaged", "a picture in more pieces than encoders make")
            start = inside[b"idat"][0] if method else 0
            for _ in range(extents):
                at += index if version else 0
                begin, size = self._number(at, offset), self._number(at + offset, length)
                at += offset + length
                begin += start + from_here
                self.places.setdefault(item, []).append((begin, begin + size if size else len(self.data)))

    def _refer(self, start: int, end: int) -> None:
        wide = 4 if self.data[start] else 2
        for name, at, _ in _boxes(self.data, start + 4, end, _MAXIMUM_ITEMS):
            source, count = self._number(at, wide), self._number(at + wide, 2)
            if count > _MAXIMUM_ITEMS:
                raise PhotoError("damaged", f"a picture of more than {_MAXIMUM_ITEMS:,} parts")
            others = [self._number(at + wide + 2 + n * wide, wide) for n in range(count)]
            if name == b"dimg":
                self.parts[source] = others
            elif name == b"auxl":
                for other in others:
                    self.beside[other].append(source)

    def _property(self, item: int, name: bytes) -> bytes | None:
        for number in self.owned.get(item, ()):
            if 1 <= number <= len(self.properties) and self.properties[number - 1][0] == name:
                _, start, end = self.properties[number - 1]
                return self.data[start:end]
        return None

    def _size(self, item: int) -> tuple[int, int]:
        found = self._property(item, b"ispe")
        if found is None or len(found) < 12:
            raise PhotoError("damaged", f"item {item} has no size")
        return int.from_bytes(found[4:8], "big"), int.from_bytes(found[8:12], "big")

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the photo before it is turned."""
        return self._size(self.primary)

    @property
    def orientation(self) -> int:
        """EXIF's number for the turn and the mirror of the photo."""
        turn, mirror = self._property(self.primary, b"irot"), self._property(self.primary, b"imir")
        return _ORIENTATIONS.get((turn[0] & 3 if turn else 0, mirror[0] & 1 if mirror else -1), 1)

    @property
    def colours(self) -> ColourSource | None:
        """The profile of the photo, or of its first tile; or its numbers of H.273."""
        for item in (self.primary, *self.parts.get(self.primary, [])[:1]):
            numbers = None
            for number in self.owned.get(item, ()):
                if not 1 <= number <= len(self.properties) or self.properties[number - 1][0] != b"colr":
                    continue
                _, start, end = self.properties[number - 1]
                if self.data[start : start + 4] in (b"prof", b"rICC"):
                    return Embedded(((start + 4, end),))
                if self.data[start : start + 4] == b"nclx" and end - start >= 11:
                    stated = self._number(start + 4, 2), self._number(start + 6, 2)
                    numbers = coded(*stated, film_as_srgb=True)
            if numbers:
                return numbers
        return None

    def decoded(self, kind: Format) -> dict[int, tuple[tuple[int, int], Coded]]:
        """Every item that is decoded on the way to the photo: the size it states, and what its data holds."""
        found: dict[int, tuple[tuple[int, int], Coded]] = {}
        waiting = [self.primary, *self.beside.get(self.primary, ())]
        for item in waiting:
            if item in found:
                continue
            match self.types.get(item):
                case b"grid" | b"iden":
                    parts = self.parts.get(item, [])
                    if len(waiting) + len(parts) > _MAXIMUM_ITEMS or item in parts:
                        raise PhotoError("damaged", f"a picture of more than {_MAXIMUM_ITEMS:,} parts")
                    if any(self.types.get(part) in (b"grid", b"iden") for part in parts):
                        raise PhotoError(
                            "type", "a picture made of made pictures; save it as an ordinary JPEG"
                        )
                    waiting += parts
                    waiting += [other for part in parts for other in self.beside.get(part, ())]
                case b"av01" if kind == "AVIF":
                    found[item] = self._size(item), av1(self._bytes(item))
                case b"hvc1" | b"hev1" if kind == "HEIC":
                    found[item] = (
                        self._size(item),
                        hevc(self._property(item, b"hvcC") or b"", self._bytes(item)),
                    )
                case _ if item == self.primary or item in self.parts.get(self.primary, ()):
                    raise PhotoError("type", f"not an ordinary {kind}; save it as an ordinary JPEG")
        if not found:
            raise PhotoError("damaged", "a file without a still picture")
        return found

    def _bytes(self, item: int) -> bytes:
        places = self.places.get(item, [])
        if sum(max(0, end - start) for start, end in places) > len(self.data):
            raise PhotoError("damaged", "a picture whose pieces overlap")
        if not places or any(end > len(self.data) for _, end in places):
            raise PhotoError("truncated", "the file ends before its picture does")
        return b"".join(self.data[start:end] for start, end in places)


def _boxes(data: bytes, at: int, end: int, most: int = _MAXIMUM_BOXES) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of the contents of every box in a part of the file. Raises `PhotoError`."""
    for _ in range(most):
        if at + 8 > end:
            return
        size, name, start = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], at + 8
        if size == 1:
            size, start = int.from_bytes(data[at + 8 : at + 16], "big"), at + 16
        stop = end if size == 0 else at + size
        if stop < start:
            raise PhotoError("damaged", "a box without a length")
        if stop > end:
            if end == len(data) and name == b"mdat":
                stop = end  # whether the picture itself is whole is seen where it lies
            else:
                raise PhotoError("truncated", "the file ends within a box")
        yield name, start, stop
        at = stop
    raise PhotoError("damaged", f"a file of more than {most:,} boxes")
