"""Settings of the whole program, and the only place that reads the environment.

Each configuration is a table of one file, `lookalike.toml`. Its values come from four layers, the later over the
earlier: defaults, the file, environment variables, flags (`layers` says how). The classes here read the layers when
they are made, `S3Settings()`; frozen dataclasses of other modules by `load`, `load(RankingConfig)`. `sections` lists
them all. `Launch` reads what `torchrun` says to its processes.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from lookalike import layers as layered
from lookalike import settings_file
from lookalike.errors import SettingsError
from lookalike.layers import Env, Layers, NamedTable, Secret, build, translated, values
from lookalike.settings_file import Key, SettingsFile

T = TypeVar("T")


class _Chosen:
    """What the command line said for this process, before any setting is read."""

    file: Path | None = None
    flags: Mapping[Key, Any] = {}


def choose(file: Path | None = None, flags: Sequence[str] = ()) -> None:
    """Let this process read `file`, and set what `flags` say: ``ranking.blend=0.5``. Raises `SettingsError`."""
    told = {}
    for flag in flags:
        name, equals, text = flag.partition("=")
        if not (equals and name.strip()):
            raise SettingsError(f"--set {flag!r}: write it as TABLE.KEY=VALUE, such as ranking.blend=0.5")
        told[tuple(name.strip().split("."))] = settings_file.parsed(text)
    _Chosen.file, _Chosen.flags = file, told


def found_file() -> SettingsFile | None:
    """The settings file: the one that was chosen, or that ``LOOKALIKE_CONFIG`` names, or whose text is
    ``LOOKALIKE_CONFIG_TEXT``, or that lies in the working directory; None where there is none.

    Raises `SettingsError` where one that is named cannot be read.
    """
    if named := _Chosen.file or os.environ.get("LOOKALIKE_CONFIG"):
        return settings_file.read(Path(named))
    if text := os.environ.get("LOOKALIKE_CONFIG_TEXT"):
        return settings_file.parse(text, Path("LOOKALIKE_CONFIG_TEXT"))
    here = Path(settings_file.NAME)
    return settings_file.read(here) if here.is_file() else None


def layers() -> Layers:
    """What is said outside the program, as of now."""
    return Layers(found_file(), os.environ, _Chosen.flags)


def load(config: type[T], **given: Any) -> T:
    """A configuration from its layers; what is `given` and not None stands above them all. Raises `SettingsError`."""
    taken = {name: value for name, value in given.items() if value is not None}
    if issubclass(config, Layered):
        return config(**taken)
    return build(config, layers(), taken)


def named_table(kind: str, name: str) -> NamedTable | None:
    """``[kind.name]`` of the file, with what flags say over it; None where neither says anything."""
    return layered.named_table(layers(), kind, name)


def names_in(kind: str) -> list[str]:
    """The names below ``[kind]``, sorted."""
    return layered.names_in(layers(), kind)


class Layered(BaseModel):
    """Settings that are read from their layers as they are made; arguments stand above them all."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    table: ClassVar[str]

    def __init__(self, **given: Any) -> None:
        said = layers()
        with translated(type(self), said):
            super().__init__(**values(type(self), said, given))


class S3Settings(Layered):
    """How to talk to S3. Credentials come by AWS's own rules (environment, profile, pod identity)."""

    table: ClassVar[str] = "s3"

    endpoint_url: Annotated[str | None, Env("S3_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")] = (
        None
    )
    """Address of an S3-compatible server; AWS itself if not set."""
    region: Annotated[str, Env("AWS_REGION", "AWS_DEFAULT_REGION")] = "us-east-1"
    """Region of the bucket."""
    if_match_quoted: bool = True
    """Send the ETag of `If-Match` in quotes, as AWS wants it. Ceph radosgw up to 16 wants it bare: set to false."""
    checksums: Literal["when_supported", "when_required"] = "when_required"
    """When botocore adds its own checksums. `when_supported` is botocore's default and breaks some servers."""
    attempts: int = Field(default=5, ge=1, le=20)
    """How often a read or an unconditional write is tried. Conditional writes are sent once."""
    connect_timeout_s: float = Field(default=5, gt=0)
    """Seconds to wait for a connection; a server nearby takes milliseconds."""
    read_timeout_s: float = Field(default=60, gt=0)
    """Seconds to wait for the next bytes of a reply. A slow disk behind the server may need many."""


