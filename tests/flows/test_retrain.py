"""The retrain flow: the whole way, seen from Prefect and from the store; killed anywhere, it ends as if undisturbed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from lookalike.storage import keys
from lookalike.storage.artefacts import Kind, Ref, fetch, read_manifest
from lookalike.storage.directory import DirectoryStore
from tests.shop import Listing

from .conftest import RECIPE, Prefect, Shop

STAGES = ("curate", "train", "extract", "index", "publish")


@pytest.fixture(scope="module")
def retrained(prefect: Prefect, first: Shop, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """An empty store after one undisturbed retrain of the first shop's catalogue."""
    home = tmp_path_factory.mktemp("retrained")
    shop = Shop(first.catalogue, DirectoryStore(home / "store"), home / "cache")
    prefect.result("retrain", RECIPE | shop.where())
    return shop


def test_it_makes_one_pair_live_and_whole(retrained: Shop) -> None:
    live = retrained.live()
    assert live.sequence == 1
    assert Ref.parse(str(read_manifest(retrained.store, live.index).meta["release"])) == live.release
    fetch(retrained.store, live.release, retrained.cache)
    fetch(retrained.store, live.index, retrained.cache)


def test_prefect_shows_progress_tables_a_contact_sheet_and_links(prefect: Prefect, retrained: Shop) -> None:
    found = prefect.ask_all("/artifacts/filter")
    assert {
        ("table", "curation-report"),
        ("image", "curation-sheet"),
        ("markdown", "curation-page"),  # Prefect keeps a link as Markdown
        ("table", "model-release"),
        ("table", "index-snapshot"),
        ("table", "quality-gate"),
        ("table", "live"),
    } <= {(artifact["type"], artifact["key"]) for artifact in found}
    finished = [a["description"] for a in found if a["type"] == "progress" and a["data"] == 100]
    assert any(text.startswith("train") for text in finished)
    assert any(text.startswith("extract codes") for text in finished)


def test_only_references_travel_between_stages(prefect: Prefect, retrained: Shop) -> None:
    names = ["train", "extract", "index", "publish"]
    stages = prefect.ask("/flow_runs/filter", {"flows": {"name": {"any_": names}}})
    assert len(stages) >= len(names)
    for run in stages:
        parameters = run["parameters"]["parameters"]
        assert len(json.dumps(parameters)) < 1000
        for name in {"curated", "release", "extraction", "index"} & set(parameters):
            assert Ref.parse(parameters[name])


def test_it_can_start_from_the_live_release_and_again_finds_itself_done(
    prefect: Prefect, first: Shop, retrained: Shop, listings: tuple[Listing, ...], tmp_path: Path
) -> None:
    shutil.copytree(first.catalogue.parent, tmp_path / "catalogue")
    shutil.copytree(retrained.store.root, tmp_path / "store")
    catalogue = tmp_path / "catalogue" / first.catalogue.name
    shop = Shop(catalogue, DirectoryStore(tmp_path / "store"), retrained.cache)
    shop.offer(listings[10:-50])
    asked, before = RECIPE | shop.where() | {"weights": "live"}, shop.live().release
    prefect.result("retrain", asked)
    after = shop.live()
    assert read_manifest(shop.store, after.release).config["weights"] == str(before)
    prefect.result("retrain", asked)
    assert shop.live() == after


def test_a_release_to_start_from_that_is_not_there_fails_before_curation(
    prefect: Prefect, first: Shop, tmp_path: Path
) -> None:
    shop = Shop(first.catalogue, DirectoryStore(tmp_path / "store"), tmp_path / "cache")
    asked = RECIPE | shop.where() | {"weights": f"releases/{'0' * 16}@{'0' * 64}"}
    process = prefect.run("retrain", asked)
    log, _ = process.communicate(timeout=240)
    assert process.returncode != 0
    assert "ObjectNotFound" in log
    assert not list(shop.store.list(""))


@pytest.mark.timeout(900)  # seven processes that import Prefect and torch
def test_killed_in_every_stage_it_goes_on_and_ends_as_if_undisturbed(
    prefect: Prefect, retrained: Shop, tmp_path: Path
) -> None:
    """Kill -9 as soon as each stage is seen at work: nothing finished is done again, nothing half-done is visible."""
    store = DirectoryStore(tmp_path / "store")
    shop = Shop(retrained.catalogue, store, tmp_path / "cache")
    cache = {"LOOKALIKE_CACHE_DIR": str(shop.cache)}
    finished: dict[str, str] = {}
    for stage in STAGES:
        process = prefect.run("retrain", RECIPE | shop.where(), **cache)
        wait_for_stage(process, stage)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        visible = {key: store.head(key).etag for key in manifests(store)}
        for key in visible:
            fetch(store, ref_of(store, key), shop.cache)  # whatever is visible is whole
        assert finished.items() <= visible.items(), f"killed in {stage}: finished work was done again"
        finished = visible
    index = prefect.result("retrain", RECIPE | shop.where(), **cache)
    assert index == str(retrained.live().index)  # ids and digests: byte for byte the same
    assert str(shop.live().index) == index
    assert shop.live().sequence == 1


def wait_for_stage(process: subprocess.Popen[str], stage: str) -> None:
    """Until the stage has begun and told of some progress."""
    assert process.stdout is not None
    log, begun = [], False
    for line in process.stdout:
        log.append(line)
        begun = begun or f"for flow '{stage}'" in line
        if begun and line.startswith("PROGRESS"):
            return
    pytest.fail(f"{stage} was never reached:\n" + "".join(log))


def manifests(store: DirectoryStore) -> set[str]:
    return {info.key for kind in Kind for info in store.list(f"{kind}/") if info.key.endswith(keys.MANIFEST)}


def ref_of(store: DirectoryStore, key: str) -> Ref:
    kind, artefact_id, _ = key.split("/")
    return Ref(Kind(kind), artefact_id, hashlib.sha256(store.get(key)).hexdigest())
