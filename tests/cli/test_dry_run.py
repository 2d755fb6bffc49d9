"""`lookalike curate --dry-run`: how a table is understood, before a photo is read."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Run

ROWS = """listing_id,image,category,title,Main Color
A,a.jpg,shoes/boots,Ankle boot,brown
B,b.jpg,shoes/boots,Chelsea boot,black
"""


def test_it_shows_rows_and_what_an_unused_column_could_be(run: Run, tmp_path: Path) -> None:
    (tmp_path / "listings.csv").write_text(ROWS)
    asked = ("curate", "--catalogue", tmp_path / "listings.csv", "--store", tmp_path / "store", "--dry-run")
    shown = run(*asked).out
    assert "title: Ankle boot" in shown
    assert "columns without a use: Main Color" in shown
    assert "--column 'aspect_main_color=Main Color'" in shown.replace("\n", " ")
    assert "main_color brown" in run(*asked, "--column", "aspect_main_color=Main Color").out
    assert not (tmp_path / "store").exists()


def test_it_names_every_required_column_that_is_missing(run: Run, tmp_path: Path) -> None:
    (tmp_path / "listings.csv").write_text("sku,picture\n1,a.jpg\n")
    outcome = run("curate", "--catalogue", tmp_path / "listings.csv", "--store", tmp_path / "s", "--dry-run")
    assert outcome.code == 1
    assert "--column listing_id=sku --column image=picture --column category=NAME" in outcome.err
