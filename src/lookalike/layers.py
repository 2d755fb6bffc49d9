"""How a configuration gets its values: defaults < settings file < environment < flags.

Enters: a class of settings (a frozen dataclass, or a pydantic model) and the `Layers` that were given. Leaves: the
value of each of its fields with its origin, or an error that names the file and line, or the variable. The class says
in `table` where it stands in the file; ``""`` is the top. A field that is itself a class of settings is a table below,
unless that class has a table of its own.

A field's variable is ``LOOKALIKE_``, its table and its name, in capitals: ``LOOKALIKE_SERVING_PHOTO_MAX_BYTES``; `Env`
beside its type adds others. This module reads neither files nor the environment itself.
"""

from __future__ import annotations

import ast
import copy
import inspect
import json
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, TypeAdapter, ValidationError

from lookalike.errors import SettingsError, unknown
from lookalike.settings_file import Key, SettingsFile

T = TypeVar("T")


class Env:
    """Beside a field's type in `Annotated`: further variables that set it, after its own."""

    def __init__(self, *names: str) -> None:
        self.names = names


class Secret:
    """Beside a field's type in `Annotated`: not to be shown."""


@dataclass(frozen=True, slots=True)
class Layers:
    """What is said about settings outside the program."""

    file: SettingsFile | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    flags: Mapping[Key, Any] = field(default_factory=dict)
    """Of the command line's ``--set``."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One setting."""

    key: Key
    """Table and name."""
    path: Key
    """Attributes that lead to it from its configuration."""
    type: Any
    default: Any
    """`MISSING` where there is none."""
    config: type[Any]
    """The class whose field it is."""
    variables: tuple[str, ...]
    """Environment variables that set it, the first found wins."""
    secret: bool

    @property
    def name(self) -> str:
        return ".".join(self.key)

    @property
    def said(self) -> str:
        """The docstring under its field, on one line; looked for in the source, so not for every process."""
        return _docstrings(self.config).get(self.path[-1], "")


@dataclass(frozen=True, slots=True)
class Setting:
    """The value of an entry, as written, and where it comes from."""

    entry: Entry
    value: Any
    origin: str
    """``default``, ``lookalike.toml:12``, ``LOOKALIKE_STORE``, ``--set``."""


def entries(config: type[Any], table: Key | None = None) -> tuple[Entry, ...]:
    """Every setting of a class, in the order of its fields; `table` is where it stands if it does not say so itself."""
    return tuple(_entries(config, _table(config) if table is None else table, (), MISSING))


def settings(config: type[Any], layers: Layers) -> tuple[Setting, ...]:
    """Every setting of a class with its value. Raises `SettingsError` for a key that the class does not have."""
    check_keys(config, layers)
    return tuple(_found(entry, layers) for entry in entries(config))


