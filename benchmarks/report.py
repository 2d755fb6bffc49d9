"""What every benchmark writes with ``--json``: the machine, and one entry per number."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from lookalike.settings import available_cores

_UNITS = {
    "_ms": "ms",
    "per_second": "1/s",
    "_mb": "MB",
    "seconds": "s",
    "_s": "s",
    "bytes": "bytes",
    "_equal": "fraction",
    "_precision": "fraction",
    "top1": "fraction",
}
_HIGHER = ("per_second", "_equal", "_precision", "top1", "throughput", "torch / openvino")


@dataclass(frozen=True)
class Entry:
    """One number: `target` is what is wanted, `peer` what it is held against in the same run."""

    name: str
    value: float
    unit: str
    better: Literal["lower", "higher"]
    target: float | None = None
    peer: str | None = None
    least: float | None = None
    """The shortest time, or the ratio of the shortest, where `value` is the median: what other work disturbs least."""
    recall: float | None = None
    """Part of the right answers that were given in this time."""

    def line(self) -> str:
        """As a line of a table."""
        least = "" if self.least is None else f"  least {self.least:.3f}"
        target = "" if self.target is None else f"  target {self.target:g}"
        recall = "" if self.recall is None else f"  recall {self.recall:g}"
        return f"{self.name:72s} {self.value:10.3f} {self.unit}{least}{target}{recall}"


def entries(
    results: Mapping[str, Any], targets: Mapping[str, float], peers: Mapping[str, str], prefix: str = ""
) -> Iterator[Entry]:
    """Nested results as entries, named by their path; a list of numbers becomes its median, text is left out."""
    for key, value in results.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from entries(value, targets, peers, f"{name}: ")
            continue
        if isinstance(value, Sequence) and not isinstance(value, str):
            value = statistics.median(value)
        if isinstance(value, int | float):
            unit = next((unit for ending, unit in _UNITS.items() if key.endswith(ending)), "")
            better: Literal["lower", "higher"] = "higher" if any(word in key for word in _HIGHER) else "lower"
            unit = unit or ("ratio" if " / " in key else "count")
            yield Entry(name, float(value), unit, better, targets.get(name), peers.get(name))


def write(path: Path | None, machine: Mapping[str, Any], found: Sequence[Entry], **data: Any) -> None:
    """Print the entries as a table, and write them to `path` if there is one."""
    for entry in found:
        print(entry.line())
    if path is not None:
        report = {"machine": dict(machine), **data, "results": [asdict(entry) for entry in found]}
        path.write_text(json.dumps(report, indent=1) + "\n")


def machine(**versions: str) -> dict[str, Any]:
    """The machine as a reader of numbers needs to know it; `versions` of the peers go beside it."""
    cpu = Path("/proc/cpuinfo")
    models = (
        [line.split(":")[1].strip() for line in cpu.read_text().splitlines() if "model name" in line]
        if cpu.exists()
        else []
    )
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": available_cores(),
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **versions,
    }
