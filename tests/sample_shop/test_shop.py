"""The sample catalogue: deterministic, labelled as it looks, with its flaws where it says."""

from __future__ import annotations

import csv
import hashlib
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from lookalike.errors import PhotoError
from lookalike.imaging.photos import load_square, probe
from sample_shop import drawers, write_sample
from sample_shop.flaws import BROKEN
from sample_shop.products import KINDS
from sample_shop.shop import LATE, _offers, _queries
from tests.serving.running import eventually


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def digest(folder: Path) -> str:
    state = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            state.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return state.hexdigest()


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    write_sample(folder, products=1, seed=3)
    return folder


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(sample: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    paths = write_sample(
        tmp_path, products=1, seed=3, progress=lambda stage, done, total, note="": calls.append((done, total))
    )
    assert digest(tmp_path) == digest(sample)
    assert calls[-1][0] == calls[-1][1]
    assert calls == sorted(set(calls)), "it counts up"
    before = paths.queries.with_name("query-photos") / "Q0001.jpg"
    first = before.read_bytes()
    write_sample(tmp_path, products=1, seed=4)
    assert before.read_bytes() != first


def test_processes_draw_the_same_bytes(sample: Path, tmp_path: Path) -> None:
    write_sample(tmp_path, products=1, seed=3, pool=drawers())
    assert digest(tmp_path) == digest(sample)


def test_processes_that_draw_end_with_whoever_asked_for_them_even_if_it_was_killed() -> None:
    """They would wait for work for ever."""
    code = """if __name__ == "__main__":
    import os, time
    from sample_shop import drawers
    pool = drawers()
    print(*{pool.submit(os.getpid).result() for _ in range(9)}, flush=True)
    time.sleep(600)"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        drawing = [int(pid) for pid in parent.stdout.readline().split()]
        assert drawing
        parent.kill()
    eventually(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in drawing))


def test_the_tree_has_leaves_of_depth_three(sample: Path) -> None:
    categories = {row["category"] for row in rows(sample / "catalogue.csv")}
    assert len(categories) >= 12
    assert all(category.count("/") == 2 for category in categories)


def test_every_query_shows_a_product_of_the_catalogue_but_no_photo_of_it(sample: Path) -> None:
    offered = {row["product"]: row for row in rows(sample / "catalogue.csv")}
    known = {hashlib.md5(path.read_bytes()).digest() for path in (sample / "photos").iterdir()}
    queries = rows(sample / "queries.csv")
    assert Counter(row["category"] for row in queries) == Counter(kind.category for kind in KINDS)
    for row in queries:
        data = (sample / row["image"]).read_bytes()
        assert hashlib.md5(data).digest() not in known
        assert row["product"] in offered
        assert row["aspect_brand"] == offered[row["product"]]["aspect_brand"]


def test_a_product_comes_in_several_colours_and_photos(sample: Path) -> None:
    sound = [row for row in rows(sample / "catalogue.csv") if row["product"].endswith("mug-000")]
    assert len(sound) >= 5
    assert len({row["aspect_colour"] for row in sound}) == 2
    assert len({row["aspect_material"] for row in sound}) == 1


def test_flaws_are_where_the_list_says(sample: Path) -> None:
    planted = {row["listing_id"]: row["flaw"] for row in rows(sample / "planted.csv")}
    *listed, again = rows(sample / "catalogue.csv")
    assert again["listing_id"] == listed[0]["listing_id"]
    assert set(BROKEN) | {"wrong-label", "exact-copy", "near-copy", "copy-in-other-category"} <= set(
        planted.values()
    )
    for row in listed:
        listing_id = row["listing_id"]
        path, flaw = sample / "photos" / f"{listing_id}.jpg", planted.get(listing_id, "")
        if flaw == "missing":
            assert not path.exists()
        elif flaw in {"text", "empty", "truncated"}:
            with pytest.raises(PhotoError):
                load_square(path.read_bytes(), 32)
        elif flaw == "tiny":
            assert probe(path.read_bytes()).width < 32
        elif flaw == "strip":
            info = probe(path.read_bytes())
            assert info.width > 8 * info.height
        elif flaw == "blank":
            assert load_square(path.read_bytes(), 32).std() < 2
        elif flaw == "wrong-label":
            assert row["category"].rpartition("/")[2] not in row["title"]
        elif flaw not in {"bad-price", "no-image", "path-outside", "copy-in-other-category"}:
            assert row["category"].rpartition("/")[2] in row["title"]
            assert load_square(path.read_bytes(), 32).std() > 5


def test_exact_copies_share_their_bytes_with_another_listing_and_near_copies_do_not(sample: Path) -> None:
    planted = {row["listing_id"]: row["flaw"] for row in rows(sample / "planted.csv")}
    digests = {path.stem: hashlib.md5(path.read_bytes()).digest() for path in (sample / "photos").iterdir()}
    shared = Counter(digests.values())
    for listing_id, flaw in planted.items():
        if flaw in {"exact-copy", "copy-in-other-category"}:
            assert shared[digests[listing_id]] >= 2
        elif flaw == "near-copy":
            assert shared[digests[listing_id]] == 1


def test_a_sixth_of_the_products_is_late_with_all_photos_and_copies_of_them() -> None:
    offers = _offers(12, 0, random.Random("0/shop"))
    late = {offer.variant.product for offer in offers if offer.split == LATE}
    assert all((offer.split == LATE) == (offer.variant.product in late) for offer in offers)
    assert any(offer.copy_of and offer.split == LATE for offer in offers)
    by_kind = Counter(query.category for query in _queries(12, 0) if query.variant.product in late)
    assert by_kind == {kind.category: 2 for kind in KINDS}
    assert late == {offer.variant.product for offer in _offers(12, 0, random.Random("x")) if offer.split}
