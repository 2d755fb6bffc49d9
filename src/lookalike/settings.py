"""Settings of the whole program, and the only place that reads the environment.

Every field can be set by an environment variable of its name with the prefix ``LOOKALIKE_`` (``LOOKALIKE_STORE``),
those of `S3Settings` with ``LOOKALIKE_S3_``; options of the command line win over both. `Launch` reads what `torchrun`
says to its processes.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasChoices, Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class S3Settings(BaseSettings):
    """How to talk to S3. Credentials come by AWS's own rules (environment, profile, pod identity)."""

    model_config = SettingsConfigDict(env_prefix="LOOKALIKE_S3_", frozen=True, populate_by_name=True)

    endpoint_url: str | None = Field(
        default=None,
        validation_alias=AliasChoices(
            "LOOKALIKE_S3_ENDPOINT_URL", "S3_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"
        ),
    )
    """Address of an S3-compatible server; AWS itself if not set."""
    region: str = Field(
        default="us-east-1",
        validation_alias=AliasChoices("LOOKALIKE_S3_REGION", "AWS_REGION", "AWS_DEFAULT_REGION"),
    )
    """Region of the bucket."""
    if_match_quoted: bool = True
    """Send the ETag of `If-Match` in quotes, as AWS wants it. Ceph radosgw up to 16 wants it bare: set to false."""
    checksums: Literal["when_supported", "when_required"] = "when_required"
    """When botocore adds its own checksums. `when_supported` is botocore's default and breaks some servers."""
    attempts: int = Field(default=5, ge=1, le=20)
    """How often a read or an unconditional write is tried. Conditional writes are sent once."""
    connect_timeout_s: float = Field(default=5, gt=0)
    read_timeout_s: float = Field(default=60, gt=0)


class Settings(BaseSettings):
    """What every command needs to know."""

    model_config = SettingsConfigDict(env_prefix="LOOKALIKE_", frozen=True)

    store: str = "lookalike-store"
    """Where artefacts live: ``s3://bucket/prefix``, ``file:///dir``, or a directory."""
    catalogue: str = ""
    """The shop's catalogue, a CSV or Parquet file: what flows and console work on where nothing else is said."""
    photo_roots: Annotated[tuple[str, ...], NoDecode] = ()
    """Folders and ``s3://bucket/prefix``, parted by commas, that a catalogue's photos may lie in. Photos below the
    catalogue's own folder, or in its bucket, are always read; what else it names is left out, since whoever writes the
    catalogue decides what is published."""
    cache_dir: Path = Path("~/.cache/lookalike").expanduser()
    """Local disk for fetched artefacts and work in progress; may be deleted at any time."""
    threads: int = Field(default=0, ge=0)
    """Threads for decoding, encoding and scanning; 0 takes what the machine (or the cgroup quota) allows."""
    squares_gib: float = Field(default=math.inf, ge=0)
    """GiB of `cache_dir` that a training's decoded photos may take. For a volume with a limit that its free space does
    not show: an emptyDir's `sizeLimit`."""

    @field_validator("photo_roots", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value


class Launch(BaseSettings):
    """Which process of a training this is, as `torchrun` says in the environment; alone where it says nothing."""

    model_config = SettingsConfigDict(frozen=True)

    rank: int = Field(default=0, ge=0)
    world_size: int = Field(default=1, ge=1)
    local_rank: int = Field(default=0, ge=0)
    local_world_size: int = Field(default=1, ge=1)
    restarts: int = Field(default=0, ge=0, validation_alias="TORCHELASTIC_MAX_RESTARTS")
    """How often torchrun starts all processes of this machine again when one fails."""
    shared_store: bool = Field(default=False, validation_alias="TORCHELASTIC_USE_AGENT_STORE")
    """Whether the processes meet in torchrun's own store, which still holds what those before a restart left in it."""


class RolloutSettings(BaseSettings):
    """Which Deployment serves what is live. Where none is named, search processes follow the live ref themselves."""

    model_config = SettingsConfigDict(env_prefix="LOOKALIKE_ROLLOUT_", frozen=True)

    deployment: str = ""
    """``name`` or ``namespace/name``; the namespace is else that of this pod, or of the kubeconfig's context."""
    service_url: str = ""
    """Where searches go; by default the Service of the Deployment's name: ``http://<name>.<namespace>``."""
    pods_url: str = ""
    """A host that resolves to every search pod, ready or not; by default ``http://<name>-pods.<namespace>:8080``."""
    deadline_s: float = Field(default=900, gt=0)
    """Seconds that the pods may take in all; one that waits longer for the first ready pod than the Deployment's
    `progressDeadlineSeconds` is given up before."""


class ConsoleSettings(BaseSettings):
    """What only the console needs to know."""

    model_config = SettingsConfigDict(env_prefix="LOOKALIKE_CONSOLE_", frozen=True, populate_by_name=True)

    token: str = ""
    """What actions need, at least 16 characters. Where none is set one is made up and said at the start."""
    prefect_api: str = Field(
        default="http://127.0.0.1:4200/api",
        validation_alias=AliasChoices("LOOKALIKE_CONSOLE_PREFECT_API", "PREFECT_API_URL"),
    )
    """Address of Prefect's API."""
    prefect_key: str = Field(
        default="", validation_alias=AliasChoices("LOOKALIKE_CONSOLE_PREFECT_KEY", "PREFECT_API_KEY")
    )
    """Sent as a bearer token, where a proxy in front of Prefect wants one."""
    prefect_ui: str = ""
    """Where people see Prefect, if that is not the API's address without ``/api``."""
    search_url: str = ""
    """Where the search page lies; the console links to it."""


class DataGateSettings(BaseSettings):
    """How far one publication may fall behind what is live before it is refused (`lookalike.publishing.data_gate`)."""

    model_config = SettingsConfigDict(env_prefix="LOOKALIKE_DATA_GATE_", frozen=True)

    fewer_listings: float = Field(default=0.2, ge=0, le=1)
    """Share of the live listings (fraction of 1) by which they may become fewer. From one run to the next a shop sells
    a few percent; a fifth at once is more often an export that was cut short than a sale."""
    fewer_photos: float = Field(default=0.2, ge=0, le=1)
    """The same of distinct photos: they go with the listings, or with a folder that cannot be read."""
    fewer_categories: float = Field(default=0.1, ge=0, le=1)
    """Share of the live categories (fraction of 1) that may vanish; one always may. A shop closes single shelves, and
    searches for what a vanished one held find nothing."""
    more_left_out: float = Field(default=0.1, ge=0, le=1)
    """By how much the share of catalogue rows left out (fraction of 1) may rise. A tenth more bad rows is a column that
    changed its meaning, not carelessness."""
    fewer_prices: float = Field(default=0.1, ge=0, le=1)
    """By how much the share of listings with a price (fraction of 1) may fall. Prices are lost all at once, when their
    format changes."""
    slack: int = Field(default=5, ge=0)
    """Listings, photos or rows by which a number may always change: a fifth of a small shop is a handful."""


def traceback_wanted() -> bool:
    """Whether a command that fails is to show where, not only why (``LOOKALIKE_TRACEBACK``)."""
    return bool(os.environ.get("LOOKALIKE_TRACEBACK"))


def kubeconfig_named() -> bool:
    """Whether ``KUBECONFIG`` names a cluster, so that even a process in a pod goes to that one."""
    return "KUBECONFIG" in os.environ


def available_cores() -> int:
    """Cores this process may use: the smaller of the affinity mask and the cgroup v2 quota, at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))
