"""A program for `test_photo_log`: curate in processes that are killed at every write, one after the other.

Arguments: the catalogue, and an empty folder. Prints JSON: the reference of an undisturbed curation, and for each write
after which a curation was killed, that of the curation that came next, and how many photos that read.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from lookalike.catalogue.curation import curate
from lookalike.storage.directory import DirectoryStore
from tests.catalogue.conftest import SMALL


class DyingStore(DirectoryStore):
    """Its process is killed right after the write of that number."""

    def __init__(self, root: Path, number: int) -> None:
        super().__init__(root)
        self.left = number

    def put(self, key: str, data: bytes, **conditions: Any) -> str:
        return self._die(super().put, key, data, **conditions)

    def upload(self, key: str, path: Path, *, give: bool = False) -> None:
        return self._die(super().upload, key, path, give=give)

    def delete(self, key: str) -> None:
        return self._die(super().delete, key)

    def _die(self, write: Any, *given: Any, **more: Any) -> Any:
        self.left -= 1
        done = write(*given, **more)
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return done


def in_a_process(catalogue: str, store: DirectoryStore, folder: Path) -> bool:
    """Curate in a process of its own; whether that came to its end."""
    child = os.fork()
    if child == 0:
        opened: list[str] = []
        sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
        ref = curate(store, catalogue, replace(SMALL, shard_bytes=9_000), cache_dir=folder / "cache")
        read = sum(name.endswith(".jpg") for name in opened)
        (folder / "done.json").write_text(json.dumps([str(ref), read]))
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def main(catalogue: str, folder: Path) -> None:
    told = []
    (folder / "undisturbed").mkdir()
    in_a_process(catalogue, DirectoryStore(folder / "undisturbed" / "store"), folder / "undisturbed")
    for number in range(1, 100):
        own = folder / str(number)
        own.mkdir()
        if in_a_process(catalogue, DyingStore(own / "store", number), own):
            break
        in_a_process(catalogue, DirectoryStore(own / "store"), own)
        told.append((own / "done.json").read_text())
    undisturbed = (folder / "undisturbed" / "done.json").read_text()
    print(json.dumps({"undisturbed": undisturbed, "killed": told}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
