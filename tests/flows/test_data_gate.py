"""A broken catalogue never goes live by a flow: the data gate says both numbers, and an override is on record."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from typing import Any

import pytest

from lookalike.coding.extraction import extract
from lookalike.errors import DataGateError
from lookalike.index.builder import build
from lookalike.publishing import data_gate, publication
from lookalike.settings import DataGateSettings
from lookalike.storage import audit, keys
from lookalike.storage.artefacts import ArtefactWriter, Kind, Ref, read_manifest
from tests.shop import Listing

from .conftest import RECIPE, Prefect, Shop


def refused(prefect: Prefect, flow: str, parameters: dict[str, Any], **environ: str) -> str:
    """The log of a run that does not come to its end."""
    process = prefect.run(flow, parameters, **environ)
    log, _ = process.communicate(timeout=240)
    assert process.returncode != 0, log
    return log


def rewrite(shop: Shop, **columns: str) -> None:
    """Give every row of the catalogue these values; a column that it lacks is added."""
    with shop.catalogue.open(newline="") as file:
        rows = [row | columns for row in csv.DictReader(file)]
    with shop.catalogue.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_a_catalogue_cut_to_twelve_rows_does_not_go_live(
    prefect: Prefect, shop: Shop, listings: tuple[Listing, ...]
) -> None:
    live = shop.live()
    shop.offer(listings[:12])

    log = refused(prefect, "reindex", shop.where())

    assert "DataGateError" in log
    assert "listings 94 -> 12 (at most 18 fewer)" in log
    assert "photos 94 -> 12 (at most 18 fewer)" in log
    assert "Its catalogue has 12 rows, the live one's 94; none was left out" in log
    assert shop.live() == live
    record = data_gate.refusal(shop.store)
    assert record is not None
    assert record.detail["live"] == str(live.index)
    assert record.detail["numbers"]["listings"] == {"live": "94", "new": "12", "bound": "at most 18 fewer"}
    newest = {"artifacts": {"key": {"any_": ["data-gate"]}}, "sort": "CREATED_DESC", "limit": 1}
    table = prefect.ask("/artifacts/filter", newest)[0]
    assert table["description"].startswith("FAILED: data gate: ")
    assert "BEYOND" in table["data"]

    shop.offer(listings[:-50])  # as it was: the live index is found finished, and the refusal is history
    prefect.result("reindex", shop.where())
    assert shop.live() == live
    assert data_gate.refusal(shop.store) is None


def test_a_retrain_is_held_to_the_same_bounds(
    prefect: Prefect, shop: Shop, listings: tuple[Listing, ...]
) -> None:
    live = shop.live()
    shop.offer(listings[:40])
    log = refused(prefect, "retrain", RECIPE | shop.where())
    assert "listings 94 -> 40 (at most 18 fewer)" in log
    assert shop.live() == live


def test_prices_that_are_no_longer_understood_do_not_go_live(
    prefect: Prefect, shop: Shop, listings: tuple[Listing, ...]
) -> None:
    rewrite(shop, price="40.72")
    prefect.result("reindex", shop.where())
    live = shop.live()
    assert read_manifest(shop.store, live.index).meta["priced"] == 94
    rewrite(shop, price="on request")
    log = refused(prefect, "reindex", shop.where())
    assert "listings with a price 94 of 94 -> 0 of 94 (at least 85)" in log
    assert "price not understood: 94 (line 2: 'on request')" in log
    assert shop.live() == live


def test_accepting_goes_on_record_with_who_and_the_numbers(
    prefect: Prefect, shop: Shop, listings: tuple[Listing, ...]
) -> None:
    before = shop.live()
    shop.offer(listings[:12])
    refused(prefect, "reindex", shop.where())
    prefect.result("reindex", shop.where() | {"accept": True})
    assert read_manifest(shop.store, shop.live().index).meta["rows"] == 12
    accepted, asked = audit.recent(shop.store, 9)
    assert asked.outcome.startswith("refused: ")
    assert accepted.outcome.startswith("accepted: data gate: ")
    assert accepted.by == shop.live().by
    assert "(flow run " in accepted.by
    assert accepted.detail["numbers"]["listings"]["live"] == "94"
    assert (accepted.detail["index"], accepted.detail["live"]) == (str(shop.live().index), str(before.index))
    assert data_gate.refusal(shop.store) is None


@pytest.mark.parametrize(
    ("parameters", "settings"),
    [
        ({"fewer_listings": 0.9, "fewer_photos": 0.9, "fewer_categories": 0.9}, {}),
        ({}, {"LOOKALIKE_DATA_GATE_SLACK": "90", "LOOKALIKE_DATA_GATE_FEWER_CATEGORIES": "0.9"}),
    ],
    ids=["flow parameters", "environment"],
)
def test_bounds_are_settings(
    prefect: Prefect,
    shop: Shop,
    listings: tuple[Listing, ...],
    parameters: dict[str, float],
    settings: dict[str, str],
) -> None:
    shop.offer(listings[:12])
    prefect.result("reindex", shop.where() | parameters, **settings)
    assert read_manifest(shop.store, shop.live().index).meta["rows"] == 12
    assert audit.recent(shop.store, 9) == []  # within its bounds, so there was nothing to accept


def test_an_export_that_ends_in_the_middle_of_a_line_does_not_go_live(prefect: Prefect, shop: Shop) -> None:
    live, lines = shop.live(), shop.catalogue.read_text().splitlines(keepends=True)
    shop.catalogue.write_text("".join(lines[:-1]) + lines[-1][:20])
    log = refused(prefect, "reindex", shop.where())
    assert "last line whole -> cut off (the export looks unfinished, line 95: the table ends in" in log
    assert "the middle of this line: it has 2 fields, the header 6)" in log
    assert shop.live() == live


def test_what_an_older_manifest_lacks_is_not_compared_and_that_is_said(
    shop: Shop, listings: tuple[Listing, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index built before its manifest counted photos and prices: the curated photos stand in, prices cannot."""
    commit = ArtefactWriter.commit

    def as_it_was(self: ArtefactWriter, meta: Mapping[str, Any]) -> Ref:
        uncounted = ("photos", "priced") if self.kind is Kind.INDEX else ("priced",)
        return commit(self, {name: n for name, n in meta.items() if name not in uncounted})

    shop.offer(listings[:-40])
    with monkeypatch.context() as earlier:
        earlier.setattr(ArtefactWriter, "commit", as_it_was)
        curated = shop.curate()
        extraction = extract(shop.store, curated, shop.live().release, cache_dir=shop.cache, threads=1)
        old = build(shop.store, curated, extraction, cache_dir=shop.cache)
    publication.publish_index(shop.store, old, by="test", cache_dir=shop.cache)
    shop.offer(listings[:-30])
    said: list[data_gate.DataGateReport] = []
    new = shop.index(shop.curate(), shop.live().release)
    publication.publish_index(shop.store, new, by="test", cache_dir=shop.cache, told=said.append)
    assert said[0].verdict() == (
        "data gate: listings 104 -> 114, photos 104 -> 114, categories 6 -> 6, rows left out 0 of 104 -> 0 of 114; "
        "not compared, as an older manifest lacks it: listings with a price"
    )


def test_a_live_index_that_cannot_be_read_is_replaced_only_by_somebodys_word(
    shop: Shop, listings: tuple[Listing, ...]
) -> None:
    shop.offer(listings)
    index = shop.index(shop.curate(), shop.live().release)
    shop.store.delete(keys.manifest(Kind.INDEX, shop.live().index.id))
    with pytest.raises(DataGateError, match=r"nothing to compare with: .*does not exist"):
        publication.publish_index(shop.store, index, by="test", cache_dir=shop.cache)
    publication.publish_index(shop.store, index, by="test", cache_dir=shop.cache, accept=True)
    assert shop.live().index == index


@pytest.mark.parametrize(("before", "after", "passes"), [(10, 6, True), (10, 4, False), (1357, 12, False)])
def test_a_small_shop_may_change_by_a_handful(before: int, after: int, passes: bool) -> None:
    """By numbers alone: 1,357 listings would take minutes to render."""
    row = data_gate.fewer(
        "listings", before, after, DataGateSettings().fewer_listings, DataGateSettings().slack
    )
    assert row.passed is passes
