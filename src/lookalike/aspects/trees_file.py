"""The file of a release's forests, `trees.npz`: arrays that `numpy.load` reads, without a pickle.

Enters: named forests. Leaves: a zip of these members, none compressed, the same bytes for the same forests; and back.

================  ====================================================================================================
aspects.json      {"format": 1, "inputs": n, "aspects": [{"name", "values", "exclusive", "trees", "nodes"}, ...]}
nodes.npy         `forest.NODE` of all aspects in that order; children count from the aspect's first node
roots.npy         i32: where each tree begins, counted likewise; an aspect's trees take turns among its values
base.npy          f32: margins before the first tree, one per value
================  ====================================================================================================

Reading takes no more memory than the file has bytes, and believes nothing: sizes are compared before anything is read,
and a forest that does not pass `Trees.checked` is not walked.
"""

from __future__ import annotations

import io
import json
import re
import struct
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from lookalike import strict_json
from lookalike.aspects.forest import NODE, Forest, Trees
from lookalike.errors import ReleaseError

FORMAT = 1
_TEXT = "aspects.json"
_ARRAYS = {"nodes.npy": NODE, "roots.npy": np.dtype("<i4"), "base.npy": np.dtype("<f4")}
_HEAD = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': ([^{}]+), 'fortran_order': False, 'shape': \((\d{1,18}),\), \} *\n",
    re.DOTALL,
)
"""Before an array of one dimension, as `numpy.save` writes it: anything else is not even parsed."""
_MOST_BYTES = 1 << 30
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class StoredForest:
    """A forest under its aspect's name, with what its outputs stand for."""

    name: str
    values: tuple[str, ...]
    forest: Forest


def write(path: Path, inputs: int, forests: Sequence[StoredForest]) -> None:
    """Write `forests`, which all look at rows of `inputs` features."""
    about = [
        {
            "name": each.name,
            "values": each.values,
            "exclusive": each.forest.exclusive,
            "trees": len(each.forest.trees.roots),
            "nodes": len(each.forest.trees.nodes),
        }
        for each in forests
    ]
    text = json.dumps(
        {"format": FORMAT, "inputs": inputs, "aspects": about}, ensure_ascii=False, allow_nan=False
    )
    trees = [each.forest.trees for each in forests]
    arrays = [[tree.nodes for tree in trees], [tree.roots for tree in trees], [tree.base for tree in trees]]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        file.writestr(zipfile.ZipInfo(_TEXT, _EPOCH), text.encode())
        for (name, dtype), parts in zip(_ARRAYS.items(), arrays, strict=True):
            member = io.BytesIO()
            np.save(member, np.concatenate([np.empty(0, dtype), *parts]).astype(dtype), allow_pickle=False)
            file.writestr(zipfile.ZipInfo(name, _EPOCH), member.getvalue())


def read(path: Path) -> list[StoredForest]:
    """The forests of a file. Raises `ReleaseError` naming the file and what is wrong with it."""
    try:
        members = _members(path)
        arrays = {name: _array(name, members[name]) for name in _ARRAYS}
        return _forests(strict_json.parse(members[_TEXT]), *arrays.values())
    except (
        *(OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError),
        *(RuntimeError, EOFError, struct.error, zipfile.BadZipFile),
    ) as error:
        raise ReleaseError(f"{path} does not hold the forests of a release: {error}") from error


def _members(path: Path) -> dict[str, bytes]:
    size = path.stat().st_size
    if size > _MOST_BYTES:
        raise ValueError(f"it has {size:,} bytes; {_MOST_BYTES:,} are the most")
    with zipfile.ZipFile(path) as file:
        entries = file.infolist()
        if sorted(entry.filename for entry in entries) != sorted((_TEXT, *_ARRAYS)):
            raise ValueError(f"its members are not {', '.join((_TEXT, *_ARRAYS))}")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("a member is compressed")
        if sum(entry.file_size for entry in entries) > size:
            raise ValueError(f"its members say that they have more than the {size:,} bytes of the file")
        return {entry.filename: file.read(entry) for entry in entries}


def _array(name: str, data: bytes) -> np.ndarray:
    """The array that a member holds, if it is the kind that it must be and has what it says."""
    dtype = _ARRAYS[name]
    head = _HEAD.match(data)
    if head is None or head[1] != repr(npy.dtype_to_descr(dtype)).encode():
        raise ValueError(f"{name} is no array of the type that it must have")
    if int(head[2]) * dtype.itemsize != len(data) - npy.MAGIC_LEN - 2 - int.from_bytes(data[8:10], "little"):
        raise ValueError(f"{name} does not have the {int(head[2])} entries that it says")
    found: np.ndarray = np.load(io.BytesIO(data), allow_pickle=False)
    return found


def _forests(
    about: dict[str, Any], nodes: np.ndarray, roots: np.ndarray, base: np.ndarray
) -> list[StoredForest]:
    if about["format"] != FORMAT:
        raise ValueError(f"format {about['format']} needs a newer version of lookalike")
    found, at = [], (0, 0, 0)
    for each in about["aspects"]:
        name, values = each["name"], each["values"]
        sizes = each["nodes"], each["trees"], len(values)
        if type(values) is not list or not all(isinstance(text, str) for text in (name, *values)):
            raise ValueError(f"it describes an aspect as {each}")
        if min(map(_count, sizes)) < 1:
            raise ValueError(f"aspect {name} has {sizes[0]} nodes, {sizes[1]} trees and {sizes[2]} values")
        end = at[0] + sizes[0], at[1] + sizes[1], at[2] + sizes[2]
        if end[0] > len(nodes) or end[1] > len(roots) or end[2] > len(base):
            raise ValueError(f"aspect {name} goes beyond the arrays")
        parts = (array[first:last] for array, first, last in zip((nodes, roots, base), at, end, strict=True))
        try:
            trees = Trees.checked(_count(about["inputs"]), *parts)
        except ValueError as error:
            raise ValueError(f"aspect {name}: {error}") from error
        found.append(StoredForest(name, tuple(values), Forest(each["exclusive"] is True, trees)))
        at = end
    if at != (len(nodes), len(roots), len(base)):
        raise ValueError("its arrays have more than its aspects")
    return found


def _count(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r} is no count")
    return value
