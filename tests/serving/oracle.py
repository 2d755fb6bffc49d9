"""What a search must answer, worked out from the files alone: slowly, plainly, and without ranking or scan.

It reads the tables of a curated snapshot and the code shards, goes over every listing one by one, and adds up what
docs/ranking.md says. The photo itself goes through the release's encoder and aspect models, which are tested elsewhere.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from lookalike.aspects.models import load_aspects
from lookalike.coding.encoder import open_encoder
from lookalike.imaging.photos import load_square
from lookalike.storage.artefacts import Ref, fetch
from tests.shop import Shop

MASS, MOST, BLEND, COLOUR, SAME = 0.95, 5, 0.75, 4.0, 1 / 64
POINTS = {"size": 2.0, "brand": 2.0, "price": 2.0}
EVERY = 3
_WHOLE = 1 << 16


@dataclass(frozen=True)
class Photo:
    photo_id: str
    code: int
    bits: np.ndarray
    """bool[bits], as in `code`."""


@dataclass(frozen=True)
class Row:
    """A listing of the files."""

    stated: Mapping[str, Any]
    aspects: Mapping[str, list[str]]
    photos: tuple[Photo, ...]

    @property
    def listing_id(self) -> str:
        return str(self.stated["listing_id"])

    @property
    def group(self) -> str:
        return str(self.stated["group"])


@dataclass(frozen=True)
class Asked:
    """A query: what its photo, or its listing, is."""

    codes: tuple[np.ndarray, ...]
    """bool[bits] of each photo."""
    sureness: tuple[np.ndarray, ...]
    """f32[bits]: how sure each bit of these is 1."""
    categories: Mapping[str, float]
    expected: Mapping[str, Mapping[str, float]]
    skill: Mapping[str, float]
    price: float | None = None
    own: Row | None = None

    @property
    def numbers(self) -> list[int]:
        """The codes as `Photo.code` has them."""
        return [int.from_bytes(np.packbits(code).tobytes()) for code in self.codes]


@dataclass(frozen=True)
class Found:
    """A hit."""

    row: Row
    photo: Photo
    distance: int
    score: float
    beyond: bool = False


class Oracle:
    """Answers searches over one shop's listings, of which a first step ranks the nearest `candidates`."""

    def __init__(self, shop: Shop, candidates: int) -> None:
        self.candidates = candidates
        release = fetch(shop.store, shop.release, shop.cache_dir)
        self.encoder = open_encoder(release, threads=1)
        self.card = self.encoder.card
        self.models = load_aspects(release, self.card)
        tables = fetch(shop.store, shop.curated, shop.cache_dir)
        codes = _codes(shop)
        photos: dict[str, list[Photo]] = {}
        for each in pq.read_table(tables.path("listing_photos.parquet")).to_pylist():
            code = codes[each["photo_id"]]
            bits = np.unpackbits(np.frombuffer(code, np.uint8)).astype(bool)
            photos.setdefault(each["listing_id"], []).append(
                Photo(each["photo_id"], int.from_bytes(code), bits)
            )
        self.rows = [
            Row(
                each,
                {n.removeprefix("aspect_"): v for n, v in each.items() if n.startswith("aspect_") and v},
                tuple(photos[each["listing_id"]]),
            )
            for each in pq.read_table(tables.path("listings.parquet")).to_pylist()
        ]
        self.categories = sorted({row.stated["category"] for row in self.rows})

    # --- queries ---------------------------------------------------------------------------

    def photo(self, data: bytes) -> Asked:
        """The query of a photo."""
        encoding = self.encoder.encode(load_square(data, self.card.preset.resize)[None])
        chances = encoding.probabilities[0]
        likeliest = self.card.categories[int(chances.argmax())]
        stated = {a for row in self.rows if row.stated["category"] == likeliest for a in row.aspects}
        skills = _skills(self.card.metrics["aspects"])
        predicted = self.models.predict(encoding.features, encoding.probabilities)[0]
        known = {n: dict(v) for n, v in predicted.items() if n in skills and n in stated}
        code = np.unpackbits(encoding.codes[0]).astype(bool)
        sureness = _kept(encoding.activations[0], self.card.threshold_array, code)
        return Asked(
            (code,), (sureness,), dict(zip(self.card.categories, chances, strict=True)), known, skills
        )

    def listing(self, listing_id: str, *, every_photo: bool) -> Asked:
        """The query of a listing."""
        (row,) = (each for each in self.rows if each.listing_id == listing_id)
        codes = tuple(photo.bits for photo in row.photos[: None if every_photo else 1])
        chances = {c: float(c == row.stated["category"]) for c in self.card.categories}
        expected = {name: dict.fromkeys(values, 1.0) for name, values in row.aspects.items()}
        sure = tuple(code.astype(np.float32) for code in codes)
        return Asked(codes, sure, chances, expected, {}, row.stated["price"], row)

    # --- answers ---------------------------------------------------------------------------

    def answer(self, asked: Asked, request: Mapping[str, Any]) -> list[Found]:
        """All hits up to the last that is asked for, best first."""
        opened = self.opened(asked, request)
        hits = self._hits(asked, request, opened)
        if not request.get("everything") or request.get("sort"):
            return hits
        others = self._hits(self._blind(asked), request, opened)
        beyond = [replace(hit, beyond=True) for hit in others]
        return self._mixed(asked, hits, beyond, _reach(request))

    def opened(self, asked: Asked, request: Mapping[str, Any]) -> list[str]:
        """The categories whose listings may be answered, likeliest first."""
        barred = _below(request.get("categories_not", ()), self.categories)
        if named := request.get("categories"):
            return [c for c in _below(named, self.categories) if c not in barred]
        own = asked.own and asked.own.stated["category"]
        if request.get("everything") or own in barred:
            return [c for c in self.categories if c not in barred]
        order = sorted(self.card.categories, key=lambda c: -float(asked.categories[c]))
        order = [c for c in order if c in self.categories and c not in barred]
        wanted, found, mass = MASS * sum(float(asked.categories[c]) for c in order), [], 0.0
        for category in order:
            found.append(category)
            mass += float(asked.categories[category])
            if mass >= wanted - 1e-9 or len(found) == MOST:
                break
        return found

    def pool(self, asked: Asked, request: Mapping[str, Any]) -> list[Found]:
        """The candidates of the first step that may be answered."""
        near = self._nearest(asked, request, self.opened(asked, request))[: self.candidates]
        return [found for found in near if self._may(asked, request, found.row)]

    def _nearest(self, asked: Asked, request: Mapping[str, Any], opened: Iterable[str]) -> list[Found]:
        """Every listing that passes, by its nearest photo, nearest first, equal distances by listing id."""
        found, own = [], asked.numbers
        for row in self.rows:
            if row.stated["category"] not in opened or not _passes(row, request):
                continue
            far = [min((photo.code ^ code).bit_count() for code in own) for photo in row.photos]
            found.append(Found(row, row.photos[far.index(min(far))], min(far), 0.0))
        return sorted(found, key=lambda each: (each.distance, each.row.listing_id))

    def _may(self, asked: Asked, request: Mapping[str, Any], row: Row) -> bool:
        own = asked.own and asked.own.group
        return (
            row.listing_id not in request.get("exclude", ())
            and row.group not in request.get("exclude_group", ())
            and row.group != own
        )

    def _hits(self, asked: Asked, request: Mapping[str, Any], opened: list[str]) -> list[Found]:
        near, reach = self._nearest(asked, request, opened), _reach(request)
        total = sum(row.stated["category"] in opened for row in self.rows)
        hits: list[Found] = []
        start, k, scale, groups = 0, self.candidates, (0.0, 0.0), set[str]()
        while True:
            step = [found for found in near[start:k] if self._may(asked, request, found.row)]
            if step:
                scale = scale if scale[1] else self._scale(asked, request, step)
                least = hits[-1].score if hits else 1.0
                ranked = [
                    replace(each, score=min(least, self._score(asked, request, each, scale))) for each in step
                ]
                itself = SAME * self.card.bits
                ranked = [replace(each, score=1.0) if each.distance <= itself else each for each in ranked]
                ranked.sort(key=lambda each: (each.distance > itself, -each.score))
                if request.get("sort"):
                    ranked = _by_number(ranked, request["sort"])
                for each in ranked:
                    if each.row.group not in groups and len(hits) < reach:
                        groups.add(each.row.group)
                        hits.append(each)
            if len(hits) == reach or len(near) < k or k >= total or request.get("sort"):
                return hits
            start, k = k, min(total, 4 * k)

    def _scale(self, asked: Asked, request: Mapping[str, Any], step: list[Found]) -> tuple[float, float]:
        """The nearest distance, and how far from it appearance is 0."""
        far = [self._distance(asked, request, each.photo) for each in step]
        return min(far), max(max(far) - min(far), self.card.bits / 16)

    def _score(
        self, asked: Asked, request: Mapping[str, Any], found: Found, scale: tuple[float, float]
    ) -> float:
        far = self._distance(asked, request, found.photo)
        appearance = max(0.0, 1 - (far - scale[0]) / scale[1])
        if not asked.expected and asked.price is None:
            return appearance
        blend = request.get("alpha", BLEND)
        return float(blend * appearance + (1 - blend) * _reward(asked, found.row))

    def _distance(self, asked: Asked, request: Mapping[str, Any], photo: Photo) -> float:
        """The expected number of differing bits, each by its weight; of several photos of a query the nearest."""
        bits, colour = self.card.bits, float(request.get("colour", COLOUR)) if self.card.colour_bits else 1.0
        weights = np.ones(bits)
        weights[: self.card.category_bits] = max(1.0, math.sqrt(colour))
        weights[bits - self.card.colour_bits :] = colour
        weights /= weights.max()
        found = []
        for sure in asked.sureness:
            drawn = (0.5 + weights * (sure - 0.5)).astype(np.float32).astype(np.float64)
            ones = np.rint(drawn * _WHOLE)
            found.append(float(np.where(photo.bits, _WHOLE - ones, ones).sum()) / _WHOLE)
        total = float(weights.sum())
        return (min(found) - (bits - total) / 2) * bits / total

    def _blind(self, asked: Asked) -> Asked:
        """The query without what its first bits say of the category."""
        count = self.card.category_bits
        pattern = np.random.default_rng(0).integers(0, 2, count, np.uint8).astype(bool)
        codes = tuple(np.concatenate([pattern, code[count:]]) for code in asked.codes)
        half = np.full(count, 0.5, np.float32)
        return replace(
            asked, codes=codes, sureness=tuple(np.concatenate([half, s[count:]]) for s in asked.sureness)
        )

    def _mixed(self, asked: Asked, routed: list[Found], others: list[Found], reach: int) -> list[Found]:
        """Every third hit one of the others; no group twice, and no score above the one before."""
        hits: list[Found] = []
        while len(hits) < reach:
            seen = {hit.row.group for hit in hits}
            queues = [[hit for hit in queue if hit.row.group not in seen] for queue in (routed, others)]
            first, second = queues[::-1] if len(hits) % EVERY == EVERY - 1 else queues
            if not (first or second):
                break
            hit = (first or second)[0]
            if hit.beyond:
                hit = replace(
                    hit, distance=min((hit.photo.code ^ code).bit_count() for code in asked.numbers)
                )
            hits.append(replace(hit, score=min(hit.score, hits[-1].score) if hits else hit.score))
        return hits


