"""The models of one experiment side by side: what each is worth beside the first, tile by tile.

    python -m tgs_salt compare results/ablations

Variants are entries of `models`, on the same folds and under the same rule of choosing thresholds, so each tile has a
score by every variant and the differences are paired.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table

from tgs_salt.decision.votes import out_of_fold
from tgs_salt.errors import UserError
from tgs_salt.report import measures
from tgs_salt.report.artefacts import Experiment
from tgs_salt.report.judge import judge_predictions


@dataclass(frozen=True)
class Variant:
    """A model and the cross-fitted scores (n,) float64 of the tiles of the used folds."""

    model: str
    scores: np.ndarray


def variants(experiment: Experiment, threads: int = 1) -> list[Variant]:
    """The voting models in the order of the settings; UserError while there is no decision."""
    decision, folds, masks = experiment.decision, experiment.folds, experiment.array("survey/train_masks.npy")
    if decision is None or folds is None or masks is None:
        raise UserError(f"{experiment.folder}: no decision yet; run snakemake to the end first.")
    used = decision["folds"]
    fold_of = folds["fold"].to_numpy()
    fold_of = fold_of[np.isin(fold_of, used)]
    found = []
    for model in decision["models"]:
        paths = [voter.predictions("oof") for voter in experiment.voters if voter.model == model]
        oof = out_of_fold(paths, used, fold_of, masks.shape[1:])
        judged = judge_predictions(experiment, oof, threads)
        found.append(Variant(model, judged.scores))
    return found


def compare_models(experiment: Experiment, threads: int = 1) -> None:
    """Print a row for each voting model: its score, and what it gains over the first one with its interval."""
    first, *others = variants(experiment, threads)
    if not others:
        raise UserError(
            f"{experiment.folder}: only {first.model} votes; name a second experiment, or let more models vote "
            "(ensemble.models)."
        )
    table = Table(title=f"{len(first.scores):,} tiles out of fold, cross-fitted score", title_justify="left")
    for column in ("model", "score", f"more than {first.model}", "95 % over tiles", "tiles won", "lost"):
        table.add_column(column, justify="left" if column == "model" else "right")
    table.add_row(first.model, f"{first.scores.mean():.4f}", "", "", "", "")
    for variant in others:
        gain = variant.scores - first.scores
        low, high = measures.interval(gain)
        table.add_row(
            variant.model, f"{variant.scores.mean():.4f}", f"{gain.mean():+.4f}", f"{low:+.4f} to {high:+.4f}",
            f"{(gain > 0).sum():,}", f"{(gain < 0).sum():,}",
        )  # fmt: skip
    console = Console(soft_wrap=True, highlight=False)
    console.print(table)
    console.print(
        "The interval holds the trained models fixed; the same model trained anew moves by about 0.007 a fold."
    )
