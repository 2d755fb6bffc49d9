"""Defaults < file < environment < flags, and errors that name the file and line, or the variable."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path

import pytest
from pydantic import BaseModel

import lookalike
from lookalike import sections
from lookalike.catalogue.rules import CurationConfig
from lookalike.errors import SettingsError
from lookalike.layers import entries
from lookalike.learning.recipes import RECIPES, described, recipe_named, recipe_names
from lookalike.quality.gate import GateConfig
from lookalike.ranking.request import RankingConfig
from lookalike.serving.config import ServingConfig
from lookalike.settings import (
    CatalogueSettings,
    ConsoleSettings,
    DataGateSettings,
    S3Settings,
    Settings,
    choose,
    layers,
    load,
)
from lookalike.sharding.fleet import FleetConfig


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory of the test's own, and nothing chosen."""
    monkeypatch.chdir(tmp_path)
    choose()
    yield tmp_path
    choose()


def write(text: str, name: str = "lookalike.toml") -> None:
    Path(name).write_text(text)


def test_each_layer_stands_above_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(RankingConfig) == RankingConfig()
    write("[ranking]\nblend = 0.1\ncolour = 1\n")
    assert load(RankingConfig) == RankingConfig(blend=0.1, colour=1.0)
    monkeypatch.setenv("LOOKALIKE_RANKING_BLEND", "0.2")
    assert load(RankingConfig) == RankingConfig(blend=0.2, colour=1.0)
    choose(flags=["ranking.blend=0.3"])
    assert load(RankingConfig) == RankingConfig(blend=0.3, colour=1.0)
    assert load(RankingConfig, blend=0.4, colour=None) == RankingConfig(blend=0.4, colour=1.0)


def test_models_read_the_same_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    write('store = "s3://shop/x"\n[data_gate]\nslack = 9\nfewer_listings = 0.5\n')
    monkeypatch.setenv("LOOKALIKE_DATA_GATE_SLACK", "7")
    assert Settings().store == "s3://shop/x"
    assert (DataGateSettings().slack, DataGateSettings().fewer_listings) == (7, 0.5)
    assert DataGateSettings(slack=3).slack == 3