def _reach(request: Mapping[str, Any]) -> int:
    return int(request["k"]) + int(request.get("offset", 0))


def _codes(shop: Shop) -> dict[str, bytes]:
    """Photo id -> its code, from the code shards."""
    manifest = fetch(shop.store, shop.index, shop.cache_dir).manifest
    extraction = fetch(shop.store, Ref.parse(manifest.inputs["extraction"]), shop.cache_dir)
    found = {}
    for number, shard in enumerate(json.loads(extraction.path("shards.json").read_text())["shards"]):
        path = shop.cache_dir / f"oracle-{number}.parquet"
        path.write_bytes(shop.store.get(shard["key"]))
        found |= {each["photo_id"]: each["code"] for each in pq.read_table(path).to_pylist()}
    return found


def _kept(activations: np.ndarray, thresholds: np.ndarray, code: np.ndarray) -> np.ndarray:
    """f32[bits]: the chance that each bit is 1, its odds moved so that the threshold is one half, in 127 steps."""
    a, t = (np.clip(x, 1e-6, 1 - 1e-6).astype(np.float64) for x in (activations, thresholds))
    odds = a / (1 - a) * (1 - t) / t
    sure = np.abs((odds / (1 + odds)).astype(np.float32) - np.float32(0.5))
    levels = np.floor(sure * np.float32(254) + np.float32(0.5)) / np.float32(254)
    return (0.5 + np.where(code, levels, -levels)).astype(np.float32)