def values(config: type[Any], layers: Layers, given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments for the class: what the layers say, with `given` over them; defaults are left out."""
    collected: dict[str, Any] = {}
    for found in settings(config, layers):
        if found.origin == "default" or found.entry.path[0] in given:
            continue
        inner = collected
        for name in found.entry.path[:-1]:
            inner = inner.setdefault(name, {})
        inner[found.entry.path[-1]] = found.value
    for name, kind, _ in _fields(config):
        if name not in given and _is_config(kind) and _table(kind) != _UNSAID:
            collected[name] = build(kind, layers)
    return collected | dict(given)


def build(config: type[T], layers: Layers, given: Mapping[str, Any] | None = None) -> T:
    """The configuration, checked. Raises `SettingsError` saying which value is wrong and where it stands."""
    taken = values(config, layers, given or {})
    with translated(config, layers):
        return _adapter(config).validate_python(taken)  # type: ignore[no-any-return]


@contextmanager
def translated(config: type[Any], layers: Layers) -> Iterator[None]:
    """A context in which errors about values of `config` are said with their origin."""
    told = [found for entry in entries(config) if (found := _found(entry, layers)).origin != "default"]
    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        path = tuple(map(str, first["loc"]))
        places = [_place(found) for found in told if path[: len(found.entry.path)] == found.entry.path]
        place = places[0] if places else ".".join(path)
        raise SettingsError(f"{place} is {first['input']!r}: {_words(first)}") from error
    except SettingsError as error:
        if not (places := [_place(found) for found in told if found.entry.path[-1] in str(error)]):
            raise
        raise SettingsError(f"{', '.join(places)}: {error}") from error


def _place(found: Setting) -> str:
    return f"{found.origin}: {found.entry.name}"


def check_keys(config: type[Any], layers: Layers) -> None:
    """Raises `SettingsError` for a key of the file, or of a flag, that is none of this class's."""
    table = _table(config)
    if layers.file is not None:
        said: Any = layers.file.tables
        for name in table:
            said = said.get(name, {}) if isinstance(said, Mapping) else said
        if not isinstance(said, Mapping):
            raise SettingsError(
                f"{layers.file.where(table)}: {'.'.join(table)} must be a table: [{table[-1]}]"
            )
        _check(config, said, table, layers.file, top=not table)


def _check(config: type[Any], said: Mapping[str, Any], table: Key, file: SettingsFile, *, top: bool) -> None:
    known = {name: kind for name, kind, _ in _fields(config) if _table(_plain(kind)) == _UNSAID}
    for name, value in said.items():
        if name in known:
            kind = _plain(known[name])
            if _is_config(kind):
                if not isinstance(value, Mapping):
                    raise SettingsError(f"{file.where((*table, name))}: {name} must be a table")
                _check(kind, value, (*table, name), file, top=False)
        elif not (top and isinstance(value, Mapping)):
            kind_of = f"key of [{'.'.join(table)}]" if table else "key"
            raise SettingsError(f"{file.where((*table, name))}: {unknown(kind_of, name, known)}")


@dataclass(frozen=True, slots=True)
class NamedTable:
    """A table whose name a shop has chosen, ``[recipes.quick]``, flags over the file."""

    key: Key
    said: Mapping[str, Any]
    layers: Layers

    def where(self, *below: str) -> str:
        """Where the table, or a key below it, is set."""
        key = (*self.key, *below)
        if self.layers.file is None or any(flag[: len(key)] == key for flag in self.layers.flags):
            return "--set"
        return self.layers.file.where(key)


def named_table(layers: Layers, kind: str, name: str) -> NamedTable | None:
    """``[kind.name]``, or None. Raises `SettingsError` where it is no table."""
    tables = _tables(layers, kind)
    if name not in tables:
        return None
    found = NamedTable((kind, name), tables[name], layers)
    if not isinstance(found.said, Mapping):
        raise SettingsError(f"{found.where()}: {kind}.{name} must be a table: [{kind}.{name}]")
    return found


def names_in(layers: Layers, kind: str) -> list[str]:
    """The names below ``[kind]``, sorted."""
    return sorted(_tables(layers, kind))


def _tables(layers: Layers, kind: str) -> dict[str, Any]:
    said = layers.file.tables.get(kind, {}) if layers.file else {}
    if not isinstance(said, Mapping):
        assert layers.file is not None
        raise SettingsError(f"{layers.file.where((kind,))}: {kind} must be a table of tables: [{kind}.NAME]")
    found = copy.deepcopy(dict(said))
    for key, value in layers.flags.items():
        if key[0] == kind and len(key) > 2:
            inner = found
            for part in key[:-1][1:]:
                inner = inner.setdefault(part, {})
            inner[key[-1]] = value
    return found


def merged(base: T, said: Mapping[str, Any], table: NamedTable, below: Key = ()) -> T:
    """A dataclass like `base` but for what is said of it, tables below included. Raises `SettingsError`."""
    changed = {name: getattr(base, name) for name, _, _ in _fields(type(base))}
    for name, value in said.items():
        if name not in changed:
            place = ".".join((*table.key, *below))
            raise SettingsError(f"{table.where(*below, name)}: {unknown(f'key of [{place}]', name, changed)}")
        start = changed[name]
        inside = is_dataclass(start) and isinstance(value, Mapping)
        changed[name] = merged(start, value, table, (*below, name)) if inside else value
    try:
        return _adapter(type(base)).validate_python(changed)  # type: ignore[no-any-return]
    except ValidationError as error:
        first = error.errors()[0]
        path = (*below, *(str(part) for part in first["loc"]))
        name = ".".join((*table.key, *path))
        raise SettingsError(f"{table.where(*path)}: {name} is {first['input']!r}: {_words(first)}") from error


def _words(error: Any) -> str:
    """What pydantic says of a value, as the end of a sentence of ours."""
    message = str(error["msg"]).removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


_UNSAID: Key = ("?",)
"""In place of the table of a class that says none."""


def _table(config: Any) -> Key:
    said = getattr(config, "table", None)
    return _UNSAID if not isinstance(said, str) else tuple(filter(None, said.split(".")))


def _is_config(kind: Any) -> bool:
    return (
        isinstance(kind, type)
        and (is_dataclass(kind) or issubclass(kind, BaseModel))
        and not hasattr(kind, "parse")
    )


def _plain(kind: Any) -> Any:
    """A type without `Annotated`, and without `None` where it is optional."""
    if get_origin(kind) is Annotated:
        return _plain(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        others = [each for each in get_args(kind) if each is not type(None)]
        return _plain(others[0]) if len(others) == 1 else kind
    return kind


def _fields(config: type[Any]) -> Iterator[tuple[str, Any, Any]]:
    """Name, type with its `Annotated`, and default of each field."""
    hints = get_type_hints(config, include_extras=True)
    if issubclass(config, BaseModel):
        for name, info in config.model_fields.items():
            yield (
                name,
                hints[name],
                MISSING if info.is_required() else info.get_default(call_default_factory=True),
            )
        return
    for each in fields(config):
        yield each.name, hints[each.name], _default(each)


def _default(each: Field[Any]) -> Any:
    return each.default_factory() if each.default_factory is not MISSING else each.default


def _entries(config: Any, table: Key, path: Key, base: Any) -> Iterator[Entry]:
    for name, annotated, default in _fields(config):
        kind = _plain(annotated)
        value = default if base is MISSING else getattr(base, name)
        if _is_config(kind):
            if _table(kind) == _UNSAID:
                yield from _entries(kind, (*table, name), (*path, name), MISSING if value is None else value)
            continue
        marks = get_args(annotated)[1:] if get_origin(annotated) is Annotated else ()
        key = (*table, name)
        others = [other for mark in marks if isinstance(mark, Env) for other in mark.names]
        yield Entry(
            key=key,
            path=(*path, name),
            type=annotated,
            default=value,
            config=config,
            variables=("_".join(("LOOKALIKE", *key)).upper(), *others),
            secret=any(mark is Secret or isinstance(mark, Secret) for mark in marks),
        )


def _found(entry: Entry, layers: Layers) -> Setting:
    if entry.key in layers.flags:
        return Setting(entry, _converted(entry, layers.flags[entry.key]), "--set")
    for name in entry.variables:
        if text := layers.environment.get(name):  # an empty variable is one that is not set
            return Setting(entry, _converted(entry, _from_text(entry, text)), name)
    if layers.file is not None:
        said: Any = layers.file.tables
        for name in entry.key:
            if not isinstance(said, Mapping) or name not in said:
                break
            said = said[name]
        else:
            return Setting(entry, _converted(entry, said), layers.file.where(entry.key))
    return Setting(entry, entry.default, "default")


def _from_text(entry: Entry, text: str) -> Any:
    """A variable's text: a list separated by commas or as JSON, a mapping as JSON; other types read texts."""
    kind = _plain(entry.type)
    origin = get_origin(kind) or kind
    if origin in (str, Literal) or not (
        isinstance(origin, type) and issubclass(origin, tuple | list | Mapping)
    ):
        return text
    if text.lstrip().startswith(("[", "{")):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return [part for part in (each.strip() for each in text.split(",")) if part]


def _converted(entry: Entry, value: Any) -> Any:
    """A text as what it names, where the field's type has a `parse` of its own."""
    kind = _plain(entry.type)
    return kind.parse(value) if isinstance(value, str) and hasattr(kind, "parse") else value


_adapter: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)


@cache
def _docstrings(config: Any) -> dict[str, str]:
    """Field -> the docstring under it, on one line; those that a class inherits too."""
    found: dict[str, str] = {}
    for each in reversed(config.__mro__):
        if not (is_dataclass(each) or issubclass(each, BaseModel)) or each is BaseModel:
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(each))).body[0]
        assert isinstance(body, ast.ClassDef)
        for stated, below in zip(body.body, body.body[1:], strict=False):
            if (
                isinstance(stated, ast.AnnAssign)
                and isinstance(stated.target, ast.Name)
                and isinstance(below, ast.Expr)
                and isinstance(below.value, ast.Constant)
                and isinstance(below.value.value, str)
            ):
                found[stated.target.id] = " ".join(below.value.value.split())
    return found
