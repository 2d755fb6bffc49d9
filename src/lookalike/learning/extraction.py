"""Extraction on the best device here: a GPU by torch where there is one, else the cores by OpenVINO.

The same two steps as `coding.extraction`, which needs no torch; on a machine without a GPU torch is not imported here
either.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lookalike.coding import extraction
from lookalike.coding.extraction import Pace
from lookalike.progress import Progress, silent
from lookalike.settings import available_cores
from lookalike.storage.artefacts import Ref, fetch
from lookalike.storage.objects import ObjectStore


def extract(
    store: ObjectStore,
    curated: Ref,
    release: Ref,
    *,
    cache_dir: Path,
    shard_size: int = 4096,
    threads: int = 0,
    progress: Progress = silent,
) -> Ref:
    """`coding.extraction.extract`."""
    device = _device(store, release, cache_dir, threads)
    return extraction.extract(
        store, curated, release, cache_dir=cache_dir, shard_size=shard_size, progress=progress, **device
    )


def extract_part(
    store: ObjectStore,
    curated: Ref,
    release: Ref,
    part: int,
    parts: int,
    *,
    cache_dir: Path,
    shard_size: int = 4096,
    threads: int = 0,
    progress: Progress = silent,
) -> int:
    """`coding.extraction.extract_part`."""
    device = _device(store, release, cache_dir, threads)
    return extraction.extract_part(
        store,
        curated,
        release,
        part,
        parts,
        cache_dir=cache_dir,
        shard_size=shard_size,
        progress=progress,
        **device,
    )


def has_gpu() -> bool:
    """Whether this process may use an NVIDIA GPU: its driver's device (or WSL2's) is there, and torch can use it."""
    if not any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/dxg")):
        return False  # without the two seconds that importing torch takes
    import torch

    return bool(torch.cuda.is_available())


def _device(store: ObjectStore, release: Ref, cache_dir: Path, threads: int) -> dict[str, Any]:
    cores = threads or available_cores()
    if has_gpu():
        from lookalike.learning.encoder import open_torch_encoder

        encoder = open_torch_encoder(fetch(store, release, cache_dir))
        return {"encoder": encoder, "pace": Pace(batch=256, decoders=cores, encoders=2)}
    return {"threads": cores}
