"""Commands that inspect an experiment: report, plot-tiles, compare, status."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tgs_salt.cli.app import ExperimentDir, Threads, app
from tgs_salt.layout import ExperimentPaths


@app.command()
def report(
    experiment: ExperimentDir,
    settings: Annotated[
        str | None,
        typer.Option(
            "--settings",
            hidden=True,
            help="Effective settings as a JSON object (default: the experiment's settings.json).",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Output file (default: report.html in the results folder).")
    ] = None,
    threads: Threads = 1,
) -> None:
    """Write the HTML report of an experiment.

    The report of an unfinished experiment covers the files that exist.
    """
    from tgs_salt.report.page import write_report

    write_report(experiment, output or ExperimentPaths(experiment).report, settings, threads)


@app.command()
def plot_tiles(
    experiment: ExperimentDir,
    ids: Annotated[list[str], typer.Argument(help="Ids of labeled or test tiles.")],
    output: Annotated[Path | None, typer.Option(help="Output folder (default: tiles/ in the results folder).")] = None,
) -> None:
    """Plot tiles with their masks and predictions as PNGs.

    A plot shows the image, true mask, probability, predicted mask, and the probability of each model and fold.
    """
    from tgs_salt.report.plot_tiles import plot_tiles

    for path in plot_tiles(experiment, ids, output or experiment / "tiles"):
        print(path)


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="Results folder of an experiment.")],
    second: Annotated[
        Path | None,
        typer.Argument(metavar="B", help="Results folder of another experiment (default: compare the models of A)."),
    ] = None,
    threads: Threads = 1,
) -> None:
    """Compare two experiments, or the models of one.

    Two experiments: settings that differ and paired differences of tile scores. One: each model against the first.
    """
    from tgs_salt.evaluation.experiment import Experiment
    from tgs_salt.report.compare import compare_experiments, compare_models

    if second is None:
        compare_models(Experiment(first), threads)
        return
    compare_experiments(first, second, threads)


@app.command()
def status(
    experiment: ExperimentDir,
    competition: Annotated[
        str, typer.Option(hidden=True, help="Competition that the suggested submit command names (default: none).")
    ] = "",
    rerun_options: Annotated[
        str, typer.Option(hidden=True, help="Snakemake options that the suggested commands repeat.")
    ] = "",
    watch: Annotated[
        bool, typer.Option("--watch", help="Refresh every few seconds until all folds are trained.")
    ] = False,
) -> None:
    """Show progress, scores and suggested next commands."""
    from tgs_salt.report import status as report_status

    if watch:
        report_status.watch(experiment)
    report_status.status(experiment, competition, rerun_options)
