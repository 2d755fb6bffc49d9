"""Knobs: the fields of a configuration that a shop sets, with what an option and a form say about them.

A field is made a knob where it is declared, by `knob`. The command line makes its options from `knobs_of`, a flow the
fields of its form, and a re-index what it takes over from the live snapshot. So a new knob is one field, and its name,
default and words stand in one place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar, get_type_hints

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Knob:
    """One field, as a surface offers it."""

    name: str
    type: Any
    default: Any
    title: str
    """Above its field in a form."""
    said: str
    """What it does, in a line."""
    least: int | None
    """The smallest number that is accepted; None where it is no number or there is no bound."""
    most: int | None
    """The largest number that a form accepts; the configuration itself may take more."""
    option: str
    """Its name on the command line."""


def knob(
    default: T, title: str, said: str, *, least: int | None = None, most: int | None = None, option: str = ""
) -> T:
    """A dataclass field that is a `Knob`; its option has the field's name unless it says otherwise."""
    told = {"title": title, "said": said, "least": least, "most": most, "option": option}
    return field(default=default, metadata={Knob: told})


def knobs_of(config: type[Any]) -> tuple[Knob, ...]:
    """The knobs of a configuration, in the order of its fields."""
    types = get_type_hints(config)
    return tuple(
        Knob(entry.name, types[entry.name], entry.default, **told | {"option": told["option"] or entry.name})
        for entry in fields(config)
        if (told := entry.metadata.get(Knob)) is not None
    )


def settings_of(config: type[Any], kept: Mapping[str, Any]) -> dict[str, Any]:
    """What an artefact's configuration says about each knob; the default of one that is younger than the artefact."""
    return {knob.name: kept.get(knob.name, knob.default) for knob in knobs_of(config)}
