"""The parameters of a search as Python values, turned into the texts that a search reads.

Values enter by the names of docs/api.md, pairs of name and text leave, one for each of several values. What the texts
may be is checked by who reads them (`ranking.asked`, or an endpoint).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from numbers import Integral, Real
from typing import Any

from lookalike.errors import QueryError


def parameter_texts(parameters: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and texts. A text is taken as it is; None and False say nothing. Raises `QueryError`.

    ``{"k": 3, "price": (10, None), "aspects": {"colour": ["red"]}}`` gives ``k=3``, ``price=10.0..`` and
    ``aspects=colour=red``.
    """
    return [(name, text) for name, value in parameters.items() for text in _texts(name, value)]


def _texts(name: str, value: Any) -> Iterator[str]:
    if value is None or value is False:
        return
    if isinstance(value, Mapping):
        for key, values in value.items():
            if not key or "=" in key:
                raise QueryError(f"{name}: {key[:40]!r} cannot be a name")
            texts = _range(f"{name}: {key[:40]}", values) if name == "ranges" else _each(values)
            yield from (f"{key}={text}" for text in texts)
    elif name == "price":
        yield from _range(name, value)
    elif name == "box" and not isinstance(value, str):
        yield ",".join(_each(value))
    else:
        yield from _each(value)


def _each(value: Any) -> Iterator[str]:
    several = isinstance(value, Iterable) and not isinstance(value, str)
    for one in value if several else (value,):
        match one:
            case None:
                continue
            case bool():
                yield "true" if one else "false"
            case Integral():
                yield str(int(one))
            case Real():
                yield repr(float(one))
            case _:
                yield str(one)


def _range(name: str, value: Any) -> Iterator[str]:
    """``(10, None)`` as ``10..``; both None: nothing."""
    if isinstance(value, str):
        yield value
        return
    try:
        low, high = value
    except (TypeError, ValueError) as error:
        raise QueryError(f"{name}: give the lowest and the highest number, or None for an end") from error
    if low is not None or high is not None:
        yield "..".join("" if end is None else next(_each(end)) for end in (low, high))
