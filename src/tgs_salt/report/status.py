"""`status`: how far an experiment is, in one table, and what to type next; also while others train it."""

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
from tgs_salt.evaluation.experiment import Experiment, Training
from tgs_salt.kaggle.submit import command_line, token
from tgs_salt.report import older

SECONDS_BETWEEN_LOOKS = 5.0


def status(experiment: Path, competition: str = "", same: str = "") -> None:
    """Print the scores of the folds and of the ensemble, the decision, where things are and the next commands.

    `competition` is where the submission would be sent; empty for a dataset that no competition asks about.
    `same` are the options of snakemake that the experiment was run with, such as ` --configfile mine.yaml`.
    """
    console = Console(soft_wrap=True, highlight=False)
    found = Experiment(experiment)
    console.print(folds_table(found))
    by_older_code = older.notice(found)
    if by_older_code is not None:
        console.print(f"{by_older_code}; to train them again:\n  {older.command(found, same)}")
    chosen = found.decision
    if chosen is None:
        console.print("not finished yet; the snakemake command that began it goes on from here")
        return
    # Times alone: a fold that was trained again to the same bytes is newer as well, and changes nothing.
    decided = (experiment / "threshold.json").stat().st_mtime
    newer = [path for path in experiment.glob("models/*/fold*/model.pt") if path.stat().st_mtime > decided]
    if newer:
        console.print(
            f"{newer[0]} is newer than these scores; the snakemake command that began it brings them up, "
            "if its bytes have changed"
        )
    missing = [training.title for training in found.trainings if not training.done]
    if missing:
        console.print(f"{missing[0]} is not trained; the snakemake command that began it goes on from here")
    console.print(
        f"cross-fitted score  {chosen['cross_fitted_score']:.4f}   (in-sample {chosen['score']:.4f}, "
        f"at 0.5 without minimum area {chosen['score_at_half']:.4f}, {chosen['tiles']:,} tiles)"
    )
    console.print(f"threshold           byte >= {chosen['threshold']}, at least {chosen['min_area']} pixels a tile")
    for what, name in (("submission", "submission.csv"), ("report", "report.html")):
        if (experiment / name).exists():
            console.print(f"{what:<20}{experiment / name}")
    if missing:
        return
    console.print("\nnext:")
    for purpose, command in _next(experiment, competition, same):
        console.print(f"  # {purpose}\n  {command}")


def watch(experiment: Path, every: float = SECONDS_BETWEEN_LOOKS) -> None:
    """Show the folds until all of them are trained or the reader has seen enough (Ctrl-C).

    It only reads small files: another terminal, or a cluster's login node that shares the folder, will do.
    """
    found = Experiment(experiment)
    console = Console(highlight=False)
    with Live(folds_table(found), console=console, auto_refresh=False, transient=True) as live:
        while not (found.trainings and all(training.done for training in found.trainings)):
            time.sleep(every)
            found = Experiment(experiment)
            live.update(folds_table(found), refresh=True)


def folds_table(experiment: Experiment) -> Table:
    """Each model and fold: done, running or waiting, with its score so far."""
    table = Table(title=str(experiment.folder), title_justify="left")
    for column in ("model", "fold", "tiles", "at 0.5", "cross-fitted", "epoch", "state"):
        table.add_column(column, justify="left" if column in ("model", "state") else "right")
    scores = {} if experiment.scores is None else {
        (row["model"], row["fold"]): row for row in experiment.scores.to_dict("records")
    }  # fmt: skip
    several = len({model for model, _ in scores} - {"ensemble"}) > 1  # a single vote is the ensemble
    for (model, fold), row in scores.items():
        if model == "ensemble" and several:
            table.add_row(model, str(fold), *_scored(row))
    for training in experiment.trainings:
        scored = scores.get((training.model, training.fold))
        table.add_row(training.model, str(training.fold), *_progress(experiment, training, scored))
    return table


def _scored(row: dict[Hashable, Any]) -> tuple[str, str, str]:
    return f"{row['tiles']:,}", f"{row['score_at_half']:.4f}", f"{row['cross_fitted_score']:.4f}"


def _progress(experiment: Experiment, training: Training, scored: dict[Hashable, Any] | None) -> tuple[str, ...]:
    """The columns of a training from `tiles` on."""
    history, timing = training.history(), training.timing() or {}
    epochs = 0 if history is None else len(history)
    wanted = experiment.settings.get("models", {}).get(training.model, {}).get("epochs")
    so_far = f"{history['score'].iloc[-1]:.4f}" if history is not None and epochs else ""
    state = _state(training)
    if timing and state == "done":
        state = f"done, {timing['seconds']:,.0f} s"
    return (
        *(_scored(scored) if scored and training.done else ("", so_far, "")),
        f"{epochs}/{wanted}" if wanted else str(epochs or ""),
        state,
    )


def _state(training: Training) -> str:
    holder = training.folder / "checkpoints" / "holder.txt"
    who = holder.read_text().strip() if holder.exists() else ""
    if training.started and not _is_dead(who):
        return f"running: {who}" if who else "running"
    if training.done:
        return "done"
    return "stopped; goes on when run again" if training.started else "waiting"


def _is_dead(holder: str) -> bool:
    """Whether a holder of this machine is gone; nobody can tell of another machine."""
    found = re.fullmatch(r"process (\d+) on (.+)", holder)
    if found is None or found[2] != platform.node():
        return False
    try:
        os.kill(int(found[1]), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _next(experiment: Path, competition: str, same: str) -> list[tuple[str, str]]:
    submission = experiment / "submission.csv"
    if competition and submission.exists():
        # The token in the message is what keeps `snakemake submit` from sending the same file again.
        message = token(files.digest(submission.read_bytes()), experiment.name)
        return [
            ("send it, once, and keep the receipt", f"snakemake submit --cores 1{same}"),
            ("or by hand", command_line(competition, submission, message)),
        ]
    return [
        ("the real competition, on a GPU", "snakemake --cores all --resources gpu=1"),
        ("the same without a GPU", "snakemake --cores all --resources gpu=0 --configfile workflow/presets/cpu.yaml"),
    ]
