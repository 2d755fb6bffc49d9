"""The columns of a gallery: one row a listing, by its first photo, however many photos and segments there are."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa

from lookalike.catalogue.listings import Catalogue, Listed
from lookalike.catalogue.listings import Listing as Row
from lookalike.coding import codes
from lookalike.coding.encoder import Encoding
from lookalike.coding.extraction import extract
from lookalike.coding.shards import read_codes, read_features
from lookalike.index.builder import build
from lookalike.index.reader import IndexSnapshot
from lookalike.quality.gallery import read_gallery
from lookalike.quality.labels import NOBODY
from lookalike.quality.queries import Queries
from lookalike.storage.artefacts import fetch
from lookalike.storage.directory import DirectoryStore
from tests.shop import BITS, make_listings, render, write_curated, write_release


def test_a_listing_is_known_by_its_first_photo(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    listings = tuple(
        dataclasses.replace(row, more_photos=(render(row.category, 50 + n),) * (n % 3 > 0))
        for n, row in enumerate(make_listings(8))
    )
    curated = write_curated(store, listings, tmp_path)
    release = write_release(store, listings, tmp_path)
    extraction = extract(store, curated, release, cache_dir=tmp_path, threads=1)
    index = build(store, curated, extraction, shards=2, cache_dir=tmp_path)
    snapshot = IndexSnapshot.open(fetch(store, index, tmp_path))
    asked = [
        Row("stranger", (), "home/lamp", 1, product=listings[5].product),
        Row(listings[7].listing_id, (), "", 2),
    ]
    encoding = Encoding(*(np.empty((2, 0)) for _ in dataclasses.fields(Encoding)))
    photos = np.array([listings[3].photo_id, listings[7].photo_id])
    catalogue = Catalogue("x.csv", "", Listed.of(asked))
    queries = Queries(catalogue, asked, ["", ""], photos, np.array(["home/lamp", ""]), encoding)
    gallery = read_gallery(store, index, snapshot, queries, tmp_path)

    assert gallery.listing_ids.tolist() == [row.listing_id for row in listings]
    assert [gallery.category_names[n] for n in gallery.categories] == [row.category for row in listings]
    first = pa.array([row.photo_id for row in listings])
    whole = read_codes(store, extraction, first, BITS // 8, tmp_path)
    assert np.array_equal(gallery.distances(whole[:2]), [codes.hamming(code, whole) for code in whole[:2]])
    assert gallery.features is not None
    features = read_features(store, extraction, first, tmp_path)
    np.testing.assert_allclose(
        gallery.features, features / np.linalg.norm(features, axis=1)[:, None], rtol=1e-5
    )
    assert gallery.itself.tolist() == [NOBODY, 7]
    assert [rows.tolist() for rows in (gallery.own(0), gallery.own(1))] == [[3], [7, 7]]
    relevant = gallery.relevant(queries, slice(0, 2))
    assert np.flatnonzero(relevant["category"][0]).tolist() == [
        n for n, row in enumerate(listings) if row.category == "home/lamp"
    ]
    assert not relevant["category"][1].any()
    assert np.flatnonzero(relevant["product"][0]).tolist() == [4, 5]
    assert np.flatnonzero(gallery.own_pairs(slice(1, 2))[0]).tolist() == [7]
