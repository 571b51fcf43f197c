"""The models of one experiment side by side: what each is worth beside the first, tile by tile.

    python -m tgs_salt compare results/ablations

Variants are entries of `models`, on the same folds and under the same rule of choosing thresholds, so each tile has a
score by every variant and the differences are paired.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from tgs_salt.errors import UserError
from tgs_salt.evaluation import statistics
from tgs_salt.evaluation.experiment import Experiment
from tgs_salt.evaluation.out_of_fold import evaluate_predictions
from tgs_salt.postprocessing.ensemble_selection import out_of_fold


@dataclass(frozen=True)
class Variant:
    """A model and the cross-fitted scores (n,) float64 of the tiles of the used folds."""

    model: str
    scores: np.ndarray


def variants(experiment: Experiment, threads: int = 1) -> list[Variant]:
    """The models with predictions of every fold that is trained, in the order of the settings.

    No decision is needed, and no test tile; UserError where there is no model.
    """
    folds, masks = experiment.folds, experiment.array("data/train_masks.npy")
    predictions: dict[str, dict[int, Path]] = {}
    for training in experiment.trainings:
        predictions.setdefault(training.model, {})[training.fold] = training.predictions("oof")
    whole = {model: paths for model, paths in predictions.items() if all(path.exists() for path in paths.values())}
    if folds is None or masks is None or not whole:
        raise UserError(f"{experiment.folder}: no model has predicted all of its folds yet; run snakemake first.")
    found = []
    for model, paths in whole.items():
        used = sorted(paths)
        fold_of = folds["fold"].to_numpy()
        oof = out_of_fold([paths[fold] for fold in used], used, fold_of[np.isin(fold_of, used)], masks.shape[1:])
        found.append(Variant(model, evaluate_predictions(experiment, used, oof, threads).scores))
    return found


def compare_models(experiment: Experiment, threads: int = 1) -> None:
    """Print a row for each model: its score, and what it gains over the first one with its interval."""
    first, *others = variants(experiment, threads)
    if not others:
        raise UserError(
            f"{experiment.folder}: {first.model} is its only model; name a second experiment, or train more models "
            "(those in ensemble.models)."
        )
    table = Table(title=f"{len(first.scores):,} tiles out of fold, cross-fitted score", title_justify="left")
    for column in ("model", "score", f"more than {first.model}", "95 % over tiles", "tiles won", "lost"):
        table.add_column(column, justify="left" if column == "model" else "right")
    table.add_row(first.model, f"{first.scores.mean():.4f}", "", "", "", "")
    for variant in others:
        gain = variant.scores - first.scores
        low, high = statistics.interval(gain)
        table.add_row(
            variant.model, f"{variant.scores.mean():.4f}", f"{gain.mean():+.4f}", f"{low:+.4f} to {high:+.4f}",
            f"{(gain > 0).sum():,}", f"{(gain < 0).sum():,}",
        )  # fmt: skip
    console = Console(soft_wrap=True, highlight=False)
    console.print(table)
    console.print("The interval holds the trained models fixed; trained from another seed, each would differ as well.")
