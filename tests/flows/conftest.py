"""A Prefect server, a very small shop, and a store in which its first pair is live, made once.

Flows run in processes of their own, as they do in production, so that they can be killed, and so that what they
connect to can be watched from outside.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from lookalike.catalogue.curation import CurationConfig, curate
from lookalike.coding.extraction import extract
from lookalike.coding.shoppers import Shoppers
from lookalike.index.builder import build
from lookalike.publishing import live_ref, publication
from lookalike.storage.artefacts import Ref, read_manifest
from lookalike.storage.directory import DirectoryStore
from tests.shop import Listing, make_listings, write_release

ROOT = Path(__file__).parents[2]
WATCH = Path(__file__).parent / "watch"
RECIPE = {"recipe": "tiny", "min_category": 1, "margin": 1.0}

pytest.importorskip("prefect")


_RUN = """
import importlib, json, sys
flow, parameters = getattr(importlib.import_module('flows.' + sys.argv[1]), sys.argv[1]), json.loads(sys.argv[2])
from flows import parameters as models
from tasks.progress import also
with also(lambda stage, done, total, note='': print('PROGRESS', stage, done, total, flush=True)):
    print('RESULT', flow(getattr(models, sys.argv[1].title())(**parameters)))
"""


@dataclass(frozen=True)
class Prefect:
    """A running server, and the environment in which flows report to it."""

    api: str
    environ: Mapping[str, str]

    @property
    def headers(self) -> dict[str, str]:
        """Of every request: the user and the password, where the server has them."""
        headers = {"Content-Type": "application/json"}
        if auth := self.environ.get("PREFECT_API_AUTH_STRING"):
            headers["Authorization"] = f"Basic {b64encode(auth.encode()).decode()}"
        return headers

    def ask_all(self, path: str) -> list[Any]:
        """All entries of a filter, which answers with 200 at most: tests that ran before have left some."""
        found: list[Any] = []
        while page := self.ask(path, {"limit": 200, "offset": len(found)}):
            found += page
        return found

    def ask(self, path: str, body: Any, method: str = "POST") -> Any:
        """What the server answers, asked again while its database is busy, as Prefect's own client does."""
        request = urllib.request.Request(
            self.api + path, json.dumps(body).encode(), self.headers, method=method
        )
        until = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(request, timeout=60) as reply:
                    answer = reply.read()
                    return json.loads(answer) if answer else None
            except urllib.error.HTTPError as error:
                error.close()
                if error.code != 503 or time.monotonic() > until:
                    raise
                time.sleep(1)

    def run(self, flow: str, parameters: Mapping[str, Any], **environ: str) -> subprocess.Popen[str]:
        """Start a flow in a process of its own, in a session that can be killed as a whole."""
        return subprocess.Popen(
            [sys.executable, "-c", _RUN, flow, json.dumps(parameters)],
            cwd=ROOT,
            env={**self.environ, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def result(self, flow: str, parameters: Mapping[str, Any], **environ: str) -> str:
        """Run a flow to its end; the reference it returns. Fails the test with the flow's log where it fails."""
        return result_of(self.run(flow, parameters, **environ))


def result_of(process: subprocess.Popen[str]) -> str:
    log, _ = process.communicate(timeout=240)
    assert process.returncode == 0, log
    return log.rpartition("RESULT ")[2].strip()


@dataclass(frozen=True)
class Shop:
    """A catalogue that can be changed, and the store of what is made from it."""

    catalogue: Path
    store: DirectoryStore
    cache: Path

    def offer(self, listings: Sequence[Listing]) -> None:
        """Make these listings the catalogue."""
        photos = self.catalogue.parent / "photos"
        photos.mkdir(parents=True, exist_ok=True)
        with self.catalogue.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["listing_id", "image", "category", "title", "product", "aspect_mark"])
            for row in listings:
                (photos / f"{row.photo_id}.jpg").write_bytes(row.photo)
                image = f"photos/{row.photo_id}.jpg"
                mark = row.aspects["mark"][0]
                writer.writerow([row.listing_id, image, row.category, row.title, row.product, mark])

    def curate(self) -> Ref:
        config = CurationConfig(min_category=1)
        return curate(self.store, str(self.catalogue), config, cache_dir=self.cache)

    def index(self, curated: Ref, release: Ref) -> Ref:
        """Codes and index of a snapshot by a release."""
        extraction = extract(self.store, curated, release, cache_dir=self.cache, threads=1)
        take = Shoppers.of(self.store, extraction, self.cache, 1).take
        return build(self.store, curated, extraction, take=take, cache_dir=self.cache)

    def where(self) -> dict[str, Any]:
        return {"store": self.store.uri, "catalogue": str(self.catalogue), "threads": 1}

    def live(self) -> live_ref.LiveRecord:
        found = live_ref.read_live(self.store)
        assert found is not None
        return found.live

    def live_curated(self) -> Ref:
        return Ref.parse(read_manifest(self.store, self.live().tip).inputs["curated"])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(what: str, answers: Any, process: subprocess.Popen[Any], seconds: float = 240) -> None:
    """Wait for `answers()`; fails at once where the process that should make it so has ended."""
    until = time.monotonic() + seconds
    while not answers():
        assert process.poll() is None, f"{what}: the process ended with {process.returncode}"
        assert time.monotonic() < until, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.1)


