"""`lookalike` as Python users import it: what it names can be imported, and importing it costs little."""

from __future__ import annotations

import subprocess
import sys
from inspect import getdoc

import pytest

import lookalike


def test_every_public_name_can_be_imported_and_explains_itself() -> None:
    for name in set(lookalike.__all__) - {"__version__"}:
        found = getattr(lookalike, name)
        assert getdoc(found), name
        assert name in dir(lookalike)
    assert set(lookalike._HOMES) == set(lookalike.__all__) - {"__version__"}


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'opne'"):
        _ = lookalike.opne


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, lookalike; print([m for m in ('numpy', 'pyarrow', 'torch', 'openvino') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    code = (
        "import sys, lookalike; lookalike.open; print([m for m in ('torch', 'openvino') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
