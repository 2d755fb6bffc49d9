"""The file of a release's forests: what is written is read, and whatever else is in its place is refused by name."""

from __future__ import annotations

import io
import json
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lookalike.aspects import trees_file
from lookalike.aspects.forest import NODE
from lookalike.aspects.trees_file import StoredForest
from lookalike.errors import ReleaseError
from tests.aspects.test_forest import INPUTS, forest, train

Members = dict[str, bytes]


@pytest.fixture(scope="module")
def stored() -> list[StoredForest]:
    return [
        StoredForest("colour", ("blue", "red", "ä|b"), forest(train("multi:softprob", rounds=3, depth=3))),
        StoredForest("material", ("silk", "wool"), forest(train("binary:logistic", values=2, rounds=2))),
    ]


@pytest.fixture
def path(stored: list[StoredForest], tmp_path: Path) -> Path:
    trees_file.write(tmp_path / "trees.npz", INPUTS, stored)
    return tmp_path / "trees.npz"


def refused(path: Path, reason: str = "") -> None:
    with pytest.raises(ReleaseError, match=rf"trees\.npz does not hold the forests of a release: .*{reason}"):
        trees_file.read(path)


def test_what_is_written_is_read(path: Path, stored: list[StoredForest]) -> None:
    rows = np.random.default_rng(0).normal(size=(200, INPUTS)).astype(np.float32)
    found = trees_file.read(path)
    assert [(each.name, each.values) for each in found] == [(each.name, each.values) for each in stored]
    for ours, theirs in zip(found, stored, strict=True):
        np.testing.assert_array_equal(ours.forest.trees.margins(rows), theirs.forest.trees.margins(rows))
        assert ours.forest.exclusive == theirs.forest.exclusive
        assert ours.forest.trees.depth == theirs.forest.trees.depth


def test_the_same_forests_are_the_same_bytes(path: Path, stored: list[StoredForest], tmp_path: Path) -> None:
    trees_file.write(tmp_path / "again.npz", INPUTS, trees_file.read(path))
    assert (tmp_path / "again.npz").read_bytes() == path.read_bytes()


def test_numpy_alone_reads_it(path: Path, stored: list[StoredForest]) -> None:
    with np.load(path, allow_pickle=False) as file:
        assert json.loads(file["aspects.json"])["aspects"][0]["values"] == ["blue", "red", "ä|b"]
        assert file["nodes"].dtype == NODE
        assert len(file["roots"]) == sum(len(each.forest.trees.roots) for each in stored)
        assert len(file["base"]) == 5


def test_random_bytes_are_refused(path: Path) -> None:
    rng = np.random.default_rng(0)
    for size in (0, 1, 22, 100, 5000):
        path.write_bytes(rng.bytes(size))
        refused(path)


def test_a_file_that_is_cut_off_anywhere_is_refused(path: Path) -> None:
    whole = path.read_bytes()
    for end in range(0, len(whole), 53):
        path.write_bytes(whole[:end])
        refused(path)


def test_a_file_with_changed_bytes_is_refused_or_means_the_same(path: Path) -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(3, INPUTS)).astype(np.float32)
    whole, expected = path.read_bytes(), answers(path, rows)
    for _ in range(500):
        damaged = bytearray(whole)
        for at in rng.integers(0, len(whole), 2):
            damaged[at] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            found = answers(path, rows)
        except ReleaseError:
            continue
        assert found == expected, "only a byte that means nothing, such as a date, may change"


def test_members_with_changed_bytes_are_refused_or_still_end_in_their_leaves(path: Path) -> None:
    """Somebody who rewrites the file makes its checksums right."""
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(3, INPUTS)).astype(np.float32)
    whole = members(path)
    for name in whole:
        for _ in range(150):
            damaged = bytearray(whole[name])
            for at in rng.integers(0, min(len(damaged), rng.choice([130, 4000])), 2):
                damaged[at] = rng.integers(256)
            write(path, whole | {name: bytes(damaged)})
            try:
                found = trees_file.read(path)
            except ReleaseError:
                continue
            assert all(each.forest.probabilities(rows).shape == (3, len(each.values)) for each in found)


def test_a_missing_file_is_a_release_error(tmp_path: Path) -> None:
    refused(tmp_path / "trees.npz", "No such file")


@pytest.mark.parametrize(
    ("field", "at", "value", "reason"),
    [
        ("left", 0, 0, "aspect colour: its nodes go round in a circle"),
        ("right", 2, 1, "aspect colour: its nodes go round in a circle"),
        ("left", 0, -1, "outside of its tree"),
        ("right", 0, 2**31 - 1, "outside of its tree"),
        ("feature", 3, INPUTS, "an input that there is not"),
        ("feature", -1, -1, "aspect material: a node looks at an input that there is not"),
        ("threshold", 0, np.nan, "not a number"),
        ("threshold", -1, -np.inf, "not a number"),
    ],
)
def test_a_node_that_leads_astray_is_refused(
    path: Path, field: str, at: int, value: float, reason: str
) -> None:
    def change(nodes: np.ndarray) -> np.ndarray:
        nodes[field][at] = value
        return nodes

    write(path, changed(path, "nodes.npy", change))
    refused(path, reason)


