"""Every verb of the command line, run to success on one small shop, without a cluster.

The shop is made by the verbs themselves: a fixture runs each step once and a test says what must have come of it. A
test that changes the store works on a copy. `serve`, `rank` and `console` run as processes of their own: started,
asked, and stopped by a signal.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image

from lookalike.cli import main
from lookalike.cli.app import app
from lookalike.cli.output import Output
from lookalike.cli.showing import show_report
from lookalike.coding.release import ModelCard
from lookalike.publishing.live_ref import read_live
from lookalike.storage.artefacts import Ref, fetch
from lookalike.storage.directory import DirectoryStore
from sample_shop import SamplePaths, write_sample
from tests.cli.started import started, until_answering

TOKEN = "a token of at least sixteen characters"

Json = dict[str, Any]
Call = Callable[..., Json]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("verbs")


@pytest.fixture(scope="module")
def call(home: Path) -> Call:
    """Runs a verb in this process, which must end well, and gives what it printed with ``--json``."""

    def run(*arguments: object) -> Json:
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.setenv("LOOKALIKE_CACHE_DIR", str(home / "cache"))
            patch.setattr("sys.argv", ["lookalike", *map(str, arguments), "--json"])
            code: object = 0
            try:
                main()
            except SystemExit as leaving:
                code = leaving.code
        assert not code, err.getvalue()
        found = json.loads(out.getvalue())
        assert isinstance(found, dict)
        return found

    return run


@dataclass(frozen=True)
class Shop:
    """A store that the verbs filled, and what each of them said."""

    sample: SamplePaths
    store: Path
    said: dict[str, Json]

    @property
    def live(self) -> str:
        found = read_live(DirectoryStore(self.store))
        assert found is not None
        return str(found.live.index)


@pytest.fixture(scope="module")
def sample(home: Path) -> SamplePaths:
    return write_sample(home / "catalogue", products=1)


@pytest.fixture(scope="module")
def whole(call: Call, home: Path, sample: SamplePaths) -> Shop:
    """The shop as the steps leave it. Do not write to it."""
    store = home / "store"
    steps: dict[str, tuple[object, ...]] = {
        "curate": ("--catalogue", sample.catalogue, "--min-category", 1),
        "train": ("--recipe", "tiny", "--threads", 1),
        "extract": ("--threads", 1),
        "index": (),
        "publish": (),
    }
    return Shop(sample, store, {verb: call(verb, *given, "--store", store) for verb, given in steps.items()})


@pytest.fixture
def shop(whole: Shop, tmp_path: Path) -> Shop:
    """The shop in a store of the test's own."""
    shutil.copytree(whole.store, tmp_path / "store")
    return Shop(whole.sample, tmp_path / "store", whole.said)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def a_query(sample: SamplePaths) -> Path:
    return sample.queries.parent / rows(sample.queries)[0]["image"]


def verbs() -> set[str]:
    """Every verb, those of groups as ``group_verb``."""

    def below(command: Any, path: tuple[str, ...]) -> Iterator[str]:
        if not hasattr(command, "commands"):
            yield "_".join(path)
            return
        for name, each in command.commands.items():
            yield from below(each, (*path, name.replace("-", "_")))

    return set(below(typer.main.get_command(app), ()))


def test_every_verb_has_a_test_here() -> None:
    assert {"curate", "serve"} <= verbs()
    untested = {verb for verb in verbs() if f"test_{verb}" not in globals()}
    assert not untested, "write a test that runs it to success"


def test_curate(whole: Shop) -> None:
    said = whole.said["curate"]
    with (whole.sample.catalogue.parent / "planted.csv").open() as file:
        assert sum(1 for _ in file) > 1, "the sample has planted flaws"
    assert 0 < said["listings"] < len(rows(whole.sample.catalogue))
    assert Path(said["report"]).read_text().startswith("<!doctype html>")


def test_train(whole: Shop, home: Path) -> None:
    release = fetch(DirectoryStore(whole.store), Ref.parse(whole.said["train"]["release"]), home / "cache")
    card = ModelCard.read(release.path("model.json"))
    assert card.recipe == "tiny"
    assert card.categories
    assert set(card.categories) <= {row["category"] for row in rows(whole.sample.catalogue)}
    assert release.path("model.onnx").stat().st_size > 0


def test_extract(whole: Shop) -> None:
    assert whole.said["extract"]["photos"] == whole.said["curate"]["photos"]


def test_index(whole: Shop) -> None:
    assert whole.said["index"]["rows"] == whole.said["curate"]["listings"]
    assert whole.said["index"]["shards"] == 1


def test_publish(whole: Shop) -> None:
    live = whole.said["publish"]["live"]
    assert (live["sequence"], live["index"]) == (1, whole.said["index"]["index"])
    assert live["release"] == whole.said["train"]["release"]
    assert whole.live == live["index"]


