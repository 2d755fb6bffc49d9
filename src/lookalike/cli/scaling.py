"""`rank` and `plan`: an index that outgrows one process, and what a load of a certain size needs."""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated

import typer

from lookalike.cli.options import Json, ProbePort, Store, Threads
from lookalike.cli.output import Output
from lookalike.errors import SettingsError
from lookalike.settings import load
from lookalike.workplace import open_workplace

if TYPE_CHECKING:
    from lookalike.sizing import Catalogue, Cluster, Load, Plan
    from lookalike.sizing_runs import Inventory, Runs

_CATALOGUE, _NODES, _MEASURED = "The catalogue", "The nodes", "What was measured"
_INVENTORY = "The inventory"
_BYTES = {"": 1.0, "B": 1.0, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12} | {
    "KIB": 2.0**10,
    "MIB": 2.0**20,
    "GIB": 2.0**30,
    "TIB": 2.0**40,
}


def rank(
    part: Annotated[
        str,
        typer.Option(
            metavar="P/N",
            help="Hold every shard whose number is P modulo N. [bold]ordinal/N[/bold] takes P from the "
            "number of this pod in its StatefulSet.",
            envvar="LOOKALIKE_PART",
        ),
    ] = "0/1",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8001,
    probe_port: ProbePort = None,
    store: Store = None,
    threads: Threads = 0,
) -> None:
    """Hold some shards of the live index and scan them for search processes.

    Build an index in shards ([bold]lookalike index --shards 3[/bold]), start a ranker for each part, each twice
    if one may fail, and give a search process all their addresses:

    [dim]Example:[/dim] lookalike rank --part 0/3 --port 8001 &
    lookalike serve --rankers http://127.0.0.1:8001 --rankers http://127.0.0.1:8002 ...
    """
    from lookalike import serving

    place = open_workplace(store, threads=threads)
    # search pods are few and ask much: no limit of connections
    config = load(serving.ServingConfig, connections_per_address=0)
    serving.run_ranker(
        place.store.uri,
        part,
        host=host,
        port=port,
        probe_port=probe_port,
        threads=place.threads,
        cache_dir=place.cache_dir,
        config=config,
    )


