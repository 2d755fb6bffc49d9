"""Immutable artefacts: written file by file, made visible by their manifest, fetched and verified as one.

An artefact's id is a digest of what it is made from (its inputs' digests and the configuration), so a step can
see before it starts that its work is done. Its files carry the digest of their content in their key, so two
writers, or a second attempt, never replace a file that somebody has mapped. `manifest.json` is put last and only
if absent; a reader that has a `Ref` checks the manifest against the digest in it, and each file against the
manifest. A manifest holds no times and no paths: the same work gives the same bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc

from lookalike.errors import CorruptObject, LostRace, ObjectNotFound, OutcomeUnknown, SettingsError
from lookalike.storage import keys, leftovers, sequence
from lookalike.storage.objects import ObjectStore
from lookalike.strict_json import plain

MANIFEST_FORMAT = 1
_PAUSES_S = (0, 0.2, 1, 3)
"""Before each attempt to write a manifest: hours of work wait for it."""
_YOUNG = timedelta(hours=1)
"""Far less than retention's grace: a shorter one must not be set."""


class Kind(StrEnum):
    """What an artefact is; also the folder it lies in."""

    CURATED = "curated"
    RELEASE = "releases"
    EXTRACTION = "extractions"
    INDEX = "index"
    DELTA = "deltas"


@dataclass(frozen=True, slots=True)
class Ref:
    """All that travels between steps: which artefact, and the SHA-256 of its manifest."""

    kind: Kind
    id: str
    digest: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.id}@{self.digest}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The inverse of `str`. Raises `SettingsError`."""
        match = re.fullmatch(r"([a-z]+)/([0-9a-f]{16})@([0-9a-f]{64})", text)
        if not match or match[1] not in set(Kind):
            raise SettingsError(f"not a reference: {text!r}; one looks like releases/<16 hex>@<64 hex>")
        return cls(Kind(match[1]), match[2], match[3])


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of an artefact: its name, where it lies, how long it is, its digest."""

    name: str
    key: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an artefact consists of and was made from. `meta` belongs to the step that wrote it."""

    kind: Kind
    id: str
    inputs: Mapping[str, str]
    config: Mapping[str, Any]
    files: tuple[FileEntry, ...]
    meta: Mapping[str, Any] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        body = {
            "format": MANIFEST_FORMAT,
            "kind": self.kind.value,
            "id": self.id,
            "inputs": dict(self.inputs),
            "config": dict(self.config),
            "files": [{"name": f.name, "key": f.key, "size": f.size, "sha256": f.sha256} for f in self.files],
            "meta": dict(self.meta),
        }
        text = json.dumps(plain(body), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
        return text.encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes, key: str) -> Self:
        """Raises `CorruptObject` naming `key` where `data` is not a manifest that this version reads."""
        try:
            body = json.loads(data)
            if body["format"] != MANIFEST_FORMAT:
                raise CorruptObject(key, f"{key}: manifest format {body['format']} is not {MANIFEST_FORMAT}")
            files = tuple(FileEntry(f["name"], f["key"], f["size"], f["sha256"]) for f in body["files"])
            return cls(Kind(body["kind"]), body["id"], body["inputs"], body["config"], files, body["meta"])
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptObject(key, f"{key} is not a manifest: {error}") from error

    def file(self, name: str) -> FileEntry:
        """The entry of that name. Raises `CorruptObject`."""
        for entry in self.files:
            if entry.name == name:
                return entry
        key = keys.manifest(self.kind, self.id)
        raise CorruptObject(key, f"{key} lists no file {name!r}")


def digest_of(value: Any) -> str:
    """SHA-256 of a JSON-like value, the same for equal values."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def json_text(texts: pa.StringArray) -> pa.StringArray:
    """Texts as `digest_of` writes them between quotes, many at a time."""
    odd = pc.match_substring_regex(texts, r'[\x00-\x1f"\\]')
    if not pc.any(odd).as_py():
        return texts
    escaped = [
        json.dumps(text, ensure_ascii=False, allow_nan=False)[1:-1] for text in texts.filter(odd).to_pylist()
    ]
    return pc.replace_with_mask(texts, odd, pa.array(escaped, pa.string()))


