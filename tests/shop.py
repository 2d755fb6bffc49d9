"""A small shop for tests: rendered photos, listings, and a model release that is an ONNX graph written by hand.

The network sees the colours of a photo on an 8 x 8 grid: enough to tell the categories apart and to find look-alikes,
and made in milliseconds, so that tests of ranking and serving run the real encoder, extraction, builder and reader.
Every artefact is written as docs/architecture.md describes it.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageDraw

from lookalike.aspects.models import TREES
from lookalike.aspects.training import fit_aspects
from lookalike.catalogue.photo_store import shard_name
from lookalike.catalogue.snapshot import LISTING_PHOTOS_SCHEMA, PHOTOS_SCHEMA, listings_schema
from lookalike.coding.encoder import open_encoder
from lookalike.coding.extraction import extract
from lookalike.coding.release import ModelCard, TransformPreset
from lookalike.columns import own_columns
from lookalike.imaging.photos import load_square
from lookalike.index.builder import build
from lookalike.index.generation import read_generation
from lookalike.ingest.refresh import DeltaConfig, refresh
from lookalike.publishing.live_ref import publish, read_live
from lookalike.publishing.publication import live_shards
from lookalike.storage.artefacts import ArtefactWriter, Kind, Ref, fetch
from lookalike.storage.directory import DirectoryStore
from lookalike.storage.objects import ObjectStore

CATEGORIES = (
    "clothing/tops/shirt",
    "clothing/tops/vest",
    "home/lamp",
    "home/vase",
    "shoes/boot",
    "shoes/sandal",
)
_COLOURS = ((200, 40, 40), (40, 160, 60), (40, 70, 200), (220, 190, 40), (140, 60, 170), (60, 180, 190))
BITS, FEATURES, SIDE = 256, 192, 64
PRODUCT_SIZE = 2
"""Listings that share a product: every two neighbours of a category."""


@dataclass(frozen=True)
class Listing:
    listing_id: str
    category: str
    photo: bytes
    title: str | None
    price: float | None
    product: str
    aspects: dict[str, list[str]]
    split: str = "train"
    copy_of: str = ""
    """The product whose photo it shows without naming it."""
    more_photos: tuple[bytes, ...] = ()
    """Its other photos."""
    seller: str | None = None
    availability: str | None = None
    own: dict[str, float | str | None] = field(default_factory=dict)
    """The shop's own columns."""

    @property
    def photo_id(self) -> str:
        return _md5(self.photo)


@dataclass(frozen=True)
class Shop:
    """References of one shop in `store`."""

    store: ObjectStore
    cache_dir: Path
    listings: tuple[Listing, ...]
    curated: Ref
    release: Ref
    index: Ref


def own_store(shop: Shop, root: Path) -> Path:
    """A new folder with the shop's artefacts, so that what a test writes stays its own: for `DirectoryStore`."""
    assert isinstance(shop.store, DirectoryStore)
    root.mkdir()
    for folder in Path(shop.store.uri.removeprefix("file://")).iterdir():
        (root / folder.name).symlink_to(folder)
    return root


