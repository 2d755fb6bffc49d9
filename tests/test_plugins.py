"""What other packages add: the package of docs/extending.md, built and installed from that page, and bad ones."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lookalike import plugins
from lookalike.catalogue.sources.files import TableFile
from lookalike.catalogue.sources.opening import read_table
from lookalike.errors import LookalikeError, SettingsError, TrainingError
from lookalike.learning.hash_heads import TRAINED, build_head
from lookalike.learning.hashing import HASHINGS
from lookalike.learning.recipes import RECIPES, described, recipe_named
from lookalike.learning.trunks import build_trunk
from lookalike.storage.stores import open_store
from sample_shop import write_sample

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "extending.md"
STORE = "share://shop/lookalike"
THEN_MODULES = """
import json, sys
from lookalike.cli import main
try:
    main()
finally:
    imported = [name for name in sys.modules if name.split(".")[0] in ("house_extras", "torch")]
    print(json.dumps(imported), file=sys.stderr)
"""


def written(folder: Path) -> Path:
    """The files that the page shows, each below a line with its name."""
    shown = re.findall(r"^`([\w./]+)`:\n\n```\w+\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    for name, text in shown:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "house_extras" / "__init__.py").touch()
    return folder


@dataclass(frozen=True)
class House:
    """A shop on a network share, and the packages that its machine has."""

    shares: Path
    site: Path
    cache: Path

    def lookalike(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """The program; the last line on standard error lists modules of the package, and torch's, that it imported."""
        environment = {name: text for name, text in os.environ.items() if not name.startswith("LOOKALIKE_")}
        environment |= {"HOUSE_SHARES": str(self.shares), "LOOKALIKE_CACHE_DIR": str(self.cache)}
        environment["PYTHONPATH"] = os.pathsep.join([str(self.site), str(ROOT / "src"), str(ROOT)])
        return subprocess.run(
            [sys.executable, "-c", THEN_MODULES, *map(str, arguments)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
        )

    def done(self, *arguments: object) -> tuple[Any, set[str]]:
        """What it printed as JSON, and which modules it imported."""
        ended = self.lookalike(*arguments, "--json")
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout), imported(ended)


def imported(ended: subprocess.CompletedProcess[str]) -> set[str]:
    return set(json.loads(ended.stderr.splitlines()[-1]))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    """The page's package built and installed by pip, and a catalogue of JSON lines on the share."""
    folder = tmp_path_factory.mktemp("house")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-build-isolation",
        "--no-deps",
        "--no-index",
    ]
    source = written(folder / "source")
    subprocess.run([*pip, "--target", str(folder / "site"), str(source)], check=True, timeout=240)
    sample = write_sample(folder / "shares" / "shop", products=1)
    with sample.catalogue.open(newline="") as table:
        rows = [json.dumps(row) for row in csv.DictReader(table)]
    (sample.catalogue.parent / "listings.ndjson").write_text("\n".join([*rows[:1], "{not", *rows[1:]]) + "\n")
    sample.catalogue.unlink()
    return House(folder / "shares", folder / "site", folder / "cache")


@pytest.fixture(scope="module")
def trained(house: House) -> dict[str, Any]:
    """The whole way, by the package's store, catalogue format, recipe and trunk."""
    catalogue = "share://shop/listings.ndjson"
    done, modules = house.done(
        *("run", "--catalogue", catalogue, "--store", STORE, "--recipe", "house", "--min-category", 2)
    )
    assert {"house_extras.share", "house_extras.ndjson", "house_extras.network"} <= modules
    return done


def test_a_shop_is_built_with_store_catalogue_recipe_and_trunk_of_another_package(
    house: House, trained: dict[str, Any]
) -> None:
    shop = house.shares / "shop" / "lookalike"
    (card,) = (json.loads(path.read_text()) for path in shop.glob("releases/*/model.*.json"))
    assert (card["architecture"], card["features"]) == ("house-net", 128)
    (report,) = (json.loads(path.read_text()) for path in shop.glob("curated/*/report.*.json"))
    assert [row["line"] for row in report["rows"]["left_out"] if row["reason"] == "not JSON"] == [2]
    assert (shop / "refs" / "live.json").exists()


def test_a_search_imports_of_a_package_only_what_it_uses(house: House, trained: dict[str, Any]) -> None:
    photo = next((house.shares / "shop" / "query-photos").iterdir())
    found, modules = house.done("search", photo, "--store", STORE)
    assert found["hits"]
    assert modules == {"house_extras", "house_extras.share"}, "neither its trunk nor torch"


def test_names_are_listed_without_importing_anything(house: House) -> None:
    told = house.lookalike("train", "--help")
    assert re.search(r"house\s+Of the package house-extras 1.0", told.stdout)
    assert imported(told) == set()
    wrong = house.lookalike("inspect", "--store", "shar://shop")
    assert wrong.returncode == 2
    assert (
        "unknown kind of store; use s3://bucket/prefix or file:///dir; packages add share://" in wrong.stderr
    )


