"""A cluster of the real Kubernetes client's own wire format, and a shop with a search process beside it."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lookalike.publishing import publication, rollout
from lookalike.publishing.live_ref import LiveRecord, read_live
from lookalike.publishing.rollout import CONFIRMED, INDEX, SearchDeployment
from lookalike.serving.config import ServingConfig
from lookalike.settings import RolloutSettings
from lookalike.storage.artefacts import Kind, Ref
from lookalike.storage.directory import DirectoryStore
from tests.publishing import api_server
from tests.publishing.api_server import ApiServer
from tests.serving.running import running
from tests.shop import Shop, open_shop, reindex, render

OLD, NEW, OTHER = (Ref(Kind.INDEX, letter * 16, letter * 64) for letter in "abc")
NOBODY = "http://127.0.0.1:9"
AT = f"/spec/template/metadata/annotations/{INDEX.replace('/', '~1')}"
"""Where the template names its snapshot, as a JSON Patch says it."""
CONFIRMED_AT = f"/metadata/annotations/{CONFIRMED.replace('/', '~1')}"
VASE = render("home/vase", 1)


@dataclasses.dataclass(frozen=True)
class Site:
    api: ApiServer
    first: Shop
    second: Shop

    @property
    def live(self) -> LiveRecord:
        found = read_live(self.first.store)
        assert found is not None
        return found.live

    def publish(self, index: Ref) -> None:
        publication.publish_index(self.first.store, index, by="test", cache_dir=self.first.cache_dir)

    def agreed_on(self, index: Ref) -> bool:
        return self.live.index == index and self.api.template[INDEX] == str(index)


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    """A cluster whose two search pods serve `OLD` and were seen to answer; waits are short."""
    monkeypatch.setattr(rollout, "_LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(rollout, "_REQUEST_S", 1.0)
    monkeypatch.setattr(rollout, "_SETTLE_S", 0.2)
    found = api_server.deployment(str(OLD), str(OLD))
    with api_server.serving(found, tmp_path) as (api, kubeconfig):
        # The client reads KUBECONFIG when it is imported.
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(kubeconfig))
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
        yield api


Search = Callable[..., SearchDeployment]


@pytest.fixture
def search() -> Search:
    """The Deployment as a roll-out sees it, by default where no pod answers and no wait is long."""

    def opened(**settings: Any) -> SearchDeployment:
        given = {"deployment": api_server.NAME, "service_url": NOBODY, "pods_url": NOBODY, "deadline_s": 5.0}
        return SearchDeployment(RolloutSettings(**given | settings))

    return opened


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Shop, Shop]:
    """A shop and the same shop with more listings, in one store."""
    root = tmp_path_factory.mktemp("rollout")
    first = open_shop(DirectoryStore(root / "store"), root / "cache", per_category=4)
    return first, reindex(first, per_category=5)


@pytest.fixture
def site(
    two: tuple[Shop, Shop], api: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Site]:
    """The first shop live in a store of the test's own, with a search process that follows the live ref."""
    first, second = two
    shutil.copytree(Path(first.store.uri.removeprefix("file://")), tmp_path / "store")
    shutil.copytree(first.cache_dir, tmp_path / "cache")
    store, cache = DirectoryStore(tmp_path / "store"), tmp_path / "cache"
    here = [dataclasses.replace(shop, store=store, cache_dir=cache) for shop in (first, second)]
    publication.publish_index(store, first.index, by="test", cache_dir=cache)
    api.deployment = api_server.deployment(str(first.index), str(first.index))
    with running(store, cache, ServingConfig(poll_seconds=0.02, notice_seconds=0)) as process:
        monkeypatch.setenv("LOOKALIKE_ROLLOUT_DEPLOYMENT", f"{api_server.NAMESPACE}/{api_server.NAME}")
        monkeypatch.setenv("LOOKALIKE_ROLLOUT_SERVICE_URL", f"http://127.0.0.1:{process.port}")
        monkeypatch.setenv("LOOKALIKE_ROLLOUT_PODS_URL", NOBODY)
        monkeypatch.setenv("LOOKALIKE_ROLLOUT_DEADLINE_S", "20")
        monkeypatch.setattr(rollout, "_SETTLE_S", 20.0)
        yield Site(api, here[0], here[1])
