"""Artefacts are whole or invisible, verified on the way in, and the same for the same inputs."""

from __future__ import annotations

from pathlib import Path

import pytest

from lookalike.errors import CorruptObject, ObjectNotFound, SettingsError
from lookalike.storage import keys
from lookalike.storage.artefacts import ArtefactWriter, Kind, Ref, fetch, find, read_manifest
from lookalike.storage.directory import DirectoryStore
from lookalike.storage.objects import ObjectStore


def write(store: ObjectStore, content: bytes = b"segment", config: int = 1) -> Ref:
    writer = ArtefactWriter(store, Kind.INDEX, inputs={"curated": "x"}, config={"shards": config})
    writer.add("segment-000.arrow", content)
    return writer.commit({"rows": 3})


def test_an_artefact_is_invisible_until_committed(store: ObjectStore) -> None:
    writer = ArtefactWriter(store, Kind.INDEX, inputs={}, config={})
    writer.add("a.arrow", b"x")
    assert writer.existing() is None
    with pytest.raises(ObjectNotFound):
        find(store, Kind.INDEX, writer.id)
    ref = writer.commit()
    assert writer.existing() == ref == find(store, Kind.INDEX, writer.id[:6])


def test_same_inputs_same_reference_in_any_store(store: ObjectStore, tmp_path: Path) -> None:
    other = DirectoryStore(tmp_path / "other")
    assert write(store) == write(other) == write(store)
    assert write(other, config=2) != write(other)


def test_fetch_verifies_every_file(store: ObjectStore, tmp_path: Path) -> None:
    ref = write(store)
    artefact = fetch(store, ref, tmp_path / "cache")
    assert artefact.path("segment-000.arrow").read_bytes() == b"segment"
    assert artefact.manifest.meta == {"rows": 3}
    key = artefact.manifest.files[0].key
    for damaged in (b"segmenT", b"seg"):
        store.put(key, damaged)
        with pytest.raises(CorruptObject, match=r"segment-000\."):
            fetch(store, ref, tmp_path / "other-cache")
    with pytest.raises(CorruptObject, match="no file 'x'"):
        artefact.path("x")


def test_a_damaged_cache_is_fetched_again(store: ObjectStore, tmp_path: Path) -> None:
    ref = write(store)
    path = fetch(store, ref, tmp_path).path("segment-000.arrow")
    if store.local_path("x") is not None:
        pytest.skip("files of a local store are used where they lie")
    path.write_bytes(b"SEGMENT")
    assert fetch(store, ref, tmp_path).path("segment-000.arrow").read_bytes() == b"segment"


def test_a_changed_manifest_is_refused(store: ObjectStore) -> None:
    ref = write(store)
    key = keys.manifest(ref.kind, ref.id)
    store.put(key, store.get(key).replace(b'"rows": 3', b'"rows": 4'))
    with pytest.raises(CorruptObject, match="digest"):
        read_manifest(store, ref)


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b'{"format": 1}', b'{"format": 2}'])
def test_what_is_no_manifest_is_refused(tmp_path: Path, data: bytes) -> None:
    store = DirectoryStore(tmp_path)
    store.put("index/0123456789abcdef/manifest.json", data)
    ref = find(store, Kind.INDEX, "0123456789abcdef")
    with pytest.raises(CorruptObject, match=r"manifest"):
        read_manifest(store, ref)


def test_of_two_writers_of_one_artefact_the_first_stands(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    first = write(store, b"one way")
    assert write(store, b"another way") == first
    assert fetch(store, first, tmp_path).path("segment-000.arrow").read_bytes() == b"one way"


def test_references_survive_text() -> None:
    ref = Ref(Kind.RELEASE, "0123456789abcdef", "f" * 64)
    assert Ref.parse(str(ref)) == ref
    for wrong in ("", "releases/x@y", "nothing/0123456789abcdef@" + "f" * 64):
        with pytest.raises(SettingsError):
            Ref.parse(wrong)


def test_an_ambiguous_id_is_said(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    for config in range(20):
        write(store, config=config)
    with pytest.raises(SettingsError, match="fits 20"):
        find(store, Kind.INDEX, "")
