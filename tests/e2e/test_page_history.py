"""The search page's address and history: back, reload, links, and what opens above the results."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from lookalike.serving.config import ServingConfig
from lookalike.serving.events import EventsConfig
from lookalike.storage.directory import DirectoryStore
from tests.e2e.pages import address, choose, hits, listings_of, phone, searched
from tests.serving.running import Running, running
from tests.shop import Shop, own_store

pytestmark = pytest.mark.browser


def searches_of(page: Page) -> list[str]:
    """Addresses of the searches that the page asks for from now on."""
    found: list[str] = []
    page.on("request", lambda request: found.append(request.url) if "/v1/search" in request.url else None)
    return found


def test_reload_and_a_new_tab_show_the_same_search(page: Page, vase: Path) -> None:
    choose(page, vase)
    page.locator(".crop-box").focus()
    with page.expect_response(lambda r: "box=0%2C0%2C0.98%2C1" in r.url):
        page.keyboard.press("Shift+ArrowLeft")
    page.locator("#aspect-filters .chip", has_text="dark").click()
    page.fill("#price-to", "14")
    expect(page.locator("#filter-count")).to_have_text("2")
    with page.expect_response(lambda r: "price=..14" in r.url):
        pass
    searched(page)
    shown = listings_of(page)
    assert "aspects=mark=dark" in address(page)
    page.reload()
    other = page.context.new_page()
    other.goto(page.url)
    for again in (page, other):
        searched(again)
        assert listings_of(again) == shown
        expect(again.locator(".crop-box")).to_have_attribute("aria-label", re.compile("98 % wide"))
        expect(again.locator("#aspect-filters .chip[aria-pressed=true]")).to_have_text(re.compile("dark"))
        expect(again.locator("#price-to")).to_have_value("14")


def test_back_from_more_like_this_shows_the_photos_results(page: Page, vase: Path) -> None:
    choose(page, vase)
    page.locator("#categories .chip", has_text="Everything").click()
    expect(hits(page)).to_have_count(24)
    page.locator("#more-hits").click()
    expect(hits(page)).to_have_count(48)
    shown = listings_of(page)
    hits(page).nth(30).get_by_role("button", name="More like").scroll_into_view_if_needed()
    before = page.evaluate("window.scrollY")
    hits(page).nth(30).get_by_role("button", name="More like").click()
    expect(page.locator("#query-label")).to_be_visible()
    searched(page)
    asked = searches_of(page)
    page.go_back()
    expect(page.locator("#query-label")).to_be_hidden()
    assert listings_of(page) == shown, "those of the second page, too"
    expect(page.locator("#query-photo")).to_have_attribute("src", re.compile("^blob:"))
    expect(page.locator("#categories .chip[aria-pressed=true]")).to_have_text("Everything")
    assert abs(page.evaluate("window.scrollY") - before) < 5
    assert not asked, "what was answered is shown again"
    page.go_forward()
    expect(page.locator("#query-label")).to_be_visible()


def test_back_undoes_one_filter_after_the_other(page: Page, vase: Path) -> None:
    choose(page, vase)
    everything = listings_of(page)
    page.locator("#aspect-filters .chip", has_text="dark").click()
    searched(page)
    page.locator("#aspect-filters .chip", has_text="cotton").click()
    expect(page.locator("#filter-count")).to_have_text("2")
    searched(page)
    for left in ("1", ""):
        page.go_back()
        expect(page.locator("#filter-count")).to_have_text(left or "0")
    assert listings_of(page) == everything


def test_a_photo_that_is_not_kept_here_is_said(page: Page) -> None:
    page.goto("/#photo=elsewhere")
    page.reload()
    expect(page.locator("#message")).to_contain_text("This photo is not here")
    expect(page.locator("#drop")).to_be_visible()
    expect(page.locator(".card.example").first).to_be_visible()


def test_a_link_opens_a_listings_details_above_its_look_alikes(page: Page) -> None:
    page.goto("/#listing=3-005&show=3-006")
    page.reload()
    expect(page.locator("#detail")).to_be_visible()
    expect(page.locator("#detail-title")).to_have_text("Vase no. 6")
    page.locator("#detail .close").click()
    expect(page.locator("#detail")).to_be_hidden()
    searched(page)
    page.wait_for_function("location.hash === '#listing=3-005'")


def test_back_closes_details_and_leaves_the_results(page: Page, vase: Path) -> None:
    choose(page, vase)
    shown = listings_of(page)
    hits(page).nth(1).locator(".photo").click()
    expect(page.locator("#detail")).to_be_visible()
    assert f"show={shown[1]}" in address(page)
    page.go_back()
    expect(page.locator("#detail")).to_be_hidden()
    assert listings_of(page) == shown
    page.go_forward()
    expect(page.locator("#detail")).to_be_visible()
    page.locator("#detail-more").click()
    expect(page.locator("#detail")).to_be_hidden()
    expect(page.locator("#query-label")).to_be_visible()
    expect(page.locator("#results")).to_be_focused()


def test_the_sheet_of_filters_closes_by_back_and_keeps_what_was_chosen(
    browser: Browser, process: Running, vase: Path
) -> None:
    with phone(browser, str(process.client.base_url)) as page:
        choose(page, vase)
        everything = listings_of(page)
        page.tap("#open-sheet")
        expect(page.locator("#sheet")).to_be_visible()
        page.locator("#sheet .chip", has_text="dark").tap()
        expect(page.locator("#sheet-count")).to_have_text("1")
        page.go_back()
        expect(page.locator("#sheet")).to_be_hidden()
        searched(page)
        assert len(listings_of(page)) < len(everything)
        assert "aspects=mark=dark" in address(page)
        page.tap("#open-sheet")
        page.tap("#sheet-done")
        expect(page.locator("#sheet")).to_be_hidden()
        expect(page.locator("#sheet-count")).to_have_text("1")
        page.go_back()
        expect(page.locator("#sheet-count")).to_be_hidden()
        assert listings_of(page) == everything


def test_two_listings_are_compared_side_by_side(page: Page, vase: Path) -> None:
    choose(page, vase)
    names = [hits(page).nth(i).locator("h2").inner_text() for i in (0, 3)]
    hits(page).nth(0).locator(".compare").click()
    expect(page.locator("#pick")).to_contain_text(names[0])
    hits(page).nth(3).locator(".compare").click()
    table = page.locator("#comparison-table")
    expect(table.locator("thead .name")).to_have_text(names)
    expect(table.get_by_role("row", name="Price")).to_be_visible()
    expect(page.locator("#pick")).to_be_hidden()
    page.reload()
    expect(table.locator("thead .name")).to_have_text(names)
    page.keyboard.press("Escape")
    expect(page.locator("#comparison")).to_be_hidden()
    page.wait_for_function("!location.hash.includes('compare')")


def test_a_link_can_be_shared(page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto("/#listing=3-005")
    page.reload()
    searched(page)
    page.locator("#share").click()
    expect(page.locator("#share-said")).to_have_text("Link copied")
    hits(page).first.locator(".photo").click()
    page.locator("#detail-share").click()
    expect(page.locator("#detail-said")).to_have_text("Link copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    other = page.context.new_page()
    other.goto(copied)
    expect(other.locator("#detail-title")).to_have_text(page.locator("#detail-title").inner_text())


def test_a_photo_is_sent_once_and_its_link_works_in_another_browser(
    page: Page, browser: Browser, vase: Path
) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    sent: list[bool] = []
    page.on(
        "request",
        lambda request: sent.append("query_id=" not in request.url) if "/v1/search" in request.url else None,
    )
    choose(page, vase)
    page.locator("#aspect-filters .chip", has_text="dark").click()
    expect(page.locator("#filter-count")).to_have_text("1")
    searched(page)
    shown = listings_of(page)
    assert sent == [True, False]
    page.locator("#share").click()
    expect(page.locator("#share-said")).to_have_text("Link copied; it holds for some minutes")
    link = page.evaluate("navigator.clipboard.readText()")
    with browser.new_context() as elsewhere:
        other = elsewhere.new_page()
        other.goto(link)
        searched(other)
        assert listings_of(other) == shown
        expect(other.locator("#unreadable")).to_have_text("A photo from a link")
        other.reload()
        searched(other)
        other.goto(link[:-30] + "x" * 30)
        other.reload()
        expect(other.get_by_role("alert")).to_be_visible()


def test_what_was_seen_and_clicked_is_told_where_answers_ask_for_it(
    browser: Browser, shop: Shop, vase: Path, tmp_path: Path
) -> None:
    config = ServingConfig(index=shop.index, notice_seconds=0, events=EventsConfig(share=1.0))
    with (
        running(DirectoryStore(own_store(shop, tmp_path / "store")), tmp_path / "cache", config) as process,
        browser.new_context(base_url=str(process.client.base_url)) as context,
    ):
        page = context.new_page()
        page.goto("/")
        told: list[dict[str, object]] = []
        page.on(
            "request",
            lambda r: told.extend(r.post_data_json["events"]) if "/v1/events" in r.url else None,
        )
        with page.expect_response("**/v1/events") as seen:
            choose(page, vase)
        assert seen.value.ok
        shown = listings_of(page)
        with page.expect_response("**/v1/events") as pressed:
            hits(page).nth(1).locator(".photo").click()
        assert pressed.value.ok
        impressions = [event for event in told if event["event"] == "impression"]
        assert [event["listing_id"] for event in impressions] == shown[: len(impressions)]
        assert [event["rank"] for event in impressions] == list(range(1, len(impressions) + 1))
        clicks = [(e["listing_id"], e["rank"]) for e in told if e["event"] == "click"]
        assert clicks == [(shown[1], 2)]
