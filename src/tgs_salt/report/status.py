"""`status`: how far an experiment is, in one table, and what to type next."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from tgs_salt import files
from tgs_salt.errors import UserError
from tgs_salt.submission.submit import command_line, token


def status(experiment: Path, competition: str = "", same: str = "") -> None:
    """Print the scores of the folds and of the ensemble, the decision, where things are and the next commands.

    `competition` is where the submission would be sent; empty for a survey that no competition asks about.
    `same` are the options of snakemake that the experiment was run with, such as ` --configfile mine.yaml`.
    """
    if not experiment.is_dir():
        raise UserError(f"{experiment}: no such folder; name an experiment's results, such as results/demo.")
    console = Console(soft_wrap=True, highlight=False)
    console.print(_folds(experiment))
    decision = experiment / "threshold.json"
    if not decision.exists():
        console.print(f"not finished yet; to go on: snakemake --cores all --resources gpu=...{same}")
        return
    newer = [
        path for path in experiment.glob("models/*/fold*/model.pt") if path.stat().st_mtime > decision.stat().st_mtime
    ]
    if newer:
        console.print(
            f"{newer[0]} is newer than these scores; to bring them up: snakemake --cores all --resources gpu=...{same}"
        )
        return
    chosen = files.read_json(decision)
    console.print(
        f"cross-fitted score  {chosen['cross_fitted_score']:.4f}   (in-sample {chosen['score']:.4f}, "
        f"at 0.5 without minimum area {chosen['score_at_half']:.4f}, {chosen['tiles']:,} tiles)"
    )
    console.print(f"threshold           byte >= {chosen['threshold']}, at least {chosen['min_area']} pixels a tile")
    for what, name in (("submission", "submission.csv"), ("report", "report.html")):
        if (experiment / name).exists():
            console.print(f"{what:<20}{experiment / name}")
    console.print("\nnext:")
    for purpose, command in _next(experiment, competition, same):
        console.print(f"  # {purpose}\n  {command}")


def _folds(experiment: Path) -> Table:
    table = Table(title=str(experiment), title_justify="left")
    for column in ("model", "fold", "tiles", "score at 0.5", "cross-fitted", "trained in", "tiles/s"):
        table.add_column(column, justify="left" if column == "model" else "right")
    scores = experiment / "scores.csv"
    if scores.exists():
        for row in pd.read_csv(scores).to_dict("records"):
            seconds, speed = _timing(experiment / "models" / str(row["model"]) / f"fold{row['fold']}")
            table.add_row(
                str(row["model"]), str(row["fold"]), f"{row['tiles']:,}", f"{row['score_at_half']:.4f}",
                f"{row['cross_fitted_score']:.4f}", seconds, speed,
            )  # fmt: skip
        return table
    for folder in sorted(experiment.glob("models/*/fold*")):
        done = (folder / "model.pt").exists()
        seconds, speed = _timing(folder)
        state = "trained" if done else "in training" if (folder / "resume").exists() else "waiting"
        table.add_row(folder.parent.name, folder.name.removeprefix("fold"), "", state, "", seconds, speed)
    return table


def _timing(fold: Path) -> tuple[str, str]:
    if not (fold / "timing.json").exists():
        return "", ""
    timing = files.read_json(fold / "timing.json")
    return f"{timing['seconds']:,.0f} s", f"{timing['tiles_per_second']:,.0f}"


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
