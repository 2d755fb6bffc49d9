"""What tests of the pages do and look at."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect


def hits(page: Page) -> Locator:
    return page.locator(".card[data-listing]:not(.example)")


def listings_of(page: Page) -> list[str]:
    """Ids of the listings that are shown, in order."""
    ids: list[str] = page.evaluate(
        "[...document.querySelectorAll('.card:not(.example)')].map((c) => c.dataset.listing)"
    )
    return ids


def categories_of(page: Page) -> set[str]:
    """Leading words of the hits' titles: `Vase no. 5`."""
    return {title.split(" no. ")[0] for title in page.locator(".card h2").all_inner_texts()}


def searched(page: Page) -> None:
    expect(hits(page).first).to_be_visible()
    expect(page.locator("#grid")).not_to_have_class(re.compile("stale"))
    expect(page.locator("#results")).not_to_have_attribute("aria-busy", "true")


def choose(page: Page, photo: Path) -> None:
    page.set_input_files("#file", photo)
    searched(page)


def address(page: Page) -> str:
    """The fragment, which a history of ours changes without the browser's saying so."""
    fragment: str = page.evaluate("decodeURIComponent(location.hash)")
    return fragment


def violations(page: Page) -> list[str]:
    """What axe-core says against the page as it is."""
    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {node['target']} {node['html'][:120]}" for one in found for node in one["nodes"]]


@contextmanager
def phone(browser: Browser, base: str, **options: Any) -> Iterator[Page]:
    """A page on an iPhone 13 with its bars."""
    screen = {"width": 390, "height": 664}
    with browser.new_context(
        viewport=screen, has_touch=True, is_mobile=True, base_url=base, **options
    ) as context:
        page = context.new_page()
        page.goto("/")
        page.wait_for_selector(".card.example")
        yield page
