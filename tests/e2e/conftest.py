"""A real headless Chromium in front of a real search process; a real cluster with a real S3 server beside it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from local.cluster import Cluster, S3Server, find_cluster
from local.settings import LocalSettings
from lookalike.serving.config import ServingConfig
from tests.e2e.cluster import Namespace, emptied, s3_server
from tests.k8s import kustomize
from tests.serving.running import Running, running
from tests.shop import Shop, render

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(
    scope="package"
)  # Playwright keeps an event loop running, in which no later test could start one
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def process(shop: Shop) -> Iterator[Running]:
    config = ServingConfig(index=shop.index, notice_seconds=0)
    with running(shop.store, shop.cache_dir, config) as process:
        yield process


@pytest.fixture(scope="session")
def vase(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("query") / "vase.jpg"
    path.write_bytes(render("home/vase", 5, side=300))
    return path


@pytest.fixture
def page(browser: Browser, process: Running) -> Iterator[Page]:
    """The search page, open. A script error or a request to anywhere else fails the test."""
    base = str(process.client.base_url).rstrip("/")
    context = browser.new_context(viewport={"width": 1280, "height": 900}, base_url=base)
    page = context.new_page()
    page.set_default_timeout(10_000)
    errors: list[str] = []
    outside: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "request", lambda r: None if r.url.startswith((base, "blob:", "data:")) else outside.append(r.url)
    )
    page.goto("/")
    page.wait_for_selector(".card.example")
    yield page
    context.close()
    assert not errors
    assert not outside


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The cluster that KUBECONFIG names, or else the one that LOOKALIKE_CLUSTER_TOOL starts."""
    if missing := kustomize.missing():
        pytest.skip(missing)
    found = find_cluster()
    if found is None:
        pytest.skip("no cluster: set KUBECONFIG to one, or LOOKALIKE_CLUSTER_TOOL")
    if not found.tool and not LocalSettings().registry:
        pytest.skip("images of this tree must reach the cluster: set LOOKALIKE_REGISTRY")
    return found


@pytest.fixture(scope="session")
def search_image(cluster: Cluster) -> str:
    return cluster.build("search", "test")


@pytest.fixture(scope="session")
def pipeline_image(cluster: Cluster) -> str:
    return cluster.build("pipeline", "test")


@pytest.fixture(scope="session")
def s3(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3 server that pods reach; its credentials are in this process's environment, too."""
    with (
        s3_server(cluster, tmp_path_factory.mktemp("radosgw")) as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("AWS_ACCESS_KEY_ID", server.key)
        patch.setenv("AWS_SECRET_ACCESS_KEY", server.secret)
        yield server


@pytest.fixture(scope="module")
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Namespace]:
    """An empty namespace of the module's own, named after it."""
    name = re.sub("[^a-z0-9]+", "-", request.module.__name__.rpartition(".")[2].removeprefix("test_"))
    with emptied(cluster, f"lookalike-{name}") as made:
        yield made
