"""The search page as people use it: with files, mouse, keyboard, touch, and when something goes wrong."""

from __future__ import annotations

import base64
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect

from lookalike.publishing.live_ref import publish
from lookalike.serving.config import ServingConfig
from lookalike.storage.directory import DirectoryStore
from tests.e2e.pages import categories_of, choose, hits, searched
from tests.serving.running import Running, running
from tests.shop import Shop, reindex, write_release

pytestmark = pytest.mark.browser

GIVE_FILE = """([base64, how]) => {
    const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    const data = new DataTransfer();
    data.items.add(new File([bytes], "vase.jpg", { type: "image/jpeg" }));
    const event = how === "paste"
        ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true })
        : new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
    document.body.dispatchEvent(event);
}"""


def test_a_chosen_photo_shows_look_alikes_with_what_they_are(page: Page, vase: Path) -> None:
    choose(page, vase)
    assert categories_of(page) == {"Vase"}
    first = hits(page).first
    expect(first.locator(".distance")).to_have_text(re.compile("^(the same photo|very much alike)$"))
    expect(first.locator(".tag", has_text="dark")).to_be_visible()
    expect(page.locator("#categories .chip[aria-pressed=true]")).to_have_text(re.compile("Vase"))
    expect(page.locator("#predicted-aspects .chip", has_text="dark")).to_be_visible()
    expect(first.locator("img.loaded")).to_be_visible()


def test_a_page_that_is_opened_too_early_fills_itself(browser: Browser, shop: Shop, tmp_path: Path) -> None:
    shutil.copytree(shop.store.root, tmp_path / "store")
    store = DirectoryStore(tmp_path / "store")
    with running(store, shop.cache_dir, wait=False) as process, browser.new_context() as context:
        page = context.new_page()
        with page.expect_response("**/v1/catalogue") as early:
            page.goto(str(process.client.base_url))
        assert early.value.status == 503
        publish(store, shop.release, shop.index, by="test", expected=None)
        expect(page.locator(".card.example").first).to_be_visible(timeout=10_000)


@pytest.mark.parametrize("how", ["paste", "drop"])
def test_a_photo_can_be_pasted_and_dropped(page: Page, vase: Path, how: str) -> None:
    page.evaluate(GIVE_FILE, [base64.b64encode(vase.read_bytes()).decode(), how])
    searched(page)
    assert categories_of(page) == {"Vase"}


def test_categories_can_be_switched_on_and_off(page: Page, vase: Path) -> None:
    choose(page, vase)
    with page.expect_response("**/v1/search*"):
        page.get_by_label("Search in another category").select_option("shoes/boot")
    searched(page)
    assert categories_of(page) == {"Vase", "Boot"}
    with page.expect_response("**/v1/search*"):
        page.locator("#categories .chip", has_text="Vase").click()
    searched(page)
    assert categories_of(page) == {"Boot"}
    with page.expect_response("**/v1/search*"):
        page.get_by_role("button", name="as predicted").click()
    searched(page)
    assert categories_of(page) == {"Vase"}