def plan(
    listings: Annotated[
        float, typer.Option(min=1, help="Listings to search: 1e9 is a billion.", show_default=False)
    ],
    qps: Annotated[float, typer.Option(help="Searches a second at the busiest time.")] = 50,
    p99: Annotated[
        str, typer.Option(metavar="TIME", help="99 of 100 searches are to be answered within: 200ms, 0.5s.")
    ] = "300ms",
    categories: Annotated[
        int, typer.Option(min=1, help="Leaf categories.", rich_help_panel=_CATALOGUE)
    ] = 1000,
    opened: Annotated[
        float,
        typer.Option(
            help="Categories that a search opens, in the mean: with a probability mass of 0.95 one or two.",
            rich_help_panel=_CATALOGUE,
        ),
    ] = 1.5,
    skew: Annotated[
        float,
        typer.Option(
            help="How many times the mean category the one is that a search falls into.",
            rich_help_panel=_CATALOGUE,
        ),
    ] = 3.0,
    bits: Annotated[int, typer.Option(help="Bits of a code.", rich_help_panel=_CATALOGUE)] = 4096,
    aspects: Annotated[
        int, typer.Option(min=0, help="Aspects that listings state.", rich_help_panel=_CATALOGUE)
    ] = 5,
    bare: Annotated[
        bool,
        typer.Option(
            "--bare",
            help="Search pods keep no places of photos (`lookalike serve --bare`).",
            rich_help_panel=_CATALOGUE,
        ),
    ] = False,
    photos: Annotated[
        float,
        typer.Option(min=1, help="Photos of a listing, in the mean; all train.", rich_help_panel=_CATALOGUE),
    ] = 1.0,
    changed: Annotated[
        float | None,
        typer.Option(
            min=1,
            help="Listings that are new or have new photos each hour. [dim](default: one in a thousand)[/dim]",
            rich_help_panel=_INVENTORY,
        ),
    ] = None,
    photo_size: Annotated[
        str,
        typer.Option(metavar="SIZE", help="Bytes of a photo as the shop has it.", rich_help_panel=_INVENTORY),
    ] = "150KB",
    node_memory: Annotated[
        str, typer.Option(metavar="SIZE", help="Memory of a node.", rich_help_panel=_NODES)
    ] = "64GiB",
    node_cores: Annotated[int, typer.Option(min=1, help="Cores of a node.", rich_help_panel=_NODES)] = 16,
    pod_cores: Annotated[int, typer.Option(min=1, help="Cores of each pod.", rich_help_panel=_NODES)] = 2,
    copies: Annotated[
        int, typer.Option(min=1, help="Pods that hold the same, at least.", rich_help_panel=_NODES)
    ] = 2,
    overlap: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="How much of the next index fits beside the one in use; less means slower searches while "
            "an index is published.",
            rich_help_panel=_NODES,
        ),
    ] = 1.0,
    encode_core_ms: Annotated[
        float | None,
        typer.Option(
            help="Core-milliseconds to encode a photo. [dim](default: a ResNet-50's, 86)[/dim]",
            rich_help_panel=_MEASURED,
        ),
    ] = None,
    measure: Annotated[
        bool,
        typer.Option(
            "--measure", help="Measure the scan on this machine first (2 s).", rich_help_panel=_MEASURED
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Say how many shards, pods and nodes a catalogue and a load need, and what memory, CPU and disk its runs do.

    Runs are those that make the first index, and those of every hour after it.
    The numbers come from benchmarks on one machine; docs/operations.md, "Sizing", has the formulas and says which.
    A plan is where to begin: measure your own release and photos before you order machines.

    [dim]Example:[/dim] lookalike plan --listings 1e9 --qps 500 --p99 300ms --bare
    """
    from lookalike import sizing, sizing_runs

    out = Output(as_json=as_json)
    measured = load(sizing.Measured, encode_core_ms=encode_core_ms)
    if measure:
        from lookalike.index.speed import measure_scan

        measured = replace(measured, scan_gb_s=measure_scan(bits))
        out.note(f"this machine scans {measured.scan_gb_s:.1f} GB of codes a second")
    catalogue = sizing.Catalogue(
        listings,
        categories=categories,
        skew=skew,
        opened=opened,
        bits=bits,
        aspects=aspects,
        bare=bare,
        photos=photos,
    )
    busiest = sizing.Load(qps, parse_ms(p99))
    cluster = sizing.Cluster(
        node_gb=parse_bytes(node_memory, "--node-memory") / 1e9,
        node_cores=node_cores,
        pod_cores=pod_cores,
        copies=copies,
        overlap=overlap,
        measured=measured,
    )
    inventory = sizing_runs.Inventory(
        max(1.0, listings / 1000) if changed is None else changed,
        photo_bytes=parse_bytes(photo_size, "--photo-size"),
        measured=load(sizing_runs.MeasuredRuns),
    )
    found = sizing.plan(catalogue, busiest, cluster)
    runs = sizing_runs.plan_runs(catalogue, inventory, measured, shards=found.shards)
    show_plan(out, found, runs, catalogue, busiest, cluster, inventory)


def show_plan(
    out: Output,
    found: Plan,
    runs: Runs,
    catalogue: Catalogue,
    load: Load,
    cluster: Cluster,
    inventory: Inventory,
) -> None:
    """A plan as tables, with the sentences that say what to do with it."""
    cores = cluster.pod_cores
    rows: list[tuple[object, ...]] = [
        ("search pods", found.search_pods, cores, f"{found.search_pod_gb:.1f}", f"{found.search_disk_gb:.0f}")
    ]
    if found.shards:
        rows.append(
            ("ranker pods", found.rankers, cores, f"{found.ranker_gb:.1f}", f"{found.ranker_disk_gb:.0f}")
        )
    title = (
        f"{catalogue.listings:,.0f} listings, {load.qps:g} searches a second, p99 within {load.p99_ms:g} ms"
    )
    out.table(title, ("", "pods", "cores", "memory GB", "disk GB"), rows)
    show_runs(out, runs, inventory)
    kept = (
        f"the index in [bold]{found.shards} shards[/bold] (`lookalike index --shards {found.shards}`), "
        f"each held by {found.rankers_per_shard} rankers"
        if found.shards
        else "the whole index in every search pod"
    )
    text = (
        f"for {catalogue.listings:,.0f} listings, {load.qps:g} searches a second, p99 within {load.p99_ms:g} ms:\n"
        f"[bold]{found.nodes} nodes[/bold] of {cluster.node_cores} cores and {cluster.node_gb:.0f} GB "
        f"({found.node_hours:,} node hours a month): {kept}\n"
        f"expected p99 {found.p99_ms:.0f} ms: encode {found.encode_ms:.0f} ms, scan {found.scan_ms:.1f} ms over all "
        f"shards for {found.scanned:,.0f} listings, the rest waiting\n"
        f"index {found.index_gb:,.1f} GB ({catalogue.listing_bytes:.0f} bytes a listing)\n"
        f"{told_of_runs(runs)}"
    )
    value = {
        "catalogue": asdict(catalogue),
        "load": asdict(load),
        "cluster": asdict(cluster),
        "plan": asdict(found) | {"rankers": found.rankers, "node_hours": found.node_hours},
        "inventory": asdict(inventory),
        "runs": asdict(runs) | {"job_variables": {step: dict(asked) for step, asked in runs.asks.items()}},
    }
    out.result(value, text)


def show_runs(out: Output, runs: Runs, inventory: Inventory) -> None:
    """Runs of the pipeline and what a pod fetches, a line each."""
    rows: list[tuple[object, ...]] = []
    for when, each, fetched in (
        ("first", runs.first, runs.first_fetch_gb),
        ("hourly", runs.hourly, runs.hourly_fetch_gb),
    ):
        for run in each:
            cpu = "the recipe's" if run.cpu_s is None else _time(run.cpu_s)
            moved = (_size(run.read_gb), _size(run.written_gb), _size(run.disk_gb))
            rows.append((when, run.step, f"{run.memory_gb:.1f}", cpu, f"{run.photos:,.0f}", *moved))
        rows.append((when, "each pod fetches", "", "", "", _size(fetched), "", ""))
    title = f"runs of the pipeline; hourly with {inventory.changed:,.0f} listings new or with new photos"
    out.table(title, ("", "run", "memory GB", "CPU", "photos read", "reads", "writes", "disk"), rows)


def told_of_runs(runs: Runs) -> str:
    """Which job variables to raise, and whether the hour suffices."""
    asked = "\n".join(
        f"  {step}: " + ", ".join(f"{name}={value}" for name, value in variables.items())
        for step, variables in runs.asks.items()
    )
    told = (
        f"runs need more than the templates of k8s/jobs give; job variables (docs/operations.md, Jobs):\n{asked}"
        if asked
        else "runs fit the templates of k8s/jobs as they are"
    )
    if runs.hourly_cpu_s > 3600:
        told += f"\na re-index takes {_time(runs.hourly_cpu_s)} of CPU: give its runs more cores, or do it less often"
    return told


def _time(seconds: float) -> str:
    """CPU time for a person."""
    for unit, length in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds:.0f} s"


def _size(gb: float) -> str:
    """Bytes for a person, given in GB; nothing for none."""
    if not gb:
        return ""
    for unit, size in (("TB", 1e3), ("GB", 1.0), ("MB", 1e-3)):
        if gb >= size:
            return f"{gb / size:,.1f} {unit}"
    return f"{gb * 1e6:,.0f} kB"


def parse_ms(text: str) -> float:
    """``200ms`` or ``0.5s`` in milliseconds. Raises `SettingsError`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s)", text.strip(), re.ASCII)
    if not match:
        raise SettingsError(f"--p99 {text!r}: write it as 200ms or 0.5s")
    return float(match[1]) * (1000 if match[2] == "s" else 1)


def parse_bytes(text: str, option: str) -> float:
    """``64GiB`` or ``64GB`` in bytes. Raises `SettingsError` naming the option."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-zA-Z]*)", text.strip(), re.ASCII)
    if not match or match[2].upper() not in _BYTES:
        raise SettingsError(f"{option} {text!r}: write it as 64GiB, 64GB or 150KB")
    return float(match[1]) * _BYTES[match[2].upper()]