def test_forms_of_the_flows_know_the_recipes_of_other_packages(house: House) -> None:
    code = "from flows.parameters import Retrain; print(Retrain(recipe='house').recipe.value)"
    path = os.pathsep.join([str(house.site), str(ROOT / "src"), str(ROOT)])
    said = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True
    )
    assert said.stdout == "house\n", said.stderr


Installs = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installs:
    """Lays a package down as pip leaves it: ``install("rival", "lookalike.stores", "s3 = rival:open")``."""

    def lay(name: str, group: str, entry: str, source: str = "") -> None:
        info = tmp_path / f"{name}-2.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.0\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{entry}\n")
        (tmp_path / f"{name}.py").write_text(source)
        monkeypatch.delitem(sys.modules, name, raising=False)
        plugins._declared.cache_clear()

    monkeypatch.syspath_prepend(tmp_path)
    yield lay
    plugins._declared.cache_clear()


@pytest.mark.parametrize(
    ("group", "name", "use"),
    [
        ("lookalike.stores", "s3", lambda: open_store("s3://bucket/x")),
        ("lookalike.catalogues", "csv", lambda: read_table(TableFile.of_bytes("file:///x.csv", b"a\n"))),
        ("lookalike.recipes", "tiny", lambda: recipe_named("tiny")),
        ("lookalike.trunks", "resnet10-w8", lambda: build_trunk("resnet10-w8")),
        ("lookalike.hash_heads", "split", lambda: build_head("split", 8, 16, 2)),
    ],
)
def test_a_package_that_takes_one_of_our_names_is_refused(
    install: Installs, group: str, name: str, use: Callable[[], object]
) -> None:
    install("rival", group, f"{name} = rival:anything")
    with pytest.raises(SettingsError, match=f"the package rival 2.0 adds a .* '{name}', which Lookalike has"):
        use()


def test_a_name_that_two_packages_add_is_refused(install: Installs) -> None:
    install("one", "lookalike.stores", "share = one:open")
    install("two", "lookalike.stores", "share = two:open")
    with pytest.raises(SettingsError, match=r"package (one|two) 2\.0 both add a store 'share'"):
        open_store("share://x")
    assert open_store("/tmp").uri == "file:///tmp", "what does not use the name works"


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (
            "import no_such_module",
            "cannot be imported: ModuleNotFoundError: No module named 'no_such_module'",
        ),
        ("1 / 0", "cannot be imported: ZeroDivisionError: division by zero"),
        ("", "cannot be imported: AttributeError"),
        ("make = 3", "broken:make, is no function"),
    ],
)
def test_a_package_that_cannot_be_imported_is_named(install: Installs, source: str, says: str) -> None:
    install("broken", "lookalike.stores", "share = broken:make", source)
    with pytest.raises(SettingsError, match=f"the store 'share' of the package broken 2.0.*{says}"):
        open_store("share://x")


@pytest.mark.parametrize(
    ("group", "use", "says"),
    [
        ("lookalike.stores", lambda: open_store("odd://x"), "opens it as list, which is no ObjectStore"),
        ("lookalike.catalogues", lambda: read_table(TableFile.of_bytes("x.odd", b"")), "is a list, no Table"),
        ("lookalike.recipes", lambda: recipe_named("odd"), "is a list, no Recipe"),
        ("lookalike.trunks", lambda: build_trunk("odd"), "gives no module and number of features"),
        ("lookalike.hash_heads", lambda: build_head("odd", 8, 16, 2), "is a list, which has no fit"),
    ],
)
def test_what_is_not_what_its_group_wants_is_refused(
    install: Installs, group: str, use: Callable[[], object], says: str
) -> None:
    install("odd", group, "odd = odd:make", "def make(*arguments):\n    return []\n")
    with pytest.raises(LookalikeError, match=f"the package odd 2.0.*{says}"):
        use()


def test_a_hash_head_of_another_package_is_built(install: Installs) -> None:
    source = (
        "from torch import nn\n"
        "class Head(nn.Linear):\n"
        "    def forward(self, features):\n        return super().forward(features).sigmoid()\n"
        "    def fit(self, features, category_head):\n        pass\n"
        "def make(features, bits, categories, colours):\n    return Head(features + colours, bits)\n"
    )
    install("heads", "lookalike.hash_heads", "mine = heads:make", source)
    assert build_head("mine", 8, 16, 2, 3).in_features == 11
    with pytest.raises(TrainingError, match=r"unknown hash head 'mime'.*mine"):
        build_head("mime", 8, 16, 2)


def test_the_registries_hold_what_we_have() -> None:
    assert set(HASHINGS) == set(TRAINED)
    assert {"small_cpu", "frozen", "tiny"} <= set(RECIPES) == set(described()) - {"auto"}