class Settings(Layered):
    """What every command needs to know. These keys stand at the top of the file, before its tables."""

    table: ClassVar[str] = ""

    store: str = "lookalike-store"
    """Where artefacts live: ``s3://bucket/prefix``, ``file:///dir``, or a directory."""
    cache_dir: Path = Field(default=Path("~/.cache/lookalike"), validate_default=True)
    """Local disk for fetched artefacts and work in progress; may be deleted at any time."""
    cache_days: float = Field(default=30, gt=0, le=36500)
    """Days that a fetched file stays in `cache_dir` without being used; `lookalike retain` removes it then."""
    threads: int = Field(default=0, ge=0)
    """Threads for decoding, encoding and scanning; 0 takes what the machine (or the cgroup quota) allows."""
    squares_gib: float = Field(default=math.inf, ge=0)
    """GiB of `cache_dir` that a training's decoded photos may take. For a volume with a limit that its free space does
    not show: an emptyDir's `sizeLimit`."""

    @field_validator("cache_dir")
    @classmethod
    def _at_home(cls, value: Path) -> Path:
        return value.expanduser()


class CatalogueSettings(Layered):
    """The shop's catalogue."""

    table: ClassVar[str] = "catalogue"

    uri: Annotated[str, Env("LOOKALIKE_CATALOGUE")] = ""
    """A file, a folder or a database: what flows and console work on where nothing else is said."""
    preset: str = ""
    """How the export is laid out: the name of a preset (docs/catalogues.md). Empty: it is recognised by its columns;
    `none`: it has the columns of docs/catalogues.md, whatever others it has."""
    photos: str = ""
    """Folder or ``s3://bucket/prefix`` that photos lie in, if that is not the catalogue's own folder."""
    query: str = ""
    """What to ask a database: a SELECT whose columns are those of a catalogue, or of the preset."""
    exclude: str = ""
    """A list of listings to leave out, as `lookalike suspects` writes one: a path or ``s3://``. Empty: a re-index takes
    the list that what is live was made with; ``none``: nobody is left out."""
    web_private: bool = False
    """Fetch photos from private addresses, too: a media server in the shop's own network. Whoever writes the catalogue
    can then make this process ask any server there."""
    web_ca: str = ""
    """File of the authorities (PEM) that sign for https hosts of photos, in place of the system's: for a media server
    whose certificate the shop signs itself."""
    web_per_host: int = Field(default=6, ge=1, le=100)
    """Connections to one host of photos at a time; browsers use six."""
    web_attempts: int = Field(default=3, ge=1, le=20)
    """Times that a photo is asked for where its host is busy or does not answer; the next run asks again."""
    web_timeout_s: float = Field(default=20, gt=0)
    """Seconds to wait for a host's connection, or its next bytes."""
    decoding_mb: int = Field(default=400, ge=1)
    """Megabytes that photos being decoded may take together while a catalogue's photos are read, by 16 threads where
    they lie elsewhere. A photo that takes more is decoded alone; the largest that is allowed takes 920."""
    curation_gib: float = Field(default=2, gt=0)
    """GiB of memory that a curation of many listings may take: columns beyond a quarter of it lie in `cache_dir`, and
    what is put in order is put in order by parts. Beside it count photos: some 0.7 kB each. The snapshot is the same
    with any."""
    run_photos: int = Field(default=4096, ge=1, le=1_000_000)
    """New photos of a run: what one machine takes at a time of a curation that several share (`curate_parts` of the
    table `flows`). As they are stored they have some 80 MB, so one or two packs. With fewer, more machines can share a
    small catalogue, by smaller packs."""
    photo_roots: Annotated[tuple[str, ...], Env("LOOKALIKE_PHOTO_ROOTS")] = ()
    """Folders and ``s3://bucket/prefix`` that a catalogue's photos may lie in; a variable separates them by commas.
    Photos below the catalogue's own folder, or in its bucket, are always read. What else it names is left out, since
    whoever writes the catalogue decides what is published."""


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


class RolloutSettings(Layered):
    """Which Deployment serves what is live. Where none is named, search processes follow the live ref themselves."""

    table: ClassVar[str] = "rollout"

    deployment: str = ""
    """``name`` or ``namespace/name``; the namespace is else that of this pod, or of the kubeconfig's context."""
    service_url: str = ""
    """Where searches go; by default the Service of the Deployment's name: ``http://<name>.<namespace>``."""
    pods_url: str = ""
    """A host that resolves to every search pod, ready or not; by default ``http://<name>-pods.<namespace>:8080``."""
    deadline_s: float = Field(default=900, gt=0)
    """Seconds that may pass without another pod being replaced. A pod that takes longer than the Deployment's
    `progressDeadlineSeconds` is given up before."""


