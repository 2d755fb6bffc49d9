"""The command line as a newcomer and a script meet it: help, one-line errors, exit codes, JSON."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sample_shop import write_sample
from tests.cli.conftest import Run

VERBS = [
    *("demo", "curate", "train", "extract", "index", "publish", "search", "serve", "evaluate"),
    *("inspect", "verify", "rollback", "resume", "run"),
]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_with_an_example(run: Run, verb: str) -> None:
    outcome = run(verb, "--help")
    assert outcome.code == 0
    assert f"Example: lookalike {verb}" in outcome.out


@pytest.mark.parametrize(
    "arguments",
    [
        ("publish",),
        ("rollback",),
        ("rollback", "--model"),
        ("resume",),
        ("search", "photo.jpg"),
        ("verify",),
        ("train",),
        ("extract",),
        ("index",),
        ("evaluate", "--catalogue", "x.csv"),
    ],
)
def test_a_step_without_what_it_needs_says_so_in_one_line(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.jpg").write_bytes(b"x")
    outcome = run(*arguments, "--store", tmp_path / "empty")
    assert outcome.code in (1, 2)
    assert outcome.out == ""
    assert outcome.err.startswith("lookalike: ")
    assert outcome.err.count("\n") == 1


def write_catalogue(folder: Path, *, header: str = "listing_id,image,category", extra: str = "") -> Path:
    """A small sample catalogue of our own, without the sample's broken photos."""
    sample = write_sample(folder / "sample", products=1)
    if header != "listing_id,image,category" or extra:
        sample.catalogue.write_text(f"{header}\n{extra}")
    return sample.catalogue


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("listing_id,picture,category\n1,a.jpg,a/b\n", "image"),
        ("listing_id,image,category\n", "listings.csv"),
        ("", "listings.csv"),
        ("listing_id,image,category\n1,gone.jpg,a/b\n", "listings.csv"),
    ],
    ids=["a required column missing", "no rows", "nothing at all", "every photo missing"],
)
def test_a_catalogue_that_cannot_be_used_is_named(run: Run, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "listings.csv").write_text(text)
    outcome = run("curate", "--catalogue", tmp_path / "listings.csv", "--store", tmp_path / "store")
    assert outcome.code == 1
    assert said in outcome.err
    assert outcome.err.splitlines()[-1].startswith("lookalike: ")
    assert not list((tmp_path / "store").rglob("manifest.json"))


@pytest.mark.parametrize(
    ("store", "said"), [("/proc/nowhere", "/proc/nowhere"), ("ftp://x/y", "ftp"), ("s3://", "bucket")]
)
def test_a_store_that_cannot_be_used_is_named(run: Run, tmp_path: Path, store: str, said: str) -> None:
    catalogue = write_sample(tmp_path / "sample", products=1).catalogue
    outcome = run("curate", "--catalogue", catalogue, "--min-category", 1, "--store", store)
    assert outcome.code in (1, 2)
    assert said in outcome.err.splitlines()[-1]


def test_wrong_options_exit_with_2(run: Run, tmp_path: Path) -> None:
    assert run("curate").code == 2
    assert run("curate", "--catalogue", "x.csv", "--column", "seller", "--store", tmp_path).code == 2
    assert run("train", "--curated", "nonsense@", "--store", tmp_path).code == 2


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few kilobytes that claims, truthfully, to be width x height pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compressobj(9)
    line = b"\0" + bytes((width + 7) // 8)
    data = b"".join(rows.compress(line) for _ in range(height)) + rows.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_bad_photos_are_reported_and_left_out(run: Run, tmp_path: Path) -> None:
    catalogue = write_sample(tmp_path / "sample", products=1).catalogue
    good = next(iter(sorted(catalogue.parent.rglob("*.jpg"), key=lambda p: -p.stat().st_size)))
    (catalogue.parent / "text.jpg").write_text("not a photo")
    (catalogue.parent / "bomb.png").write_bytes(bomb(10_000, 8_000))
    (catalogue.parent / "cut.jpg").write_bytes(good.read_bytes()[:2000])
    columns = catalogue.read_text().splitlines()[0].split(",")
    with catalogue.open("a") as file:
        for i, name in enumerate(("text.jpg", "bomb.png", "cut.jpg", "missing.jpg")):
            row = {"listing_id": f"bad-{i}", "image": name, "category": "a/b"}
            file.write(",".join(row.get(column, "") for column in columns) + "\n")
    lines = len(catalogue.read_text().splitlines())
    outcome = run(
        "curate", "--catalogue", catalogue, "--min-category", 1, "--store", tmp_path / "store", "--json"
    )
    assert outcome.code == 0, outcome.err
    report = (tmp_path / "store").glob("curated/*/report.*.json").__next__().read_text()
    for line in range(lines - 3, lines + 1):
        assert str(line) in report
    for number in range(4):
        assert f"bad-{number}" in report


def test_nothing_vanishes_without_a_word(run: Run, tmp_path: Path) -> None:
    """Half of the photos are missing, and no price is a number."""
    blots = np.random.default_rng(0).integers(0, 255, (30, 7, 8, 3), np.uint8)
    rows = []
    for number, blot in enumerate(blots):
        if number % 2 == 0:
            Image.fromarray(blot).resize((120, 100)).save(tmp_path / f"{number}.png")
        rows.append(f"L{number},{number}.png,{('a/x', 'a/y')[number // 2 % 2]},on request\n")
    catalogue = tmp_path / "listings.csv"
    catalogue.write_text("listing_id,image,category,price\n" + "".join(rows))
    asked = ("curate", "--catalogue", catalogue, "--min-category", 2, "--store", tmp_path / "store")
    said = run(*asked)
    assert said.code == 0, said.err
    assert "kept 15 of 30 rows; left out 15: missing 15 (line 3: there is no photo 1.png)" in said.out
    assert "price not understood: 15, first line 2: 'on request'; left empty" in said.out
    assert "missing: put the photo where the row says" in said.out
    told = run(*asked, "--json").json
    assert (told["rows"], told["listings"], told["priced"]) == (30, 15, 0)
    assert (told["left_out"], told["unclear"]) == ({"missing": 15}, {"price": 15})
    assert told["summary"] in said.out
    assert told["tally"]["left_out"][0]["line"] == 3


def test_photos_beside_the_catalogue_are_read_where_that_is_allowed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    media = tmp_path / "media"
    media.mkdir()
    rows = []
    for number, blot in enumerate(np.random.default_rng(0).integers(0, 255, (12, 7, 8, 3), np.uint8)):
        Image.fromarray(blot).resize((120, 100)).save(media / f"{number}.png")
        rows.append(f"L{number},{media}/{number}.png,{('a/x', 'a/y')[number % 2]}\n")
    (tmp_path / "shop").mkdir()
    catalogue = tmp_path / "shop" / "listings.csv"
    catalogue.write_text("listing_id,image,category\n" + "".join(rows))
    asked = ("curate", "--catalogue", catalogue, "--min-category", 2, "--store", tmp_path / "store", "--json")
    refused = run(*asked)
    assert refused.code == 1
    assert "outside the catalogue 12 (line 2: " in refused.err
    assert "--photo-root or LOOKALIKE_PHOTO_ROOTS" in refused.err
    assert run(*asked, "--photo-root", media).json["listings"] == 12
    monkeypatch.setenv("LOOKALIKE_PHOTO_ROOTS", f"/somewhere,{media}")
    assert run(*asked).json["listings"] == 12
