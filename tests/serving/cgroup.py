"""A memory cgroup, as a container's limit makes one: v2, or v1 where that is mounted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

_ROOT = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class MemoryCgroup:
    folder: Path
    unified: bool

    def add(self, pid: int) -> None:
        """Move a process, and what it starts from now on, into the group."""
        (self.folder / "cgroup.procs").write_text(str(pid))

    @property
    def kills(self) -> int:
        """Processes that were killed because the group had no memory left."""
        events = (self.folder / ("memory.events" if self.unified else "memory.oom_control")).read_text()
        return int(dict(line.split() for line in events.splitlines())["oom_kill"])

    @property
    def peak(self) -> int:
        """The most that was in use at one time, with the page cache, in bytes."""
        return int(
            (self.folder / ("memory.peak" if self.unified else "memory.max_usage_in_bytes")).read_text()
        )


@contextmanager
def memory_cgroup(limit: int) -> Iterator[MemoryCgroup]:
    """A group below this process's own, for `limit` bytes; skips the test where none can be made."""
    groups = dict(
        line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line
    )
    unified = "memory" not in groups
    own = _ROOT / groups.get("", "/").lstrip("/") if unified else _ROOT / "memory" / groups["memory"][1:]
    folder = own / f"lookalike-test-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no memory cgroup can be made here: {error}")
    try:
        try:
            (folder / ("memory.max" if unified else "memory.limit_in_bytes")).write_text(str(limit))
            if unified:
                with suppress(OSError):
                    (folder / "memory.swap.max").write_text("0")
        except OSError as error:
            pytest.skip(f"no memory cgroup can be given a limit here: {error}")
        yield MemoryCgroup(folder, unified)
    finally:
        folder.rmdir()