class ConsoleSettings(Layered):
    """What only the console needs to know."""

    table: ClassVar[str] = "console"

    token: Annotated[str, Secret] = ""
    """What actions need, at least 16 characters. Where none is set one is made up and said at the start. Better in the
    environment than in a file."""
    prefect_api: Annotated[str, Env("PREFECT_API_URL")] = "http://127.0.0.1:4200/api"
    """Address of Prefect's API."""
    prefect_key: Annotated[str, Secret, Env("PREFECT_API_KEY")] = ""
    """Sent as a bearer token, where a proxy in front of Prefect wants one."""
    prefect_auth: Annotated[str, Secret, Env("PREFECT_API_AUTH_STRING")] = ""
    """``user:password`` of Prefect's server, where it has one."""
    prefect_ui: str = ""
    """Where people see Prefect, if that is not the API's address without ``/api``."""
    search_url: str = ""
    """Where the search page lies; the console links to it."""
    hosts: tuple[str, ...] = ()
    """Names that people reach the console by, without port; requests for others are refused. Empty: any, but on a
    loopback address only localhost, 127.0.0.1 and [::1], or a stranger's page could read it by a name of its own."""


class DataGateSettings(Layered):
    """How far one publication may fall behind what is live before it is refused (`lookalike.publishing.data_gate`)."""

    table: ClassVar[str] = "data_gate"

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


class TaskSettings(Layered):
    """How patient the tasks of the flows are, and where stages run."""

    table: ClassVar[str] = "task"

    attempts: int = Field(default=5, ge=1, le=20)
    """How often a task is tried while the store cannot be reached."""
    first_delay_s: float = Field(default=5, gt=0)
    """Seconds before the second attempt; doubled each time, so five attempts outlast a minute without the store."""
    jitter: float = Field(default=0.3, ge=0)
    """Each delay is stretched by up to this fraction, so that many workers do not come back at once."""
    timeout_h: float = Field(default=6, gt=0)
    """Hours that a step may take, training excepted."""
    training_timeout_h: float = Field(default=72, gt=0)
    """Hours that training may take."""
    stages: Literal["here", "deployments"] = "here"
    """Where the stages of `retrain` and `reindex` run: in this process, or each as a run of its own deployment."""
    stage_attempts: int = Field(default=3, ge=1, le=20)
    """How often a stage that runs elsewhere is run while its runs crash (its pod was killed, its node went away)."""
    starts: int = Field(default=5, ge=1, le=100)
    """How often a parent whose stages run elsewhere may be started before it is given up: it crashed all the time."""


class FlowSettings(Layered):
    """What `retrain`, `reindex` and the verbs do where nobody asks for something else: defaults of forms and options.

    Bounds, gates and curation have tables of their own, from which the forms take their defaults, too.
    """

    table: ClassVar[str] = "flows"

    recipe: str = "auto"
    """Training recipe, by name; `lookalike train --help` lists them. `auto` chooses by photos, device and weights."""
    weights: str = ""
    """Starting weights; empty: the recipe's. See `lookalike train --help`."""
    shards: int = Field(default=0, ge=0, le=999)
    """Segments to spread each category over; 0: as many as the live index has, or 1."""
    shard_size: int = Field(default=4096, ge=1, le=1_000_000)
    """Photos of one code shard: few enough to make again after a crash, many enough to be few objects."""
    nodes: int = Field(default=1, ge=1, le=1000)
    """Machines that train together, each on all its GPUs; 1 trains in one process."""
    processes: str = Field(default="gpu", pattern=r"^(gpu|[1-9][0-9]{0,2})$")
    """Training processes of each machine: ``gpu`` for one on each GPU, or a number."""
    curate_parts: int = Field(default=1, ge=1, le=256)
    """Machines that share a curation's new photos, where these are more than one run (`run_photos` of the table
    `catalogue`)."""
    extract_parts: int = Field(default=1, ge=1, le=256)
    """Machines that share the extraction of a new release's codes."""


def traceback_wanted() -> bool:
    """Whether a command that fails is to show where, not only why (``LOOKALIKE_TRACEBACK``)."""
    return bool(os.environ.get("LOOKALIKE_TRACEBACK"))


def mysql_password() -> str | None:
    """Of ``MYSQL_PWD``, which MySQL's own programs read and its Python driver does not; None where it is not set."""
    return os.environ.get("MYSQL_PWD")


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


def let_waiting_threads_sleep() -> None:
    """Have OpenMP's threads sleep while they wait, unless the environment says otherwise; before torch is imported.

    By default they spin for milliseconds. On cores that others use, too, or under a quota, the thread that they wait
    for then does not run, and small steps take many times as long (docs/training.md).
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
