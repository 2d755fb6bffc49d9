"""What is read and written is JSON that every language understands alike."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookalike import strict_json

SOURCES = Path(strict_json.__file__).parent
TOP = SOURCES.parent.parent

values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-strict_json.LARGEST_INTEGER, strict_json.LARGEST_INTEGER),
        st.floats(),
        st.text(st.characters()),
        st.text(st.characters(categories=["Cs", "Lu"])),
    ),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(st.characters()), inner)),
    max_leaves=20,
)


@given(values)
def test_what_is_made_plain_can_be_written_and_read_by_anybody(value: object) -> None:
    written = json.dumps(strict_json.plain(value), ensure_ascii=False, allow_nan=False).encode()
    assert strict_json.plain(strict_json.parse(written)) == strict_json.plain(value)


@given(st.floats(allow_nan=False, allow_infinity=False), st.text(st.characters(exclude_categories=["Cs"])))
def test_plain_values_stay_as_they_are(number: float, text: str) -> None:
    value = {text: [number, text, {"a": None}], "b": True}
    assert strict_json.plain(value) == value
    assert strict_json.parse(json.dumps(value).encode()) == value


def test_as_deep_as_said_and_no_deeper() -> None:
    for depth, brackets in ((4, 4), (4, 5), (1, 0)):
        document = b"[" * brackets + b"1" + b"]" * brackets
        if brackets <= depth:
            strict_json.parse(document, depth=depth)
        else:
            with pytest.raises(ValueError, match="nested more than 4 deep"):
                strict_json.parse(document, depth=depth)


def test_every_json_that_is_written_is_strict() -> None:
    """Python writes NaN where nobody forbids it."""
    lax = []
    for path in (
        p for folder in (SOURCES, TOP / "tasks", TOP / "flows", TOP / "local") for p in folder.rglob("*.py")
    ):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            called = ast.unparse(node.func)
            if called in ("json.dumps", "json.dump") and not any(
                keyword.arg == "allow_nan" and ast.unparse(keyword.value) == "False"
                for keyword in node.keywords
            ):
                lax.append(f"{path.relative_to(TOP)}:{node.lineno}")
    assert lax == [], "add allow_nan=False, and strict_json.plain where a number may be none"
