"""The tables of the settings file, and which class of settings each one is: everything that can be configured.

**To add a table**, write its class: a frozen dataclass, or a `lookalike.settings.Layered` model, with a docstring under
each field (unit, default, reason) and ``table: ClassVar[str] = "name"``. Name it in `SECTIONS`. Then `load(ThatClass)`
reads it, `lookalike config show` shows it, and `docs/settings.md` has to name its fields. A table whose keys are names
(``[recipes.NAME]``) stands in `NAMED` with a function that reads one entry; `lookalike.settings.named_table` gives it.

Classes are imported when they are needed: a process that only searches loads no recipes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lookalike import layers as layered
from lookalike import settings
from lookalike.errors import SettingsError, unknown
from lookalike.layers import Entry, Layers, NamedTable, Setting


def _ranking() -> type[Any]:
    from lookalike.ranking.request import RankingConfig

    return RankingConfig


def _text() -> type[Any]:
    from lookalike.ranking.words import TextConfig

    return TextConfig


def _serving() -> type[Any]:
    from lookalike.serving.config import ServingConfig

    return ServingConfig


def _events() -> type[Any]:
    from lookalike.serving.events import EventsConfig

    return EventsConfig


def _access() -> type[Any]:
    from lookalike.serving.access import AccessConfig

    return AccessConfig


def _rankers() -> type[Any]:
    from lookalike.sharding.fleet import FleetConfig

    return FleetConfig


def _curation() -> type[Any]:
    from lookalike.catalogue.rules import CurationConfig

    return CurationConfig


def _quality_gate() -> type[Any]:
    from lookalike.quality.gate import GateConfig

    return GateConfig


def _deltas() -> type[Any]:
    from lookalike.ingest.refresh import DeltaConfig

    return DeltaConfig


def _retention() -> type[Any]:
    from lookalike.publishing.retention import RetentionConfig

    return RetentionConfig


def _sizing() -> type[Any]:
    from lookalike.sizing import Measured

    return Measured


def _sizing_runs() -> type[Any]:
    from lookalike.sizing_runs import MeasuredRuns

    return MeasuredRuns


SECTIONS: Mapping[str, Callable[[], type[Any]]] = {
    "": lambda: settings.Settings,
    "s3": lambda: settings.S3Settings,
    "catalogue": lambda: settings.CatalogueSettings,
    "curation": _curation,
    "flows": lambda: settings.FlowSettings,
    "task": lambda: settings.TaskSettings,
    "quality_gate": _quality_gate,
    "data_gate": lambda: settings.DataGateSettings,
    "rollout": lambda: settings.RolloutSettings,
    "retention": _retention,
    "deltas": _deltas,
    "ranking": _ranking,
    "text": _text,
    "serving": _serving,
    "access": _access,
    "events": _events,
    "rankers": _rankers,
    "console": lambda: settings.ConsoleSettings,
    "sizing": _sizing,
    "sizing_runs": _sizing_runs,
}
"""Table -> its class, in the order of the page and of `lookalike config show`."""


def _recipe() -> type[Any]:
    from lookalike.learning.recipes import Recipe

    return Recipe


def _check_recipe(name: str) -> None:
    from lookalike.learning.recipes import recipe_named

    recipe_named(name)


def _preset() -> type[Any]:
    from lookalike.catalogue.presets import Preset

    return Preset


def _check_preset(name: str) -> None:
    from lookalike.catalogue.known_presets import preset_named

    preset_named(name)


@dataclass(frozen=True, slots=True)
class Named:
    """A table of tables, ``[recipes.NAME]``."""

    config: Callable[[], type[Any]]
    """The class whose fields are the keys of one of them."""
    said: str
    """What one of them is, and what keys it has beside the fields."""
    check: Callable[[str], None]
    """Reads the one of that name from the layers; raises `SettingsError` where it is wrong."""
    without: frozenset[str] = frozenset()
    """Fields that are no keys."""

    def entries(self, table: str) -> tuple[Entry, ...]:
        """The keys of one of them, as ``[table.NAME]``."""
        found = layered.entries(self.config(), (table, "NAME"))
        return tuple(entry for entry in found if entry.path not in {(name,) for name in self.without})


NAMED: Mapping[str, Named] = {
    "recipes": Named(
        _recipe,
        "A training recipe. Under the name of one that exists the table changes it. Under a new name it adds one, "
        "and the key `base` says from which it is derived. What is not named stays as it is there: the defaults "
        "below are those of recipes written in Python. A recipe with another result makes another model release.",
        _check_recipe,
        frozenset({"name"}),
    ),
    "presets": Named(
        _preset,
        "How a shop's export is laid out. Under the name of one that exists (docs/catalogues.md lists them) the table "
        "changes it. Under a new name it adds one, and the key `base` says from which it starts, if from any.",
        _check_preset,
        frozenset({"name"}),
    ),
}
"""Table of tables -> how one of them is checked."""


def check(layers: Layers) -> None:
    """Raises `SettingsError` for a table or key that is none, or a value that its configuration refuses.

    Only the tables that are used are looked at, and of these those whose packages are installed here: one file may
    serve machines that have different extras.
    """
    file, known = layers.file, [*filter(None, SECTIONS), *NAMED]
    used = {""}
    for name, said in file.tables.items() if file else ():
        if isinstance(said, Mapping):
            if name not in known:
                raise SettingsError(f"{file.where((name,)) if file else ''}: {unknown('table', name, known)}")
            used.add(name)
    for key in layers.flags:
        table, text = key[0] if len(key) > 1 else "", ".".join(key)
        if table not in SECTIONS and table not in NAMED:
            raise SettingsError(f"--set {text}: {unknown('table', table, known)}")
        if table in SECTIONS:
            names = [entry.name for entry in layered.entries(SECTIONS[table]())]
            if text not in names:
                raise SettingsError(f"--set: {unknown('setting', text, names)}")
        used.add(table)
    for name in sorted(used):
        if name in NAMED:
            for each in layered.names_in(layers, name):
                NAMED[name].check(each)
        elif (config := imported(name)) is not None:
            settings.load(config)
        if name == "flows":
            _check_named_recipe(layers)


def _check_named_recipe(layers: Layers) -> None:
    """Raises `SettingsError` where ``[flows]`` names a recipe that is none."""
    from lookalike.learning.choice import AUTO

    asked = settings.FlowSettings().recipe
    if asked != AUTO:
        with layered.translated(settings.FlowSettings, layers):
            _check_recipe(asked)


def imported(table: str) -> type[Any] | None:
    """The class of a table; None where a package that it needs is not installed."""
    try:
        return SECTIONS[table]()
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("lookalike"):
            raise
        return None


def all_settings(layers: Layers) -> Iterator[Setting]:
    """Everything that can be set here with its value, in order; secrets included."""
    for table in SECTIONS:
        if (config := imported(table)) is not None:
            yield from layered.settings(config, layers)


def named_settings(layers: Layers) -> Iterator[tuple[str, Any, str]]:
    """What is said in tables of tables: name of the setting, value, origin."""
    for kind in NAMED:
        for name in layered.names_in(layers, kind):
            if (table := layered.named_table(layers, kind, name)) is not None:
                yield from _leaves(table, table.said, ())


def _leaves(
    table: NamedTable, said: Mapping[str, Any], below: tuple[str, ...]
) -> Iterator[tuple[str, Any, str]]:
    for name, value in said.items():
        if isinstance(value, Mapping):
            yield from _leaves(table, value, (*below, name))
        else:
            yield ".".join((*table.key, *below, name)), value, table.where(*below, name)
