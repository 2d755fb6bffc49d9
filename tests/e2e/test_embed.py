"""The example page of docs/examples in a real Chromium: another origin, an API key, and the module that it imports."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from lookalike.serving import keys
from lookalike.serving.access import AccessConfig
from lookalike.serving.config import ServingConfig
from tests.serving.running import running
from tests.shop import Shop

pytestmark = pytest.mark.browser
EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None: ...


@contextmanager
def elsewhere() -> Iterator[str]:
    """The origin of a server that has the examples and nothing of ours."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(EXAMPLES))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_page_of_another_origin_searches(browser: Browser, shop: Shop, vase: Path, tmp_path: Path) -> None:
    key, file = keys.new_key(), tmp_path / "keys.txt"
    file.write_text(keys.line_of(key, "embed", ("search",)))
    with elsewhere() as allowed, elsewhere() as other, browser.new_context() as context:
        access = AccessConfig(keys_file=file, origins=(allowed,))
        config = ServingConfig(index=shop.index, notice_seconds=0, access=access)
        with running(shop.store, shop.cache_dir, config) as process:
            address = f"address=http://127.0.0.1:{process.port}"
            page = context.new_page()
            page.goto(f"{allowed}/embed.html?{address}&key={key}")
            page.set_input_files("#photo", vase)
            expect(page.locator("#said")).to_have_text("12 listings look like it")
            images = page.locator("#hits img")
            expect(images).to_have_count(12)
            loaded = "images => Promise.all(images.map(i => i.decode())).then(() => images.map(i => i.naturalWidth))"
            assert all(width > 0 for width in images.evaluate_all(loaded))

            page.goto(f"{allowed}/embed.html?{address}")
            page.set_input_files("#photo", vase)
            expect(page.locator("#said")).to_contain_text("an API key is needed")

            errors: list[str] = []
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.goto(f"{other}/embed.html?{address}&key={key}")
            page.wait_for_function("() => true")
            expect(page.locator("#hits img")).to_have_count(0)
            assert any("Failed to fetch dynamically imported module" in error for error in errors), errors
