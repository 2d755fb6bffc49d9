"""What shoppers click, in the console: by place, of a day or a month, from the files that search processes write."""

from __future__ import annotations

import io
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import expect, sync_playwright

from lookalike.console import clicks
from lookalike.console.clicks import BELIEVED_S, Clicks
from lookalike.quality.events import ANSWER, CLICK, IMPRESSION, SCHEMA, report
from lookalike.storage import keys
from lookalike.storage.directory import DirectoryStore
from tests.console.running import running

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = NOW.timestamp()

    def __call__(self) -> float:
        return self.now


def write(store: DirectoryStore, at: datetime, *rows: tuple[str, str, str, int]) -> str:
    """A file of (kind, answer, listing, rank), written at that time."""
    table = pa.Table.from_pylist(
        [
            {
                "minute": at,
                "kind": kind,
                "answer_id": answer,
                "listing_id": listing,
                "rank": rank,
                "alpha": 0.75,
            }
            | {"appearance": 0.5, "aspects": 0.5, "text": False}
            for kind, answer, listing, rank in rows
        ],
        schema=SCHEMA,
    )
    sink = io.BytesIO()
    pq.write_table(table, sink)
    key = keys.events(at.isoformat(timespec="seconds"), f"{len(list(store.list(keys.EVENTS))):08x}")
    store.put(key, sink.getvalue())
    return key


def answered(answer: str, *, hits: int = 3) -> list[tuple[str, str, str, int]]:
    return [(ANSWER, answer, f"L{rank}", rank) for rank in range(1, hits + 1)]


def shown(answer: str, *, hits: int = 3) -> list[tuple[str, str, str, int]]:
    return [(IMPRESSION, answer, f"L{rank}", rank) for rank in range(1, hits + 1)]


def rates(found: dict[str, Any]) -> list[tuple[int, int, int]]:
    return [(one["rank"], one["shown"], one["clicked"]) for one in found["ranks"]]


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "store")


def test_clicks_of_a_day_and_of_a_month_by_place(store: DirectoryStore) -> None:
    write(store, NOW - timedelta(hours=24, minutes=1), *answered("late"), *shown("late", hits=1))
    write(store, NOW - timedelta(days=9), *answered("old"), *shown("old"), (CLICK, "old", "L3", 3))
    write(store, NOW - timedelta(days=40), *answered("ancient"), *shown("ancient"))
    write(store, NOW - timedelta(hours=2), *answered("a"))
    write(store, NOW - timedelta(hours=1), *shown("a"), (CLICK, "a", "L1", 1))  # apart from its answer
    write(
        store,
        NOW - timedelta(minutes=5),
        *answered("b", hits=12),
        *shown("b", hits=12),
        (CLICK, "b", "L1", 1),
    )
    day, month = (Clicks(store, clock=Clock()).of(span) for span in ("24h", "30d"))
    assert rates(day) == [(1, 2, 2), (2, 2, 0), (3, 2, 0), *((rank, 1, 0) for rank in range(4, 11))]
    assert rates(month)[:3] == [(1, 4, 2), (2, 3, 0), (3, 3, 1)]
    assert (day["answers"], month["answers"]) == (2, 4)
    assert day["all"] == {"shown": 15, "clicked": 2, "rate": 0.1333, "from": 0.0374, "to": 0.3788}
    assert day["since"] == "2026-03-01T12:00+00:00"
    assert day["whole"]
    everything = report(store)["all"]
    assert (everything["shown"], everything["clicked"]) == (22, 3), "evaluate --events has the oldest, too"


def test_what_is_too_much_is_read_from_the_newest_on(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for hours in range(5):
        write(store, NOW - timedelta(hours=hours), *answered(f"a{hours}"), *shown(f"a{hours}"))
    monkeypatch.setattr(clicks, "_MOST_FILES", 2)
    found = Clicks(store, clock=Clock()).of("24h")
    assert (found["answers"], found["whole"], found["since"]) == (2, False, "2026-03-02T11:00+00:00")
    monkeypatch.setattr(clicks, "_MOST_FILES", 5)
    monkeypatch.setattr(clicks, "_MOST_ROWS", 7)  # a file has six
    found = Clicks(store, clock=Clock()).of("30d")
    assert (found["answers"], found["whole"], found["since"]) == (2, False, "2026-03-02T11:00+00:00")
    monkeypatch.undo()
    assert Clicks(store, clock=Clock()).of("24h")["whole"]


def test_a_table_is_believed_for_a_while(store: DirectoryStore) -> None:
    clock = Clock()
    view = Clicks(store, clock=clock)
    assert rates(view.of("24h")) == []
    write(store, NOW, *answered("a"), *shown("a"))
    clock.now += BELIEVED_S - 1
    assert rates(view.of("24h")) == []
    clock.now += 2
    assert len(view.of("24h")["ranks"]) == 3


def test_a_damaged_file_is_counted_and_the_rest_is_shown(store: DirectoryStore) -> None:
    write(store, NOW - timedelta(minutes=1), *answered("a"), *shown("a"))
    store.put(f"{keys.EVENTS}2026-03-02/115930-ffffffff.parquet", b"PAR1 of no use")
    store.put(f"{keys.EVENTS}2026-03-02/notes.txt", b"of somebody")
    found = Clicks(store, clock=Clock()).of("24h")
    assert (found["answers"], found["damaged"], found["whole"]) == (1, 2, True)


def test_a_client_asks_for_a_day_or_a_month(store: DirectoryStore, tmp_path: Path) -> None:
    now = datetime.now(UTC) - timedelta(minutes=2)
    write(store, now, *answered("a"), *shown("a"), (CLICK, "a", "L2", 2))
    with running(store, tmp_path / "cache") as client:
        found = client.get("/api/clicks").json()
        assert (found["span"], rates(found)) == ("24h", [(1, 1, 0), (2, 1, 1), (3, 1, 0)])
        assert client.get("/api/clicks?span=30d").json()["span"] == "30d"
        assert client.get("/api/clicks?span=1y").status_code == 400


@pytest.mark.browser
def test_the_page_shows_them_where_there_are_any(store: DirectoryStore, tmp_path: Path) -> None:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    before = datetime.now(UTC) - timedelta(days=3)
    write(store, before, *answered("a"), *shown("a"), (CLICK, "a", "L2", 2))
    with running(store, tmp_path / "cache") as client, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 390, "height": 664})
        page.set_default_timeout(60_000)
        expect.set_options(timeout=60_000)
        with page.expect_response("**/api/clicks?span=24h"):
            page.goto(str(client.base_url))
        panel = page.locator("#clicks")
        expect(page.locator("#pictures")).to_contain_text("Searches, time, errors")
        expect(panel).to_be_hidden()
        page.get_by_role("button", name="30 days").click()
        expect(panel).to_be_visible()
        expect(panel.get_by_role("row")).to_have_text(
            ["place 10.0 %of 1", "place 2100.0 %of 1", "place 30.0 %of 1", "all places33.3 %of 3"]
        )
        expect(panel).to_contain_text("in 1 answer since")
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        browser.close()