def test_a_file_is_found_by_option_by_variable_and_here(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("threads = 1\n")
    write("threads = 2\n", "by-variable.toml")
    write("threads = 3\n", "by-option.toml")
    assert Settings().threads == 1
    monkeypatch.setenv("LOOKALIKE_CONFIG_TEXT", "threads = 4")
    assert Settings().threads == 4
    monkeypatch.setenv("LOOKALIKE_CONFIG", "by-variable.toml")
    assert Settings().threads == 2
    choose(Path("by-option.toml"))
    assert Settings().threads == 3
    choose(Path("none.toml"))
    with pytest.raises(SettingsError, match=r"none\.toml: the settings file cannot be read: No such file"):
        Settings()


def test_tables_below_lists_and_mappings(monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        "[serving]\nbare = true\n[serving.photo]\nmax_bytes = 7\n"
        '[rankers]\nurls = ["http://a:1"]\n[ranking]\nreward_points = { size = 5 }\n'
    )
    config = load(ServingConfig)
    assert (config.bare, config.photo.max_bytes, config.photo.max_scans) == (True, 7, 16)
    assert config.ranking.reward_points == {"size": 5.0}
    assert load(FleetConfig).urls == ("http://a:1",)
    monkeypatch.setenv("LOOKALIKE_RANKERS", "http://b:1, http://c:2")
    monkeypatch.setenv("LOOKALIKE_SERVING_PHOTO_MAX_BYTES", "8")
    monkeypatch.setenv("LOOKALIKE_RANKING_REWARD_POINTS", '{"brand": 1}')
    assert load(FleetConfig).urls == ("http://b:1", "http://c:2")
    assert load(ServingConfig).photo.max_bytes == 8
    assert load(RankingConfig).reward_points == {"brand": 1.0}


def test_variables_of_other_programs_count_after_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("PREFECT_API_URL", "http://prefect/api")
    assert S3Settings().region == "eu-west-1"
    assert ConsoleSettings().prefect_api == "http://prefect/api"
    monkeypatch.setenv("LOOKALIKE_S3_REGION", "eu-north-1")
    assert S3Settings().region == "eu-north-1"


def test_the_catalogue_has_a_table_and_its_old_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    write('[catalogue]\nuri = "a.csv"\nphoto_roots = ["/mnt/a", "s3://b/c"]\n')
    assert CatalogueSettings().photo_roots == ("/mnt/a", "s3://b/c")
    monkeypatch.setenv("LOOKALIKE_CATALOGUE", "b.csv")
    assert CatalogueSettings().uri == "b.csv"
    monkeypatch.setenv("LOOKALIKE_CATALOGUE", "")  # as a ConfigMap's key without a value
    assert CatalogueSettings().uri == "a.csv"


WRONG = {
    "[rankin]\n": r"lookalike\.toml:1: unknown table 'rankin'; did you mean ranking\?",
    "thread = 1\n": r"lookalike\.toml:1: unknown key 'thread'.*; did you mean threads\?",
    "\n[ranking]\nblendd = 1\n": r"lookalike\.toml:3: unknown key of \[ranking\] 'blendd'; did you mean blend\?",
    "[serving.photo]\n\nmax_byte = 1\n": r"toml:3: unknown key of \[serving.photo\] 'max_byte'.*mean max_bytes\?",
    "[serving]\nranking.blend = 1\n": r"toml:2: unknown key of \[serving\] 'ranking'",
    "[serving]\nphoto = 1\n": r"toml:2: photo must be a table",
    "ranking = 1\n": r"toml:1: unknown key 'ranking'",
    '[ranking]\nblend = "much"\n': r"toml:2: ranking.blend is 'much': input should be a valid number",
    "[ranking]\ncolour = 1\nblend = 7\n": r"toml:3: ranking.blend: blend must be between 0 and 1, not 7",
    "[serving.photo]\nmax_scans = []\n": r"toml:2: serving.photo.max_scans is \[\]: input should be a valid int",
    "[curation]\nshrunk_side = 900\n": r"toml:2: curation.shrunk_side: shrunk_side is 900; it must be from 16",
    "[data_gate]\nslack = -1\n": r"toml:2: data_gate.slack is -1: input should be greater than or equal to 0",
    "[s3\n": r"lookalike\.toml: the settings file is no TOML: .*line 1",
    "[recipes.mine]\nbits = 64\n": r"toml:1: \[recipes.mine\]: base must name the recipe it starts from: small_cpu,",
    '[recipes.mine]\nbase = "mine"\n': r"toml:1: \[recipes.mine\]: base must name",
    '[recipes.a]\nbase = "b"\n[recipes.b]\nbase = "a"\n': r"\[recipes.(a|b)\]: base must name",
    "[recipes.tiny]\nbit = 64\n": r"toml:2: unknown key of \[recipes.tiny\] 'bit'.*did you mean bits\?",
    "[recipes.tiny.hash_stage]\nepoch = 6\n": r"toml:2: unknown key of \[recipes.tiny.hash_stage\] 'epoch'",
    '[recipes.tiny]\n\nhash_stage.policy = "slow"\n': r"toml:3: recipes.tiny.hash_stage.policy is 'slow': input should",
    '[flows]\nrecipe = "smal_cpu"\n': r"toml:2: flows.recipe: unknown recipe 'smal_cpu'.*mean small_cpu",
    "[recipes]\ntiny = 3\n": r"toml:2: recipes.tiny must be a table",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_said_with_file_and_line(text: str) -> None:
    write(text)
    with pytest.raises(SettingsError, match=WRONG[text]):
        sections.check(layers())


def test_what_is_wrong_elsewhere_is_named_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r"--set 'x': write it as TABLE\.KEY=VALUE"):
        choose(flags=["x"])
    for flag, complaint in {
        "ranking.blen=1": "unknown setting 'ranking.blen'; did you mean ranking.blend",
        "rankin.blend=1": "unknown table 'rankin'",
        "ranking.blend=2": "--set: ranking.blend: blend must be",
        "recipes.tiny.bit=2": "--set: unknown key of .recipes.tiny. 'bit'",
    }.items():
        choose(flags=[flag])
        with pytest.raises(SettingsError, match=complaint):
            sections.check(layers())
    choose()
    monkeypatch.setenv("LOOKALIKE_THREADS", "many")
    with pytest.raises(
        SettingsError, match="LOOKALIKE_THREADS: threads is 'many': input should be a valid integer"
    ):
        sections.check(layers())


def test_a_recipe_is_changed_and_another_derived() -> None:
    tiny = RECIPES["tiny"]()
    write(
        '[recipes.tiny]\nbits = 256\n[recipes.quick]\nbase = "tiny"\n[recipes.quick.category_stage]\nepochs = 1\n'
        "sizes = [[0.5, 16], [1.0, 32]]\n"
    )
    assert recipe_named("tiny").bits == 256
    quick = recipe_named("quick")
    assert (quick.name, quick.bits, quick.trunk) == ("quick", 256, tiny.trunk)
    assert quick.category_stage.epochs == 1
    assert quick.category_stage.sizes == ((0.5, 16), (1.0, 32))
    assert quick.category_stage.rate == tiny.category_stage.rate
    assert quick.hash_stage == tiny.hash_stage
    assert recipe_names() == [*RECIPES, "quick"]
    assert described()["quick"] == "Of the settings file."
    choose(flags=["recipes.quick.seed=4"])
    assert recipe_named("quick").seed == 4


def test_knobs_not_given_come_from_the_file() -> None:
    write(
        "[curation]\nmin_category = 3\nval_share = 0.2\n[curation.limits]\nmax_bytes = 5\n[quality_gate]\nk = 7\n"
    )
    config = load(CurationConfig, min_category=4)
    assert (config.min_category, config.val_share, config.limits.max_bytes) == (4, 0.2, 5)
    assert load(GateConfig, margin=0.5) == GateConfig(margin=0.5, k=7)


def test_every_class_of_settings_is_a_table_or_below_one() -> None:
    """A class whose name says that it is settings must stand in `sections`, or inside one that does."""
    listed = {sections.SECTIONS[name]() for name in sections.SECTIONS}
    inside = {type(value) for config in listed if is_dataclass(config) for value in _parts(config)}
    assert inside, "CurationConfig and ServingConfig have parts"
    found = {
        each
        for each in _classes()
        if each.__name__.endswith(("Config", "Settings")) or isinstance(getattr(each, "table", None), str)
    }
    assert len(found) >= len(listed) - 1
    assert found - listed - inside == set()
    assert len({entry.name for config in listed for entry in entries(config)}) > 100


def _parts(config: type) -> Iterator[object]:
    for each in fields(config):
        if each.default_factory is not MISSING:
            yield each.default_factory()


def _classes() -> Iterator[type]:
    root = Path(lookalike.__file__).parent
    for path in sorted(root.rglob("*.py")):
        if "Config" not in (text := path.read_text()) and "Settings" not in text and "table:" not in text:
            continue
        name = ".".join(("lookalike", *path.relative_to(root).with_suffix("").parts))
        for each in vars(importlib.import_module(name.removesuffix(".__init__"))).values():
            ours = isinstance(each, type) and each.__module__ == name
            if ours and (is_dataclass(each) or issubclass(each, BaseModel)) and each.__name__ != "Layered":
                yield each