def test_search(call: Call, whole: Shop, tmp_path: Path) -> None:
    photo = next((whole.sample.catalogue.parent / "photos").glob("L0*.jpg"))
    sheet = tmp_path / "sheet.png"
    said = call("search", photo, "-k", 3, "--store", whole.store, "--sheet", sheet, "--threads", 1)
    assert said["index"] == whole.live
    assert len(said["hits"]) == 3
    own = hashlib.md5(photo.read_bytes(), usedforsecurity=False).hexdigest()
    assert (own, 0) in {(hit["photo_id"], hit["distance"]) for hit in said["hits"]}, "its own photo is there"
    with Image.open(sheet) as picture:
        assert picture.format == "PNG"


def test_evaluate(call: Call, whole: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "quality.html"
    given = ("--catalogue", whole.sample.queries, "--page", page, "--threads", 1)
    said = call("evaluate", *given, "--store", whole.store)
    assert said["queries"] == len(rows(whole.sample.queries))
    assert said["gallery"] == whole.said["index"]["rows"]
    assert 0 < said["codes"]["category"]["codes"]["mAP"] <= 1
    assert said["looks"]["measures"]["variant first"]["all"]["queries"] > 0
    assert {"brand", "colour", "main colour", "material", "pattern"} == {*said["looks"]["agreement"]}
    assert "Worst queries" in page.read_text()
    assert "same main colour in 8" in page.read_text()
    show_report(Output(), said)
    told = capsys.readouterr().out
    assert "the commonest" in told
    for measure in ("variant first", "same main colour in 8", "in its category", "by chance", "at best"):
        assert measure in told


def test_inspect(call: Call, whole: Shop) -> None:
    said = call("inspect", "--store", whole.store)
    kinds = sorted(entry["kind"] for entry in said["artefacts"])
    assert kinds == ["curated", "extractions", "index", "releases"]
    live = {entry["ref"] for entry in said["artefacts"] if entry["live"]}
    assert live == {whole.said["train"]["release"], whole.said["index"]["index"]}
    index = call("inspect", whole.live, "--store", whole.store)
    assert index["described"]["rows"] == whole.said["index"]["rows"]


def test_verify(call: Call, whole: Shop) -> None:
    said = call("verify", "--all", "--store", whole.store)
    assert len(said["verified"]) == 4
    assert not said["problems"]


def test_rollback(call: Call, shop: Shop) -> None:
    first = shop.live
    second = call("index", "--shards", 2, "--store", shop.store)["index"]
    call("publish", "--index", second, "--store", shop.store)
    assert shop.live == second != first
    said = call("rollback", "--store", shop.store)
    assert (said["live"]["action"], said["live"]["index"]) == ("rollback", first)
    assert shop.live == first


def test_resume(call: Call, shop: Shop) -> None:
    second = call("index", "--shards", 2, "--store", shop.store)["index"]
    call("publish", "--index", second, "--store", shop.store)
    assert call("rollback", "--store", shop.store)["hold"]["sequence"] == 3
    assert call("resume", "--store", shop.store)["hold"] is None


def test_repair(call: Call, shop: Shop) -> None:
    (path := shop.store / "refs" / "live.json").write_bytes(path.read_bytes()[:-30])
    repaired = call("repair", "--store", shop.store)
    assert (repaired["live"]["index"], "damaged" in repaired["hold"]["why"]) == (shop.live, True)


def test_migrate(call: Call, shop: Shop) -> None:
    assert call("migrate", "--store", shop.store) == {"snapshots": 0, "added": 0, "known": 0, "left": 0}


def test_keys(call: Call, tmp_path: Path) -> None:
    made = call("keys", "page", "--file", file := tmp_path / "keys.txt")
    assert (made["line"] + "\n", made["key"][:3]) == (file.read_text(), "lk_")


def test_suspects(call: Call, shop: Shop, tmp_path: Path) -> None:
    said = call("suspects", "--output", file := tmp_path / "suspects.csv", "--store", shop.store)
    assert (said["extraction"], said["file"]) == (shop.said["extract"]["extraction"], str(file))
    assert len(rows(file)) == sum(said["found"].values())
    assert {"listing_id", "keep"} <= set(file.read_text("utf-8-sig").splitlines()[0].split(","))


def test_retain(call: Call, shop: Shop) -> None:
    unused = call("index", "--shards", 3, "--store", shop.store)["index"]
    newest = call("index", "--shards", 2, "--store", shop.store)["index"]
    given = ("--records", 0, "--grace-hours", 0, "--store", shop.store)
    name = unused.partition("@")[0]
    for path in (shop.store / name).iterdir():
        os.utime(path, (1_700_000_000, 1_700_000_000))
    planned = call("retain", *given, "--dry-run")
    assert {newest.partition("@")[0], shop.live.partition("@")[0]} <= set(planned["kept"])
    assert [gone for gone in planned["removed"] if gone.startswith("index/")] == [name]
    assert (shop.store / name).is_dir(), "a dry run removes nothing"
    assert planned["old_versions"] is None
    assert call("retain", *given)["removed"] == planned["removed"]
    assert not list((shop.store / name).glob("*"))
    assert not call("verify", "--store", shop.store)["problems"], "what is live stays whole"


def test_plan(call: Call) -> None:
    small = call("plan", "--listings", 1e6, "--qps", 50)["plan"]
    large = call("plan", "--listings", 1e9, "--qps", 500, "--bare")["plan"]
    assert small["shards"] == 0, "every search pod holds the whole index"
    assert large["shards"] > 1
    assert large["nodes"] > small["nodes"] >= 2


def test_run(call: Call, shop: Shop) -> None:
    """Beside its finished steps it finds each of them, and makes nothing twice."""
    given = ("--catalogue", shop.sample.catalogue, "--min-category", 1, "--recipe", "tiny", "--threads", 1)
    said = call("run", *given, "--store", shop.store)
    curation = said.pop("curation")
    assert all(Path(curation.pop(page)).is_file() for page in ("report", "left_out_rows"))
    assert curation.items() <= shop.said["curate"].items()
    assert curation["kept_rows"] + sum(curation["left_out"].values()) == curation["rows"]
    assert said == {
        "curated": shop.said["curate"]["curated"],
        "release": shop.said["train"]["release"],
        "extraction": shop.said["extract"]["extraction"],
        "index": shop.said["index"]["index"],
    }


def test_reindex(call: Call, shop: Shop) -> None:
    """A listing less is a delta over what is live; the same again is nothing, or a base."""
    changed = shop.sample.catalogue.with_name("changed.csv")
    changed.write_text((text := shop.sample.catalogue.read_text()).replace(text.splitlines()[1] + "\n", ""))
    said = call("reindex", *(given := ("--catalogue", changed, "--threads", 1, "--store", shop.store)))
    assert (said["made"], said["live"]["index"]) == ("delta", shop.live)
    assert {*said["live"]["deltas"]} <= {*call("verify", "--store", shop.store)["verified"]}
    assert [call("reindex", *given, *more)["made"] for more in ((), ("--base",))] == ["nothing", "base"]


def test_demo(call: Call, home: Path, whole: Shop) -> None:
    """In the folder of the shop it finds the steps done, as anybody's second demo does, and answers and judges."""
    before = {path: path.stat().st_mtime_ns for path in whole.store.rglob("*") if path.is_file()}
    said = call("demo", "--once", "--directory", home, "--recipe", "tiny", "--products", 1)
    assert {path: path.stat().st_mtime_ns for path in whole.store.rglob("*") if path.is_file()} == before
    assert said["report"]["queries"] == len(rows(whole.sample.queries))
    assert len(said["answers"]) >= 5
    assert all(len(answer["hits"]) == 6 for answer in said["answers"])
    assert (home / "quality.html").is_file()
    with Image.open(home / "answers.png") as picture:
        assert picture.format == "PNG"


def test_config_show(call: Call, home: Path) -> None:
    said = call("--set", "ranking.blend=0.5", "config", "show")["settings"]
    assert said["ranking.blend"] == {"value": 0.5, "from": "--set"}
    assert said["cache_dir"] == {"value": str(home / "cache"), "from": "LOOKALIKE_CACHE_DIR"}


def test_config_init(call: Call, tmp_path: Path) -> None:
    said = call("config", "init", tmp_path / "lookalike.toml")
    assert "# blend = 0.75" in Path(said["file"]).read_text()


def test_serve(home: Path, whole: Shop) -> None:
    with started(home, "serve", "--store", whole.store, "--threads", 1) as (client, process):
        until_answering(client, process, "/readyz")
        reply = client.post("/v1/search?k=3", content=a_query(whole.sample).read_bytes())
        assert reply.status_code == 200
        assert (reply.json()["index"], len(reply.json()["hits"])) == (whole.live, 3)
        assert "<html" in client.get("/").text
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


def test_rank(call: Call, home: Path, whole: Shop) -> None:
    """A ranker scans for a search process that holds no index, and the hits are those of one process."""
    photo = a_query(whole.sample)
    alone = call("search", photo, "-k", 3, "--store", whole.store, "--threads", 1)["hits"]
    with started(home, "rank", "--store", whole.store, "--threads", 1) as (ranker, ranking):
        until_answering(ranker, ranking, "/readyz")
        given = ("--store", whole.store, "--threads", 1, "--rankers", ranker.base_url)
        with started(home, "serve", *given) as (client, serving):
            until_answering(client, serving, "/readyz")
            hits = client.post("/v1/search?k=3", content=photo.read_bytes()).json()["hits"]
            assert [hit["listing_id"] for hit in hits] == [hit["listing_id"] for hit in alone]
            serving.send_signal(signal.SIGINT)
            assert serving.wait(30) == 0
        ranking.send_signal(signal.SIGINT)
        assert ranking.wait(30) == 0


def test_console(home: Path, whole: Shop) -> None:
    """Without a Prefect it still shows what is live, and acts for nobody who does not know the token."""
    nowhere = {"PREFECT_API_URL": "http://127.0.0.1:9/api", "LOOKALIKE_CONSOLE_TOKEN": TOKEN}
    with started(home, "console", "--store", whole.store, **nowhere) as (client, process):
        until_answering(client, process, "/livez")
        assert Ref.parse(whole.live).id in client.get("/api/state").text
        assert "<html" in client.get("/").text
        assert client.post("/api/actions/rollback", json={"confirm": "rollback"}).status_code in (401, 403)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) in (0, -signal.SIGTERM)