def test_trees_of_two_nodes_that_lead_to_each_other_are_refused(path: Path) -> None:
    def change(nodes: np.ndarray) -> np.ndarray:
        nodes["left"][1], nodes["right"][1] = 2, 2
        nodes["left"][2], nodes["right"][2] = 1, 1
        return nodes

    write(path, changed(path, "nodes.npy", change))
    refused(path, "circle")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("nodes.npy", lambda array: array[:-1]),
        ("nodes.npy", lambda array: np.concatenate([array, array[-1:]])),
        ("nodes.npy", lambda array: array.astype(np.dtype([(n, "<i8") for n in NODE.names or ()]))),
        ("nodes.npy", lambda array: array["threshold"].copy()),
        ("roots.npy", lambda array: array[::-1].copy()),
        ("roots.npy", lambda array: array + 1),
        ("roots.npy", lambda array: array[:-1]),
        ("roots.npy", lambda array: array.astype(np.int64)),
        ("roots.npy", lambda array: array.astype(">i4")),
        ("base.npy", lambda array: array[:-1]),
        ("base.npy", lambda array: array * np.float32(np.nan)),
        ("base.npy", lambda array: array.reshape(5, 1)),
        ("base.npy", lambda array: array[0]),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    path: Path, name: str, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    write(path, changed(path, name, change))
    refused(path)


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"format": None},
        {"inputs": 1},
        {"inputs": True},
        {"inputs": "20"},
        {"aspects": None},
        {"aspects": {}},
        {"aspects": [1]},
        {"aspects": []},
    ],
)
def test_a_description_that_does_not_fit_is_refused(path: Path, change: dict[str, Any]) -> None:
    found = members(path)
    write(path, found | {"aspects.json": json.dumps(json.loads(found["aspects.json"]) | change).encode()})
    refused(path)


@pytest.mark.parametrize(
    "change",
    [
        {"name": 1},
        {"values": ["one"]},
        {"values": "abc"},
        {"values": []},
        {"values": [1, 2, 3]},
        {"trees": 0},
        {"trees": -1},
        {"trees": 10**30},
        {"trees": 9.0},
        {"nodes": 10**30},
        {"nodes": 1},
        {"nodes": None},
    ],
)
def test_an_aspect_that_does_not_fit_is_refused(path: Path, change: dict[str, Any]) -> None:
    found = members(path)
    about = json.loads(found["aspects.json"])
    about["aspects"][0] |= change
    write(path, found | {"aspects.json": json.dumps(about).encode()})
    refused(path)


@pytest.mark.parametrize("text", [b"", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"format": 1}'])
def test_a_description_that_is_none_is_refused(path: Path, text: bytes) -> None:
    write(path, members(path) | {"aspects.json": text})
    refused(path)


@pytest.mark.parametrize("change", [{"more.npy": b""}, {"nodes.npy": None}, {"aspects.json": None}])
def test_other_members_are_refused(path: Path, change: dict[str, bytes | None]) -> None:
    write(path, {name: data for name, data in (members(path) | change).items() if data is not None})
    refused(path, "its members are not")


def test_a_member_that_is_there_twice_is_refused(path: Path) -> None:
    data = members(path)["base.npy"]
    with zipfile.ZipFile(path, "a") as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr("base.npy", data)
    refused(path, "its members are not")


def test_pickled_objects_are_refused_unread(path: Path) -> None:
    member = io.BytesIO()
    np.save(member, np.array([Exploding()], object), allow_pickle=True)
    write(path, members(path) | {"base.npy": member.getvalue()})
    refused(path, "no array of the type")


def test_a_bomb_is_refused_before_it_is_unpacked(path: Path) -> None:
    """A gigabyte of zeros that is a megabyte in the file."""
    found = members(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for name, data in found.items():
            with file.open(name, "w", force_zip64=True) as member:
                member.write(data)
                if name == "nodes.npy":
                    for _ in range(1024):
                        member.write(bytes(1 << 20))
    assert most_memory(path, "a member is compressed") < 10 * path.stat().st_size


@pytest.mark.parametrize("declared", [2**31, 2**32 - 2])
def test_a_member_that_says_it_is_longer_than_the_file_is_refused_unread(path: Path, declared: int) -> None:
    data, size = path.read_bytes(), zipfile.ZipFile(path).getinfo("nodes.npy").file_size
    sizes = size.to_bytes(4, "little") * 2
    assert sizes in data
    path.write_bytes(data.replace(sizes, declared.to_bytes(4, "little") * 2))
    assert most_memory(path, "more than the") < 1_000_000


def test_an_array_that_says_it_is_longer_than_its_member_is_refused_unread(path: Path) -> None:
    found = members(path)
    for count in (10**9, 10**17, 10**40):
        head = f"({len(np.load(io.BytesIO(found['nodes.npy'])))},), }}".encode()
        longer = f"({count},), }}".encode()
        data = found["nodes.npy"].replace(head + b" " * (len(longer) - len(head)), longer)
        assert data != found["nodes.npy"]
        write(path, found | {"nodes.npy": data})
        assert most_memory(path, "nodes.npy") < 1_000_000


class Exploding:
    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return pytest.fail, ("a pickle was run",)


def most_memory(path: Path, reason: str) -> int:
    """Bytes that Python had in use at most while it refused the file."""
    tracemalloc.start()
    try:
        refused(path, reason)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def answers(path: Path, rows: np.ndarray) -> list[tuple[str, list[list[float]]]]:
    return [(each.name, each.forest.probabilities(rows).tolist()) for each in trees_file.read(path)]


def members(path: Path) -> Members:
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def write(path: Path, found: Members) -> None:
    with zipfile.ZipFile(path, "w") as file:
        for name, data in found.items():
            file.writestr(name, data)


def changed(path: Path, name: str, change: Callable[[np.ndarray], np.ndarray]) -> Members:
    found, member = members(path), io.BytesIO()
    np.save(member, change(np.load(io.BytesIO(found[name]))), allow_pickle=False)
    return found | {name: member.getvalue()}