def _skills(measured: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """The aspects whose predictions are better than the commonest value, and how much these are worth."""
    found = {}
    for name, each in measured.items():
        n, share, majority = (each.get(key) for key in ("held_out", "accuracy", "majority"))
        if not n or share is None or majority is None:
            continue
        z = 1.645
        lower = share + z * z / (2 * n) - z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
        if share >= majority + 0.05 and lower / (1 + z * z / n) > majority:
            found[name] = min(1.0, (share - majority) / (1 - majority))
    return found


def _reward(asked: Asked, row: Row) -> float:
    """The share of the points that the listing earns."""
    earned = possible = 0.0
    for name, chances in asked.expected.items():
        points = POINTS.get(name, 1.0)
        possible += points
        right = sum(chances.get(value, 0.0) for value in row.aspects.get(name, ()))
        earned += points * asked.skill.get(name, 1.0) * min(1.0, right)
    if asked.price:
        possible += POINTS["price"]
        if (price := row.stated["price"]) is not None:
            earned += POINTS["price"] * min(price, asked.price) / max(price, asked.price)
    return earned / possible if possible else 0.0


def _below(wanted: Iterable[str], known: Iterable[str]) -> list[str]:
    return [c for path in wanted for c in known if c == path or c.startswith(path + "/")]


def _passes(row: Row, request: Mapping[str, Any]) -> bool:
    def states(pair: str) -> bool:
        name, _, value = pair.partition("=")
        return value in row.aspects.get(name, ())

    for name in {pair.partition("=")[0] for pair in request.get("aspects", ())}:
        if not any(states(pair) for pair in request["aspects"] if pair.startswith(name + "=")):
            return False
    if any(states(pair) for pair in request.get("aspects_not", ())):
        return False
    for name in ("seller", "availability"):
        if name in request and row.stated[name] not in request[name]:
            return False
        if row.stated[name] in request.get(name + "_not", ()):
            return False
    known = {"price": row.stated["price"], "weight": row.stated["number_weight"]}
    ranges = [("price", request["price"])] if "price" in request else []
    ranges += [each.split("=", 1) for each in request.get("ranges", ())]
    for name, text in ranges:
        low, high = (float(end) if end else None for end in text.split(".."))
        numbers = [known[name]] if name in known else map(_number, row.aspects.get(name, ()))
        if not any(
            n is not None and (low is None or n >= low) and (high is None or n <= high) for n in numbers
        ):
            return False
    return True


def _number(text: str) -> float | None:
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return None


def _by_number(ranked: list[Found], sort: str) -> list[Found]:
    name = {"price": "price", "weight": "number_weight"}[sort.removeprefix("-")]
    known = [each for each in ranked if each.row.stated[name] is not None]
    sign = -1 if sort.startswith("-") else 1
    known.sort(key=lambda each: sign * each.row.stated[name])
    return known + [each for each in ranked if each.row.stated[name] is None]
