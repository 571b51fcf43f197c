"""Command `status`: progress of an experiment in one table, its scores, and the next commands."""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Hashable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from tgs_salt import files
from tgs_salt.evaluation.experiment import Experiment, TrainingRun
from tgs_salt.kaggle.submit import submission_tag, submit_command
from tgs_salt.report.notices import outdated_notice, retrain_command

REFRESH_SECONDS = 5.0


def status(folder: Path, competition: str = "", rerun_options: str = "") -> None:
    """Print the state and score of each fold, the ensemble's score, the output files and the next commands.

    Args:
        folder: Results folder of the experiment.
        competition: Kaggle competition to submit to; empty for a dataset without one.
        rerun_options: Options of snakemake with a leading space, such as ` --configfile mine.yaml`.
    """
    console = Console(soft_wrap=True, highlight=False)
    experiment = Experiment(folder)
    console.print(folds_table(experiment))
    outdated = outdated_notice(experiment)
    if outdated is not None:
        console.print(f"{outdated}. To retrain:\n  {retrain_command(experiment, rerun_options)}")
    decision = experiment.decision
    if decision is None:
        console.print("not finished yet; run the same snakemake command again to continue")
        return
    # Compare times only: a retrained fold may have the same bytes, which changes no score.
    scored_at = experiment.paths.threshold_json.stat().st_mtime
    newer = [path for path in folder.glob("models/*/fold*/model.pt") if path.stat().st_mtime > scored_at]
    if newer:
        console.print(
            f"{newer[0]} is newer than the scores below, which may be out of date; run the same snakemake command "
            "again to update them"
        )
    untrained = [run.title for run in experiment.training_runs if not run.done]
    if untrained:
        console.print(f"{untrained[0]} is not trained; run the same snakemake command again to continue")
    console.print(
        f"cross-fitted score  {decision['cross_fitted_score']:.4f}   (in-sample {decision['score']:.4f}, "
        f"at 0.5 without minimum area {decision['score_at_half']:.4f}, {decision['tiles']:,} tiles)"
    )
    console.print(
        f"threshold           byte >= {decision['threshold']}, minimum area {decision['min_area']} pixels per tile"
    )
    for label, path in (("submission", experiment.paths.submission), ("report", experiment.paths.report)):
        if path.exists():
            console.print(f"{label:<20}{path}")
    if untrained:
        return
    console.print("\nnext:")
    for purpose, command in _next_commands(experiment, competition, rerun_options):
        console.print(f"  # {purpose}\n  {command}")


def watch(folder: Path, refresh_seconds: float = REFRESH_SECONDS) -> None:
    """Show the table of folds live until all of them are trained, or until Ctrl-C.

    Reads small files only, so it also works from another terminal or from a cluster's login node.
    """
    experiment = Experiment(folder)
    console = Console(highlight=False)
    with Live(folds_table(experiment), console=console, auto_refresh=False, transient=True) as live:
        while not (experiment.training_runs and all(run.done for run in experiment.training_runs)):
            time.sleep(refresh_seconds)
            experiment = Experiment(folder)
            live.update(folds_table(experiment), refresh=True)


def folds_table(experiment: Experiment) -> Table:
    """Return a table with a row for each model and fold: its state, epoch and score so far."""
    table = Table(title=str(experiment.folder), title_justify="left")
    for column in ("model", "fold", "tiles", "at 0.5", "cross-fitted", "epoch", "state"):
        table.add_column(column, justify="left" if column in ("model", "state") else "right")
    scores = {} if experiment.scores is None else {
        (row["model"], row["fold"]): row for row in experiment.scores.to_dict("records")
    }  # fmt: skip
    several = len({model for model, _ in scores} - {"ensemble"}) > 1  # a single model is the ensemble
    for (model, fold), row in scores.items():
        if model == "ensemble" and several:
            table.add_row(model, str(fold), *_score_cells(row))
    for run in experiment.training_runs:
        cells = _run_cells(experiment, run, scores.get((run.model, run.fold)))
        table.add_row(run.model, str(run.fold), *cells)
    return table


def _score_cells(row: dict[Hashable, Any]) -> tuple[str, str, str]:
    """Return the cells `tiles` to `cross-fitted` of a row of scores.csv."""
    return f"{row['tiles']:,}", f"{row['score_at_half']:.4f}", f"{row['cross_fitted_score']:.4f}"


def _run_cells(experiment: Experiment, run: TrainingRun, scores: dict[Hashable, Any] | None) -> tuple[str, ...]:
    """Return the cells `tiles` to `state` of a training run; `scores` is its row of scores.csv."""
    history, timing = run.history(), run.timing() or {}
    epochs = 0 if history is None else len(history)
    total = experiment.settings.get("models", {}).get(run.model, {}).get("epochs")
    last_score = f"{history['score'].iloc[-1]:.4f}" if history is not None and epochs else ""
    state = _state(run)
    if timing and state == "done":
        state = f"done, {timing['seconds']:,.0f} s"
    return (
        *(_score_cells(scores) if scores and run.done else ("", last_score, "")),
        f"{epochs}/{total}" if total else str(epochs or ""),
        state,
    )


def _state(run: TrainingRun) -> str:
    path = run.paths.checkpoints / "holder.txt"
    holder = path.read_text().strip() if path.exists() else ""
    if run.started and not _has_exited(holder):
        return f"running: {holder}" if holder else "running"
    if run.done:
        return "done"
    return "stopped; resumes on the next run" if run.started else "waiting"


def _has_exited(holder: str) -> bool:
    """Return whether the process of a holder.txt has exited; False if it is on another machine."""
    match = re.fullmatch(r"process (\d+) on (.+)", holder)
    if match is None or match[2] != platform.node():
        return False
    try:
        os.kill(int(match[1]), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _next_commands(experiment: Experiment, competition: str, rerun_options: str) -> list[tuple[str, str]]:
    """Return purpose and command of each next step."""
    submission = experiment.paths.submission
    if competition and submission.exists():
        # `snakemake submit` recognizes a file that was submitted by hand by this tag in its message.
        tag = submission_tag(files.digest(submission.read_bytes()), experiment.folder.name)
        return [
            ("submit it once and store the receipt", f"snakemake submit --cores 1{rerun_options}"),
            ("or submit it by hand", submit_command(competition, submission, tag)),
        ]
    return [
        ("run the Kaggle competition on a GPU", "snakemake --cores all --resources gpu=1"),
        (
            "run it without a GPU",
            "snakemake --cores all --resources gpu=0 --configfile workflow/presets/cpu.yaml",
        ),
    ]