def test_a_photo_of_nothing_in_the_shop_is_told_so_and_everything_can_be_searched(
    page: Page, vase: Path, tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    choose(page, tmp_path / "noise.png")
    expect(page.locator("#message strong")).to_have_text("Nothing in this shop looks like your photo")
    expect(hits(page).first.locator(".distance")).to_have_text(re.compile("less alike|another kind"))
    page.locator("#message .button", has_text="Search everything").click()
    expect(page.locator("#status")).to_contain_text("all categories")
    expect(page.locator("#categories .chip[aria-pressed=true]")).to_have_text("Everything")
    page.locator("#categories .chip", has_text="Everything").click()
    expect(page.locator("#status")).not_to_contain_text("all categories")
    choose(page, vase)
    expect(page.locator("#message")).to_be_hidden()


def test_more_hits_of_the_same_search_follow_below(page: Page, vase: Path) -> None:
    choose(page, vase)
    expect(page.locator("#more-hits")).to_be_hidden()
    page.locator("#categories .chip", has_text="Everything").click()
    expect(hits(page)).to_have_count(24)
    for shown in (48, 72):
        with page.expect_response(f"**/v1/search*offset={shown - 24}*"):
            page.locator("#more-hits").click()
        expect(hits(page)).to_have_count(shown)
        expect(page.locator("#status")).to_have_text(f"{shown} hits shown")
        expect(hits(page).nth(shown - 24).locator("button").first).to_be_focused()
    listings = [hits(page).nth(i).get_attribute("data-listing") for i in range(72)]
    assert len(set(listings)) == 72
    page.locator("#more-hits").click()
    expect(page.locator("#status")).to_have_text("There are no more")
    expect(page.locator("#more-hits")).to_be_hidden()


def test_the_shops_own_page_of_a_listing_is_a_link(page: Page, vase: Path) -> None:
    choose(page, vase)

    def with_columns(route: Route) -> None:
        reply = route.fetch()
        body = reply.json()
        for hit, url in zip(
            body["hits"], ("https://shop.example/a?b=1", "javascript:alert(1)", None), strict=False
        ):
            hit |= {"url": url, "price": 12.5, "currency": "EUR"}
        route.fulfill(response=reply, json=body)

    page.route("**/v1/search*", with_columns)
    choose(page, vase)
    expect(hits(page).first.locator(".facts strong")).to_have_text(re.compile("12.50"))
    expect(hits(page).first.locator(".facts strong")).to_have_text(re.compile("€|EUR"))
    hits(page).first.locator(".photo").click()
    link = page.locator("#detail-link")
    expect(link).to_have_attribute("href", "https://shop.example/a?b=1")
    expect(link).to_have_attribute("rel", "noopener noreferrer")
    for number in (1, 2):
        page.keyboard.press("Escape")
        hits(page).nth(number).locator(".photo").click()
        expect(page.locator("#detail")).to_be_visible()
        expect(link).to_be_hidden()


def test_words_beside_the_photo_say_what_they_were_taken_for(page: Page, vase: Path) -> None:
    choose(page, vase)
    with page.expect_response("**/v1/search*text=not+dark+gloomy*"):
        page.fill("#text", "not dark gloomy")
    searched(page)
    expect(page.locator("#text-said")).to_have_text("Preferred: not dark. Means nothing here: gloomy.")
    expect(hits(page).first.locator(".tag", has_text="dark")).to_be_hidden()
    page.reload()
    searched(page)
    expect(page.locator("#text")).to_have_value("not dark gloomy")
    page.locator("#clear-filters").click()
    searched(page)
    expect(page.locator("#text-said")).to_be_hidden()


def test_filters_count_what_this_answer_has(page: Page, process: Running, vase: Path) -> None:
    def counted(**parameters: str) -> dict[str, dict[str, int]]:
        asked = process.client.post("/v1/search", params=parameters, content=vase.read_bytes())
        found: dict[str, dict[str, int]] = asked.json()["facets"]["aspects"]
        return found

    choose(page, vase)
    counts = counted(facets="true")
    chip = page.locator("#aspect-filters .chip")
    for value, number in counts["brand"].items():
        expect(chip.filter(has_text=value)).to_have_text(f"{value}{number}")
    chip.filter(has_text="Bolt").click()
    narrowed = counted(facets="true", aspects="brand=Bolt")
    assert narrowed["mark"] != counts["mark"]
    expect(chip.filter(has_text="dark")).to_have_text(f"dark{narrowed['mark']['dark']}")
    expect(chip.filter(has_text="Acme")).to_have_text("Acme"), "still offered, to be had as well"
    chip.filter(has_text="Acme").click()
    expect(page.locator("#filter-count")).to_have_text("2")


def test_the_nearest_can_be_sorted_by_price(page: Page, vase: Path) -> None:
    choose(page, vase)
    best = page.locator(".card .facts strong").all_inner_texts()
    for order, reverse in (("price", False), ("-price", True)):
        with page.expect_response(f"**/v1/search*sort={order}*"):
            page.select_option("#sort", order)
        searched(page)
        prices = [float(text) for text in page.locator(".card .facts strong").all_inner_texts() if text]
        assert prices == sorted(prices, reverse=reverse)
        assert len(prices) > 3
    page.go_back()
    page.go_back()
    expect(page.locator("#sort")).to_have_value("")
    assert page.locator(".card .facts strong").all_inner_texts() == best


def test_filters_narrow_the_results_and_can_be_cleared(page: Page, vase: Path) -> None:
    choose(page, vase)
    with page.expect_response("**/v1/search*"):
        page.locator("#aspect-filters .chip", has_text="light").click()
    searched(page)
    expect(page.locator("#filter-count")).to_have_text("1")
    with page.expect_response("**/v1/search*price=..8*"):
        page.fill("#price-to", "8")
    searched(page)
    prices = [float(text) for text in page.locator(".card .facts strong").all_inner_texts() if text]
    assert prices
    assert max(prices) <= 8
    page.fill("#price-from", "7.99")
    expect(page.locator("#message")).to_contain_text("Nothing passes these filters")
    page.locator("#message").get_by_role("button", name="Clear filters").click()
    searched(page)
    expect(page.locator("#filter-count")).to_be_hidden()


def test_the_crop_box_by_mouse_and_by_keyboard(page: Page, vase: Path) -> None:
    choose(page, vase)
    frame = page.locator("#crop").bounding_box()
    assert frame is not None
    at = lambda x, y: (frame["x"] + x * frame["width"], frame["y"] + y * frame["height"])  # noqa: E731
    page.mouse.move(*at(0.2, 0.2))
    page.mouse.down()
    page.mouse.move(*at(0.7, 0.6), steps=4)
    with page.expect_response(lambda r: "box=0.2" in r.url) as answered:
        page.mouse.up()
    assert answered.value.ok
    box = page.locator(".crop-box")
    expect(box).to_have_attribute("aria-label", re.compile("50 % wide and 40 % high"))
    box.focus()
    with page.expect_response(lambda r: "box=0.22" in r.url):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    expect(box).to_have_attribute("aria-label", re.compile("50 % wide and 42 % high"))
    with page.expect_response(lambda r: "box=0%2C0%2C1%2C1" in r.url):
        page.get_by_role("button", name="Whole photo").click()


def test_more_like_this_and_the_way_back(page: Page) -> None:
    page.locator(".card.example", has_text="Boot").get_by_role("button").click()
    searched(page)
    assert categories_of(page) == {"Boot"}
    expect(page.locator("#query-label")).to_contain_text("More like")
    expect(page.locator(".crop-box")).to_be_hidden()
    hits(page).first.get_by_role("button", name="More like").click()
    expect(page).to_have_url(re.compile("#listing="))
    searched(page)
    page.go_back()
    searched(page)
    page.go_back()
    expect(page.locator(".card.example").first).to_be_visible()
    expect(page.locator("#drop")).to_be_visible()


def test_a_link_to_a_listing_opens_its_look_alikes(page: Page) -> None:
    page.goto("about:blank")
    page.goto("/#listing=3-005")
    searched(page)
    expect(page.locator("#query-label")).to_contain_text("Vase no. 5")


def test_details_open_and_close_by_keyboard(page: Page, vase: Path) -> None:
    choose(page, vase)
    hits(page).first.locator(".photo").focus()
    page.keyboard.press("Enter")
    dialog = page.locator("#detail")
    expect(dialog).to_be_visible()
    expect(dialog.locator("dl")).to_contain_text("Material")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(hits(page).first.locator(".photo")).to_be_focused()


def test_a_file_that_is_no_photo_says_what_is_wrong(page: Page, tmp_path: Path, vase: Path) -> None:
    wrong = tmp_path / "notes.jpg"
    wrong.write_text("these are notes")
    page.set_input_files("#file", wrong)
    expect(page.get_by_role("alert")).to_contain_text("This file is not a photo")
    expect(page.locator("#unreadable")).to_be_visible()
    page.set_input_files("#file-again", vase)
    expect(page.locator("#message")).to_be_hidden()
    searched(page)


def test_an_unreachable_service_is_said_and_can_be_tried_again(page: Page, vase: Path) -> None:
    page.route("**/v1/search*", lambda route: route.abort())
    page.set_input_files("#file", vase)
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
    page.unroute("**/v1/search*")
    page.get_by_role("button", name="Try again").click()
    searched(page)


def test_the_blend_is_sent(page: Page, vase: Path) -> None:
    choose(page, vase)
    with page.expect_response(lambda r: "alpha=0.7&" in f"{r.url}&"):
        page.locator("#tuning summary").click()
        page.locator("#alpha").focus()
        page.keyboard.press("ArrowLeft")


def test_how_much_colours_count_is_asked_where_codes_know_of_them(
    browser: Browser, process: Running, shop: Shop, vase: Path, tmp_path: Path
) -> None:
    with browser.new_context(base_url=str(process.client.base_url)) as context:
        page = context.new_page()
        page.goto("/")
        choose(page, vase)
        page.locator("#tuning summary").click()
        expect(page.locator("#alpha")).to_be_visible()
        expect(page.locator("#colour-slider")).to_be_hidden()
    shutil.copytree(shop.store.root, tmp_path / "store")
    (tmp_path / "cache").mkdir()
    mine = Shop(
        DirectoryStore(tmp_path / "store"),
        tmp_path / "cache",
        shop.listings,
        shop.curated,
        shop.release,
        shop.index,
    )
    release = write_release(mine.store, mine.listings, mine.cache_dir, colour_bits=64)
    coloured = reindex(mine, per_category=8, release=release)
    config = ServingConfig(index=coloured.index, notice_seconds=0)
    with (
        running(mine.store, mine.cache_dir, config) as other,
        browser.new_context(base_url=str(other.client.base_url)) as context,
    ):
        page = context.new_page()
        page.goto("/")
        with page.expect_response(lambda r: "/v1/search" in r.url and "colour=" not in r.url):
            choose(page, vase)
        page.locator("#tuning summary").click()
        expect(page.locator("#colour-value")).to_have_text("as usual")
        page.locator("#colour").focus()
        with page.expect_response(lambda r: "colour=8&" in f"{r.url}&"):
            page.keyboard.press("ArrowRight")
            page.keyboard.press("ArrowRight")
        expect(page.locator("#colour-value")).to_have_text("8 times")
        with page.expect_response(lambda r: "colour=0&" in f"{r.url}&"):
            page.keyboard.press("Home")
        expect(page.locator("#colour-value")).to_have_text("not at all")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_sees_everything_without_scrolling_sideways(
    browser: Browser, process: Running, vase: Path, scheme: str
) -> None:
    context = browser.new_context(
        viewport={"width": 360, "height": 740},
        has_touch=True,
        is_mobile=True,
        color_scheme=scheme,  # type: ignore[arg-type]
        base_url=str(process.client.base_url),
    )
    page = context.new_page()
    page.goto("/")
    expect(page.get_by_text("Take photo")).to_be_visible()
    choose(page, vase)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    small = page.evaluate(
        "[...document.querySelectorAll('main button, main label.button, main select')]"
        ".filter((e) => e.offsetParent && e.offsetHeight < 44).length"
    )
    assert small == 0, "targets can be hit with a thumb"
    background = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (background == "rgb(18, 22, 20)") == (scheme == "dark")
    context.close()


def test_a_phone_shows_hits_on_its_first_screen(browser: Browser, process: Running, vase: Path) -> None:
    with browser.new_context(
        viewport={"width": 390, "height": 664},
        has_touch=True,
        is_mobile=True,
        base_url=str(process.client.base_url),
    ) as context:
        page = context.new_page()
        page.goto("/")
        choose(page, vase)
        box = hits(page).first.locator("img").bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= 664, "the whole first picture, on an iPhone 13 with its bars"
        photo = page.locator("#query-photo").bounding_box()
        assert photo is not None
        assert min(photo["width"], photo["height"]) >= 100, "large enough to draw a box on"