def is_up(url: str, headers: Mapping[str, str] = MappingProxyType({})) -> bool:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=dict(headers)), timeout=20) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@pytest.fixture(scope="session")
def connections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file in which every process of these tests notes what it connects to (`watch/sitecustomize.py`)."""
    return tmp_path_factory.mktemp("watch") / "connections.txt"


@pytest.fixture(scope="session")
def environ(tmp_path_factory: pytest.TempPathFactory, connections: Path) -> dict[str, str]:
    """An environment without anybody's Prefect or S3 settings in it."""
    from tasks import environment

    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "LOOKALIKE_", "AWS_"))}
    environment.own_home(tmp_path_factory.mktemp("prefect"), inherited)
    return inherited | {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(WATCH), os.environ.get("PYTHONPATH")])),
        "WATCH_CONNECTIONS": str(connections),
        "LOOKALIKE_CACHE_DIR": str(tmp_path_factory.mktemp("cache")),
        "LOOKALIKE_TASK_FIRST_DELAY_S": "0.5",
    }


@pytest.fixture(scope="session")
def prefect(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prefect]:
    port = free_port()
    api = f"http://127.0.0.1:{port}/api"
    log = tmp_path_factory.mktemp("server") / "log.txt"
    with log.open("w") as out:
        server = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
            env=environ,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until("Prefect's server", lambda: is_up(f"{api}/health"), server)
        yield Prefect(api, environ | {"PREFECT_API_URL": api})
    finally:
        server.terminate()
        server.wait(60)


@pytest.fixture(scope="session")
def listings() -> tuple[Listing, ...]:
    """What the shop offers in the end; its last 50 listings arrive after the first publication."""
    return tuple(sorted(make_listings(24), key=lambda row: row.listing_id[::-1]))


@pytest.fixture(scope="session")
def first(listings: tuple[Listing, ...], tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop whose first pair is live: not to be changed; tests work on a copy (`shop`)."""
    home = tmp_path_factory.mktemp("first")
    made = Shop(home / "catalogue" / "listings.csv", DirectoryStore(home / "store"), home / "cache")
    made.cache.mkdir()
    made.offer(listings[:-50])
    curated = made.curate()
    release = write_release(made.store, listings, made.cache)
    publication.publish_index(made.store, made.index(curated, release), by="test", cache_dir=made.cache)
    return made


@pytest.fixture
def shop(first: Shop, tmp_path: Path) -> Shop:
    """A shop of one's own in which the first pair is live."""
    for name in ("store", "cache", "catalogue"):
        shutil.copytree(first.store.root.parent / name, tmp_path / name)
    return Shop(
        tmp_path / "catalogue" / "listings.csv", DirectoryStore(tmp_path / "store"), tmp_path / "cache"
    )
