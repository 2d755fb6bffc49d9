"""The search page for everybody: axe-core finds nothing in any state, a keyboard needs few stops, a finger hits."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.e2e.pages import categories_of, choose, hits, listings_of, phone, searched, violations
from tests.serving.running import Running

pytestmark = pytest.mark.browser
HEIC = Path(__file__).parents[1] / "imaging" / "heic" / "plain.heic"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_any_state(
    browser: Browser, process: Running, vase: Path, tmp_path: Path, scheme: str
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    (tmp_path / "notes.jpg").write_text("these are notes")
    base = str(process.client.base_url)
    with browser.new_context(
        base_url=base,
        color_scheme=scheme,  # type: ignore[arg-type]
        reduced_motion="reduce",
    ) as context:
        page = context.new_page()
        page.goto("/")
        page.wait_for_selector(".card.example img.loaded")
        assert not violations(page)
        choose(page, vase)
        page.locator("#tuning summary").click()
        page.locator("#numbers").check()
        assert not violations(page), "results, with numbers"
        hits(page).first.locator(".photo").click()
        expect(page.locator("#detail dl")).to_contain_text("Material")
        assert not violations(page), "details"
        page.keyboard.press("Escape")
        for i in (0, 1):
            hits(page).nth(i).locator(".compare").click()
        expect(page.locator("#comparison")).to_be_visible()
        assert not violations(page), "two side by side"
        page.keyboard.press("Escape")
        choose(page, tmp_path / "noise.png")
        expect(page.locator("#message")).to_contain_text("looks like")
        assert not violations(page), "nothing alike"
        page.set_input_files("#file", tmp_path / "notes.jpg")
        expect(page.get_by_role("alert")).to_be_visible()
        assert not violations(page), "an error"
    with phone(browser, base, color_scheme=scheme, reduced_motion="reduce") as page:
        choose(page, vase)
        assert not violations(page), "results on a phone"
        page.tap("#open-sheet")
        assert not violations(page), "the sheet"


def test_fewer_than_fifteen_stops_before_the_hits(page: Page, vase: Path) -> None:
    choose(page, vase)
    page.locator(".crop-box").focus()
    page.keyboard.press("Shift+ArrowLeft")
    page.locator("#aspect-filters .chip").first.click()
    searched(page)
    expect(page.locator("#clear-filters")).to_be_visible()
    page.locator(".skip").focus()
    stops = ["skip"]
    while page.evaluate("!document.activeElement.closest('.card')"):
        page.keyboard.press("Tab")
        stops.append(page.evaluate("document.activeElement.outerHTML.slice(0, 60)"))
        assert len(stops) < 40
    assert len(stops) - 1 < 15, stops


def test_arrows_move_within_a_group_and_focus_stays_where_it_was(page: Page, vase: Path) -> None:
    choose(page, vase)
    chips = page.locator("#aspect-filters .chip")
    chips.first.focus()
    page.keyboard.press("ArrowRight")
    expect(chips.nth(1)).to_be_focused()
    page.keyboard.press("End")
    expect(page.locator("#aspect-filters button").last).to_be_focused()
    page.keyboard.press("Home")
    name = chips.first.inner_text()
    with page.expect_response("**/v1/search*"):
        page.keyboard.press("Enter")
    searched(page)
    expect(page.locator("#aspect-filters .chip[aria-pressed=true]")).to_be_focused()
    expect(page.locator("#aspect-filters .chip:focus")).to_have_text(re.compile(name.split()[0]))
    page.locator("#categories .chip", has_text="Everything").focus()
    with page.expect_response("**/v1/search*"):
        page.keyboard.press("Enter")
    searched(page)
    expect(page.locator("#categories .chip:focus")).to_have_text("Everything")


def test_numbers_are_shown_where_they_are_asked_for(page: Page, vase: Path) -> None:
    choose(page, vase)
    for hidden in (".score", ".card p.numbers", "#timing"):
        expect(page.locator(hidden).first).to_be_hidden()
    page.locator("#tuning summary").click()
    page.locator("#numbers").check()
    page.reload()
    searched(page)
    expect(page.locator(".score").first).to_have_text(re.compile(r"^[01]\.\d\d$"))
    expect(page.locator(".card p.numbers").first).to_have_text(re.compile(r"distance \d+ bits"))
    expect(page.locator("#timing")).to_contain_text("encode")


def test_the_address_of_a_picture_can_be_pasted_and_dropped(page: Page, vase: Path) -> None:
    coded = f"data:image/jpeg;base64,{base64.b64encode(vase.read_bytes()).decode()}"
    give = """([type, text, how]) => {
        const data = new DataTransfer();
        data.setData(type, text);
        document.body.dispatchEvent(how === "paste"
            ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true })
            : new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
    }"""
    page.evaluate(give, ["text/plain", coded, "paste"])
    searched(page)
    assert categories_of(page) == {"Vase"}
    mine = hits(page).first.locator("img").evaluate("(image) => image.src")
    nearest = listings_of(page)[0]
    page.locator(".brand").click()
    page.evaluate(give, ["text/uri-list", mine, "drop"])
    searched(page)
    assert listings_of(page)[0] == nearest
    page.evaluate(give, ["text/plain", "https://shop.example/photo.jpg", "paste"])
    expect(page.locator("#message")).to_contain_text("cannot be fetched from there")
    expect(page.locator("#unreadable")).to_have_text("The picture at shop.example")


def test_a_heic_photo_is_searched_though_the_browser_shows_no_preview(page: Page) -> None:
    file = {"name": "IMG_0001.HEIC", "mimeType": "image/heic", "buffer": HEIC.read_bytes()}
    page.set_input_files("#file", files=[file])  # type: ignore[list-item]
    searched(page)
    expect(page.locator("#unreadable")).to_contain_text("No preview")


def test_a_finger_draws_the_box(browser: Browser, process: Running, vase: Path) -> None:
    with phone(browser, str(process.client.base_url)) as page:
        choose(page, vase)
        page.tap("#enlarge")
        photo = page.locator("#query-photo").bounding_box()
        assert photo is not None
        assert min(photo["width"], photo["height"]) > 250
        finger = page.context.new_cdp_session(page)

        def touch(kind: str, x: float, y: float) -> None:
            at = {"x": photo["x"] + x * photo["width"], "y": photo["y"] + y * photo["height"]}
            points = [] if kind == "touchEnd" else [at]
            finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

        with page.expect_response(lambda r: "box=0.2" in r.url):
            touch("touchStart", 0.25, 0.25)
            for step in (0.4, 0.6, 0.75):
                touch("touchMove", step, step)
            touch("touchEnd", 0.75, 0.75)
        expect(page.locator(".crop-box")).to_have_attribute(
            "aria-label", re.compile("50 % wide and 50 % high")
        )
        page.tap("#enlarge")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_categories_are_called_by_the_shortest_path_that_tells_them_apart(page: Page) -> None:
    names = page.evaluate(
        """async () => {
            const { shortNames } = await import("/web/names.js");
            return [...shortNames(["women/boots", "men/boots", "men/t-shirts", "a/b/c", "d/b/c", "e/c"]).values()];
        }"""
    )
    assert sorted(names) == ["A › B › C", "D › B › C", "E › C", "Men › Boots", "T shirts", "Women › Boots"]


def test_a_long_name_wraps(page: Page, vase: Path) -> None:
    choose(page, vase)
    chip = page.locator("#categories .chip").first
    height = chip.evaluate("(one) => one.offsetHeight")
    chip.locator("span").evaluate("(one) => { one.textContent = 'verylongword'.repeat(12); }")
    assert chip.evaluate("(one) => one.offsetHeight") > 1.5 * height
    assert chip.evaluate(
        "(one) => one.getBoundingClientRect().right <= one.parentElement.getBoundingClientRect().right + 1"
    )


def test_all_photos_of_a_listing_are_in_its_details(page: Page, vase: Path) -> None:
    page.route(
        "**/v1/listings/*",
        lambda route: route.fulfill(
            json=(body := route.fetch().json()) | {"photos": [body["photo_id"], other]}
        ),
    )
    choose(page, vase)
    other = hits(page).nth(2).locator("img").get_attribute("src").split("/")[3].split("?")[0]  # type: ignore[union-attr]
    hits(page).first.locator(".photo").click()
    thumbs = page.locator("#detail-photos button")
    expect(thumbs).to_have_count(2)
    expect(thumbs.nth(0)).to_have_attribute("aria-current", "true")
    thumbs.nth(1).click()
    expect(page.locator("#detail-photo")).to_have_attribute("src", re.compile(other))
