"""Commands for who looks on: report, show, compare, status."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tgs_salt.cli.app import Threads, app


@app.command()
def report(
    experiment: Annotated[Path, typer.Argument(help="results folder of the experiment, such as results/demo")],
    settings: Annotated[
        str | None,
        typer.Option("--settings", help="the effective settings, as a JSON object; settings.json if left out"),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="report.html of the experiment if left out")] = None,
    threads: Threads = 1,
) -> None:
    """Write the experiment's page, of whatever is there."""
    from tgs_salt.report.page import page

    page(experiment, output or experiment / "report.html", settings, threads)


@app.command()
def plot_tiles(
    experiment: Annotated[Path, typer.Argument(help="results folder of the experiment, such as results/demo")],
    ids: Annotated[list[str], typer.Argument(help="tiles, labelled or not")],
    output: Annotated[
        Path | None, typer.Option(help="folder for the pictures; the experiment's tiles/ if left out")
    ] = None,
) -> None:
    """Draw tiles as PNGs: seismic image, truth, probability, decision, and each fold's probability."""
    from tgs_salt.report.plot_tiles import plot_tiles

    for path in plot_tiles(experiment, ids, output or experiment / "tiles"):
        print(path)


@app.command()
def compare(
    one: Annotated[Path, typer.Argument(metavar="A", help="results folder of an experiment")],
    other: Annotated[
        Path | None, typer.Argument(metavar="[B]", help="that of another; without it A's models are compared")
    ] = None,
    threads: Threads = 1,
) -> None:
    """Put two experiments side by side (settings that differ, score difference tile by tile), or one's models."""
    from tgs_salt.evaluation.experiment import Experiment
    from tgs_salt.report.compare import compare
    from tgs_salt.report.variants import compare_models

    if other is None:
        compare_models(Experiment(one), threads)
        return
    compare(one, other, threads)


@app.command()
def status(
    experiment: Annotated[Path, typer.Argument(help="results folder of the experiment, such as results/demo")],
    competition: Annotated[str, typer.Option(help="where the submission would go; nothing: nowhere")] = "",
    same: Annotated[str, typer.Option(help="options of snakemake that it was run with, for the commands")] = "",
    watch: Annotated[
        bool, typer.Option("--watch", help="look again every few seconds, until all folds are trained")
    ] = False,
) -> None:
    """Show how far an experiment is, its scores, and what to type next."""
    from tgs_salt.report.status import status
    from tgs_salt.report.status import watch as look_on

    if watch:
        look_on(experiment)
    status(experiment, competition, same)