def sha256_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class ArtefactWriter:
    """Writes one artefact. Nothing is visible before `commit`; leaving early leaves nothing to clean up.

    `inputs` maps a role to the digest (or `str(Ref)`) of what goes in; `config` is every setting that changes the
    result and must be JSON-like. Together they make the id.
    """

    def __init__(
        self, store: ObjectStore, kind: Kind, *, inputs: Mapping[str, str], config: Mapping[str, Any]
    ) -> None:
        self.store, self.kind, self.inputs, self.config = store, kind, dict(inputs), dict(config)
        self.id = digest_of([MANIFEST_FORMAT, kind.value, self.inputs, self.config])[:16]
        self._files: dict[str, FileEntry] = {}

    def existing(self) -> Ref | None:
        """The artefact, if an earlier run has finished it. It is the newest of its kind from now on.

        An old one becomes young, so that retention leaves it.
        """
        key = keys.manifest(self.kind, self.id)
        while True:
            try:
                data, etag = self.store.get_with_etag(key)
                age = datetime.now(UTC) - self.store.head(key).modified
            except ObjectNotFound:
                return None
            Manifest.from_bytes(data, key)
            try:
                if age > _YOUNG:
                    with contextlib.suppress(OutcomeUnknown):  # then it is old, or young
                        self.store.put(key, data, if_match=etag)
            except LostRace:  # removed, or made young by somebody else
                continue
            sequence.make_newest(self.store, self.kind, self.id)
            return Ref(self.kind, self.id, hashlib.sha256(data).hexdigest())

    def begin(self) -> None:
        """Note what goes into the artefact, so that retention leaves that alone.

        The note holds for as long as retention's grace; a step that may take longer begins again, or writes
        something else beside it (`keys.checkpoints`). `commit` removes it.
        """
        note = {"inputs": self.inputs, "config": self.config}
        text = json.dumps(plain(note), indent=1, sort_keys=True, allow_nan=False)
        self.store.put(keys.in_progress(self.id), text.encode())

    def add(self, name: str, source: Path | bytes, *, give: bool = False) -> FileEntry:
        """Store one file of the artefact under the name that readers will ask for.

        With `give` a file at `source` is the store's from now on: it may be gone, and nobody may write to it.
        """
        if isinstance(source, bytes):
            sha256, size = hashlib.sha256(source).hexdigest(), len(source)
        else:
            sha256, size = sha256_of_file(source), source.stat().st_size
        key = keys.content_addressed(self.kind, self.id, name, sha256)
        if isinstance(source, bytes):
            self.store.put(key, source)
        else:
            self.store.upload(key, source, give=give)
        entry = self._files[name] = FileEntry(name, key, size, sha256)
        return entry

    def refer(self, entry: FileEntry) -> None:
        """Make a file that is stored already, here or for another artefact, a file of this one."""
        self._files[entry.name] = entry

    def commit(self, meta: Mapping[str, Any] | None = None) -> Ref:
        """Make the artefact visible. If somebody else has finished the same artefact first, theirs stands."""
        files = tuple(self._files[name] for name in sorted(self._files))
        manifest = Manifest(self.kind, self.id, self.inputs, self.config, files, meta or {})
        key = keys.manifest(self.kind, self.id)
        sequence.make_newest(self.store, self.kind, self.id)
        data = self._write_once(key, manifest.to_bytes())
        self.store.delete(keys.in_progress(self.id))
        return Ref(self.kind, self.id, hashlib.sha256(data).hexdigest())

    def _write_once(self, key: str, manifest: bytes) -> bytes:
        """The manifest that stands at `key` afterwards, ours or somebody else's.

        S3 answers 409 to a conditional write that meets another, and a busy store 503, whether or not anything was
        written. The same bytes on the same condition may be sent again: they lose only to a manifest that is there.
        """
        for pause in _PAUSES_S:
            time.sleep(pause)
            with contextlib.suppress(
                LostRace, OutcomeUnknown
            ):  # either way the manifest that is there decides
                self.store.put(key, manifest, if_absent=True)
            with contextlib.suppress(ObjectNotFound):
                return self.store.get(key)
        message = f"{self.store.uri}/{key} could not be written; run the step again"
        raise OutcomeUnknown(key, message)