def render(category: str, number: int, *, side: int = 96) -> bytes:
    """A JPEG of the category's colour: something dark or light at a place that `number` decides."""
    rng = np.random.default_rng([CATEGORIES.index(category), number // PRODUCT_SIZE])
    base = np.array(_COLOURS[CATEGORIES.index(category)])
    image = Image.new("RGB", (side, side), tuple(int(c) for c in base + rng.integers(-15, 15, 3)))
    draw = ImageDraw.Draw(image)
    x, y = rng.uniform(0.1, 0.5, 2) * side
    shade = 30 if is_dark(number) else 235
    jitter = number % PRODUCT_SIZE
    draw.ellipse([x + jitter, y, x + side * 0.4 + jitter, y + side * 0.4], fill=(shade, shade, shade))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=92)
    return out.getvalue()


def is_dark(number: int) -> bool:
    return number // PRODUCT_SIZE % 2 == 0


def make_listings(per_category: int, *, prefix: str = "") -> tuple[Listing, ...]:
    """`per_category` listings of each category; ids sort by category and number."""
    listings = []
    for c, category in enumerate(CATEGORIES):
        for number in range(per_category):
            listings.append(
                Listing(
                    listing_id=f"{prefix}{c}-{number:03d}",
                    category=category,
                    photo=render(category, number),
                    title=f"{category.rpartition('/')[2].title()} no. {number}",
                    price=None if number % 7 == 3 else float(5 + number),
                    product=f"{category}#{number // PRODUCT_SIZE}",
                    aspects={
                        "mark": ["dark" if is_dark(number) else "light"],
                        "brand": [("Acme", "Bolt", "Crane")[number % 3]] if number % 5 else [],
                        "material": ["cotton", "wool"] if number % 4 == 0 else ["cotton"],
                    },
                    seller=("North", "South", None)[number % 3],
                    availability="sold out" if number % 6 == 5 else "in stock",
                    own={
                        "number_weight": None if number % 5 == 4 else 30 - number * 1.25,
                        "text_badge": f"batch {number}" if number % 2 else None,
                    },
                )
            )
    return tuple(sorted(listings, key=lambda row: row.listing_id))


def write_curated(store: ObjectStore, listings: tuple[Listing, ...], work: Path) -> Ref:
    """A curated snapshot of these listings, by its artefact contract."""
    digest = hashlib.sha256(repr(listings).encode()).hexdigest()
    writer = ArtefactWriter(store, Kind.CURATED, inputs={"catalogue": digest}, config={})
    shown = [
        (row.listing_id, i, photo)
        for row in listings
        for i, photo in enumerate((row.photo, *row.more_photos))
    ]
    distinct = {_md5(photo): photo for _, _, photo in shown}
    places, tar_path = [], work / shard_name(0)
    with tarfile.open(tar_path, "w") as tar:
        for photo_id, data in sorted(distinct.items()):
            info = tarfile.TarInfo(f"{photo_id}.jpg")
            info.size = len(data)
            places.append((photo_id, tar.offset + tarfile.BLOCKSIZE, len(data)))
            tar.addfile(info, io.BytesIO(data))
    photos = [
        {"photo_id": p, "shard": 0, "offset": at, "length": n, "width": 96, "height": 96, "phash": "0" * 16}
        for p, at, n in places
    ]
    aspects = sorted({name for row in listings for name in row.aspects})
    own = own_columns(name for row in listings for name in row.own)
    rows = [
        {
            "listing_id": row.listing_id,
            "photo_id": row.photo_id,
            "category": row.category,
            "source_category": row.category,
            "split": row.split,
            "title": row.title,
            "price": row.price,
            "product": row.product,
            "seller": row.seller,
            "availability": row.availability,
            "group": row.product or row.copy_of,
        }
        | row.own
        | {f"aspect_{name}": row.aspects.get(name) or None for name in aspects}
        for row in listings
    ]
    for name, table in (
        ("photos.parquet", pa.Table.from_pylist(photos, schema=PHOTOS_SCHEMA)),
        (
            "listing_photos.parquet",
            pa.table(
                [[x for x, _, _ in shown], [i for _, i, _ in shown], [_md5(photo) for _, _, photo in shown]],
                schema=LISTING_PHOTOS_SCHEMA,
            ),
        ),
        ("listings.parquet", pa.Table.from_pylist(rows, schema=listings_schema(aspects, own))),
    ):
        pq.write_table(table, work / name)
        writer.add(name, work / name)
    writer.add(shard_name(0), tar_path)
    writer.add("report.json", b"{}")
    return writer.commit()


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def write_release(
    store: ObjectStore,
    listings: tuple[Listing, ...],
    cache_dir: Path,
    *,
    seed: int = 0,
    side: int = SIDE,
    category_bits: int = 0,
    colour_bits: int = 0,
) -> Ref:
    """A model release: the colour-grid network with random hash planes of `seed`, and its aspect models.

    Of its bits the first `category_bits` count as those about the category, the last `colour_bits` as those about
    colours.
    """
    preset = TransformPreset(f"grid-{side}", side, side * 7 // 8)
    sample = listings[:: max(1, len(listings) // 120)]
    photos = np.stack([load_square(row.photo, side) for row in sample])
    labels = np.array([CATEGORIES.index(row.category) for row in sample])
    card = ModelCard("grid", "test", CATEGORIES, preset, BITS, FEATURES, data_digest=str(seed))
    draft = _write(store, card, _network(preset, photos, labels, seed), {}, cache_dir)
    encoding = open_encoder(fetch(store, draft, cache_dir), threads=1, precision="f32").encode(photos)
    names = sorted({name for row in listings for name in row.aspects})
    models = fit_aspects(
        encoding.features,
        labels,
        CATEGORIES,
        {name: [tuple(row.aspects.get(name, ())) for row in sample] for name in names},
        np.arange(len(sample)) % 4 == 0,
        threads=1,
    )
    files: dict[str, Path] = {}
    if models.models:
        models.save(trees := cache_dir / f"trees-{seed}-{side}.npz")
        files[TREES] = trees
    card = ModelCard(
        "grid",
        "test",
        CATEGORIES,
        preset,
        BITS,
        FEATURES,
        aspects=models.values,
        metrics={"aspects": dict(models.metrics)},
        data_digest=str(seed),
        category_bits=category_bits,
        colour_bits=colour_bits,
    )
    return _write(store, card, _network(preset, photos, labels, seed), files, cache_dir)


def open_shop(
    store: ObjectStore, cache_dir: Path, *, per_category: int = 24, prefix: str = "", seed: int = 0
) -> Shop:
    """Everything from listings to index, through the real steps."""
    cache_dir.mkdir(parents=True, exist_ok=True)
    listings = make_listings(per_category, prefix=prefix)
    curated = write_curated(store, listings, cache_dir)
    release = write_release(store, listings, cache_dir, seed=seed)
    extraction = extract(store, curated, release, cache_dir=cache_dir, threads=1)
    index = build(store, curated, extraction, shards=2, cache_dir=cache_dir)
    return Shop(store, cache_dir, listings, curated, release, index)


def reindex(shop: Shop, *, per_category: int, prefix: str = "", release: Ref | None = None) -> Shop:
    """The shop with other listings, or another release, in the same store."""
    listings = make_listings(per_category, prefix=prefix)
    curated = write_curated(shop.store, listings, shop.cache_dir)
    release = release or shop.release
    extraction = extract(shop.store, curated, release, cache_dir=shop.cache_dir, threads=1)
    index = build(shop.store, curated, extraction, shards=2, cache_dir=shop.cache_dir)
    return Shop(shop.store, shop.cache_dir, listings, curated, release, index)


def follow(shop: Shop, listings: tuple[Listing, ...], *, share: float = 1.0) -> Shop:
    """The shop with other listings as a re-index makes it over what is live: `index` is then a delta's reference."""
    live = read_live(shop.store)
    curated = write_curated(shop.store, listings, shop.cache_dir)
    extraction = extract(shop.store, curated, shop.release, cache_dir=shop.cache_dir, threads=1)
    made = refresh(
        shop.store,
        None if live is None else live.live.tip,
        extraction,
        shards=live_shards(shop.store),
        config=DeltaConfig(share),
        cache_dir=shop.cache_dir,
    )
    return Shop(shop.store, shop.cache_dir, listings, curated, shop.release, made.ref)


def go_live(shop: Shop) -> None:
    """Move the live ref to the shop's index snapshot or delta, without gates."""
    generation = read_generation(shop.store, shop.index)
    publish(
        shop.store,
        shop.release,
        generation.base,
        by="test",
        expected=read_live(shop.store),
        deltas=generation.deltas,
    )


def _write(store: ObjectStore, card: ModelCard, graph: bytes, files: dict[str, Path], work: Path) -> Ref:
    writer = ArtefactWriter(
        store,
        Kind.RELEASE,
        inputs={"graph": hashlib.sha256(graph).hexdigest()},
        config={
            "aspects": sorted(files),
            "preset": card.preset.name,
            "bits": [card.category_bits, card.colour_bits],
        },
    )
    writer.add("model.json", card.to_json().encode())
    writer.add("model.onnx", graph)
    for name, path in files.items():
        writer.add(name, path)
    return writer.commit()


def _network(preset: TransformPreset, photos: np.ndarray, labels: np.ndarray, seed: int) -> bytes:
    """uint8 photos -> central crop -> 8 x 8 grid of mean colours -> logits, activations, features."""
    rng = np.random.default_rng(seed)
    low, cell = (preset.resize - preset.crop) // 2, preset.crop // 8
    cropped = photos[:, low : low + preset.crop, low : low + preset.crop].astype(np.float32) / 255
    grid = cropped.reshape(len(photos), 8, cell, 8, cell, 3).mean(axis=(2, 4))
    features = grid.transpose(0, 3, 1, 2).reshape(len(photos), FEATURES)
    mean = features.mean(axis=0)
    centres = np.stack([(features - mean)[labels == c].mean(axis=0) for c in range(len(CATEGORIES))])
    constants = {
        "scale": np.array(1 / 255, np.float32),
        "starts": np.array([0, low, low, 0], np.int64),
        "ends": np.array([2**31, low + preset.crop, low + preset.crop, 3], np.int64),
        "flat": np.array([0, -1], np.int64),
        "mean": mean,
        "planes": (rng.normal(size=(FEATURES, BITS)) * 2).astype(np.float32),
        "centres": (2 * centres.T).astype(np.float32),
        "offsets": (-(centres**2).sum(axis=1)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["photos"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["pixels", "scale"], ["unit"]),
        helper.make_node("Slice", ["unit", "starts", "ends"], ["cropped"]),
        helper.make_node("Transpose", ["cropped"], ["channels"], perm=[0, 3, 1, 2]),
        helper.make_node(
            "AveragePool", ["channels"], ["grid"], kernel_shape=[cell, cell], strides=[cell, cell]
        ),
        helper.make_node("Reshape", ["grid", "flat"], ["features"]),
        helper.make_node("Sub", ["features", "mean"], ["centred"]),
        helper.make_node("MatMul", ["centred", "planes"], ["projected"]),
        helper.make_node("Sigmoid", ["projected"], ["activations"]),
        helper.make_node("MatMul", ["centred", "centres"], ["towards"]),
        helper.make_node("Add", ["towards", "offsets"], ["logits"]),
    ]
    outputs = {"logits": len(CATEGORIES), "activations": BITS, "features": FEATURES}
    graph = helper.make_graph(
        nodes,
        "grid",
        [helper.make_tensor_value_info("photos", TensorProto.UINT8, ["n", preset.resize, preset.resize, 3])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size])
            for name, size in outputs.items()
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data