@dataclass(frozen=True, slots=True)
class Artefact:
    """A fetched artefact: its manifest, and a verified local file for each name."""

    ref: Ref
    manifest: Manifest
    paths: Mapping[str, Path]

    def path(self, name: str) -> Path:
        """The local file of that name. Raises `CorruptObject`."""
        self.manifest.file(name)
        return self.paths[name]


def read_manifest(store: ObjectStore, ref: Ref) -> Manifest:
    """The manifest `ref` names. Raises `ObjectNotFound`, or `CorruptObject` where its digest differs."""
    key = keys.manifest(ref.kind, ref.id)
    data = store.get(key)
    found = hashlib.sha256(data).hexdigest()
    if found != ref.digest:
        raise CorruptObject(key, f"{store.uri}/{key} has digest {found[:12]}, not {ref.digest[:12]}")
    return Manifest.from_bytes(data, key)


def find(store: ObjectStore, kind: Kind, artefact_id: str) -> Ref:
    """The reference of a finished artefact, by its id or the start of it. Raises `ObjectNotFound`."""
    prefix = keys.artefact(kind, artefact_id)
    found = [info.key for info in store.list(prefix) if info.key.endswith("/" + keys.MANIFEST)]
    if not found:
        raise ObjectNotFound(prefix, f"{store.uri} holds no finished artefact {prefix}")
    if len(found) > 1:
        raise SettingsError(f"{prefix} fits {len(found)} artefacts; give more of its id")
    data = store.get(found[0])
    return Ref(kind, found[0].split("/")[1], hashlib.sha256(data).hexdigest())


def latest(store: ObjectStore, kind: Kind) -> Ref | None:
    """The artefact of that kind that was finished, or found finished, last, if there is one."""
    manifests = sequence.manifests(store.list(f"{kind.value}/"))
    return find(store, kind, manifests[-1].key.split("/")[1]) if manifests else None


def fetch(store: ObjectStore, ref: Ref, cache_dir: Path, names: Iterable[str] | None = None) -> Artefact:
    """Bring an artefact's files (or just `names`) to local disk and verify each against the manifest.

    Files of a store on this machine are used where they lie. Others are kept under
    ``cache_dir/<kind>/<id>/``; a file there that fails its digest is fetched once more. Raises `CorruptObject`
    naming the file.
    """
    manifest = read_manifest(store, ref)
    wanted = manifest.files if names is None else [manifest.file(name) for name in names]
    paths = {entry.name: fetch_file(store, entry, cache_dir) for entry in wanted}
    return Artefact(ref, manifest, paths)


def fetch_file(store: ObjectStore, entry: FileEntry, cache_dir: Path) -> Path:
    """One file on local disk, verified; see `fetch`."""
    local = store.local_path(entry.key)
    if local is not None:
        _verify(store, entry, local)
        return local
    path = cache_dir / entry.key
    if path.exists():
        try:
            _verify(store, entry, path)
            leftovers.used(path)
            return path
        except CorruptObject:
            path.unlink()
    store.download(entry.key, path)
    try:
        _verify(store, entry, path)
    except CorruptObject:
        path.unlink()
        raise
    return path


def _verify(store: ObjectStore, entry: FileEntry, path: Path) -> None:
    try:
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise ObjectNotFound(entry.key, f"{store.uri}/{entry.key} does not exist") from error
    if size != entry.size:
        message = f"{store.uri}/{entry.key} has {size:,} bytes; its manifest says {entry.size:,}"
        raise CorruptObject(entry.key, message)
    if sha256_of_file(path) != entry.sha256:
        raise CorruptObject(entry.key, f"{store.uri}/{entry.key} does not match its digest: it is damaged")
