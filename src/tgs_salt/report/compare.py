"""Command `compare`: two experiments, or the models of one experiment, with paired differences of tile scores.

python -m tgs_salt compare results/tgs results/try2
python -m tgs_salt compare results/ablations
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from tgs_salt.errors import UserError
from tgs_salt.evaluation import statistics
from tgs_salt.evaluation.experiment import Experiment
from tgs_salt.evaluation.out_of_fold import evaluate_oof, evaluate_predictions
from tgs_salt.postprocessing.ensemble_selection import assemble_oof

MAX_TILES = 5  # listed for each experiment
NOT_COVERED = "The interval does not cover the randomness of training: another seed also changes the score."


@dataclass(frozen=True)
class PairedScores:
    """Cross-fitted scores of the n tiles that both experiments predicted out of fold, in the first one's order."""

    ids: list[str]
    first: np.ndarray  # (n,) float64
    second: np.ndarray  # (n,) float64

    @property
    def difference(self) -> np.ndarray:
        """Return second - first, (n,) float64."""
        return self.second - self.first


@dataclass(frozen=True)
class ModelScores:
    """A model and the cross-fitted scores (n,) float64 of the tiles of its folds."""

    model: str
    scores: np.ndarray


def compare_experiments(first_folder: Path, second_folder: Path, threads: int = 1) -> None:
    """Print the settings that differ, both scores, their paired difference with its interval, and the top tiles.

    Raises:
        UserError: An experiment has no score yet, or the two do not share the same labeled tiles.
    """
    first, second = Experiment(first_folder), Experiment(second_folder)
    console = Console(soft_wrap=True, highlight=False)
    changed = dict(diff_settings(first.settings, second.settings))
    table = Table(title="settings that differ", title_justify="left")
    for column in ("", str(first_folder), str(second_folder)):
        table.add_column(column)
    for key, (left, right) in changed.items():
        table.add_row(key, left, right)
    console.print(table if changed else _no_difference(first, second))
    pair = pair_scores(first, second, threads)
    difference = pair.difference
    low, high = statistics.bootstrap_interval(difference)
    console.print(f"\ncross-fitted score on the {len(pair.ids):,} tiles that both experiments predicted out of fold:")
    console.print(f"  {first_folder}  {pair.first.mean():.4f}\n  {second_folder}  {pair.second.mean():.4f}")
    console.print(f"difference  {difference.mean():+.4f}, 95 % interval over tiles {low:+.4f} to {high:+.4f}")
    better = second_folder if low > 0 else first_folder
    console.print(f"  {better} is better" if low > 0 or high < 0 else "  no significant difference")
    wins, losses = int((difference > 0).sum()), int((difference < 0).sum())
    console.print(
        f"tiles       {second_folder} better on {wins:,}, {first_folder} better on {losses:,}, "
        f"equal on {len(pair.ids) - wins - losses:,}"
    )
    for folder, gain in ((second_folder, difference), (first_folder, -difference)):
        top = [k for k in np.argsort(-gain, kind="stable")[:MAX_TILES] if gain[k] > 0]
        if top:
            console.print(f"  largest gains of {folder}: {', '.join(f'{pair.ids[k]} (+{gain[k]:.1f})' for k in top)}")
    console.print(NOT_COVERED)


def compare_models(experiment: Experiment, threads: int = 1) -> None:
    """Print a row for each model: its score, and its paired difference to the first model with its interval.

    Raises:
        UserError: There are fewer than two models with predictions of all of their folds.
    """
    first, *others = model_scores(experiment, threads)
    if not others:
        raise UserError(
            f"{experiment.folder}: {first.model} is its only model with predictions of all folds; name a second "
            "experiment, or add models to ensemble.models."
        )
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"cross-fitted score on {len(first.scores):,} out-of-fold tiles, paired difference to {first.model}:")
    table = Table()
    for column in ("model", "score", "difference", "95 % interval", "tiles better", "worse"):
        table.add_column(column, justify="left" if column == "model" else "right")
    table.add_row(first.model, f"{first.scores.mean():.4f}", "", "", "", "")
    for other in others:
        difference = other.scores - first.scores
        low, high = statistics.bootstrap_interval(difference)
        table.add_row(
            other.model, f"{other.scores.mean():.4f}", f"{difference.mean():+.4f}", f"{low:+.4f} to {high:+.4f}",
            f"{(difference > 0).sum():,}", f"{(difference < 0).sum():,}",
        )  # fmt: skip
    console.print(table)
    console.print(NOT_COVERED)


def pair_scores(first: Experiment, second: Experiment, threads: int = 1) -> PairedScores:
    """Return the scores of the tiles that both experiments predicted out of fold.

    Raises:
        UserError: An experiment has no score yet, they share no tile, or a tile's masks differ.
    """
    scores, salt = [], []
    for experiment in (first, second):
        evaluation = evaluate_oof(experiment, threads)
        if evaluation is None:
            raise UserError(f"{experiment.folder}: no score yet; run the workflow to the end first (snakemake).")
        ids = experiment.split("train")["id"].to_numpy()[evaluation.rows]
        scores.append(dict(zip(ids, evaluation.scores, strict=True)))
        salt.append(dict(zip(ids, evaluation.true_area, strict=True)))
    shared = [tile for tile in scores[0] if tile in scores[1]]
    if not shared:
        raise UserError(
            f"{first.folder} and {second.folder} have no tile in common; compare experiments on the same dataset."
        )
    for tile in shared:
        if salt[0][tile] != salt[1][tile]:
            raise UserError(
                f"tile {tile} has {salt[0][tile]} salt pixels in {first.folder} and {salt[1][tile]} in "
                f"{second.folder}; compare experiments on the same dataset."
            )
    return PairedScores(shared, *(np.array([by_id[tile] for tile in shared]) for by_id in scores))


def model_scores(experiment: Experiment, threads: int = 1) -> list[ModelScores]:
    """Return the scores of each model with predictions of all of its folds, in the order of the settings.

    Needs neither threshold.json nor test predictions.

    Raises:
        UserError: There is no such model.
    """
    folds, masks = experiment.folds, experiment.array(experiment.paths.train_masks)
    predictions: dict[str, dict[int, Path]] = {}
    for run in experiment.training_runs:
        predictions.setdefault(run.model, {})[run.fold] = run.predictions("oof")
    complete = {model: paths for model, paths in predictions.items() if all(path.exists() for path in paths.values())}
    if folds is None or masks is None or not complete:
        raise UserError(f"{experiment.folder}: no model has predictions of all of its folds yet; run snakemake first.")
    fold_of_tile = folds["fold"].to_numpy()
    scores = []
    for model, paths in complete.items():
        used = sorted(paths)
        tiles = fold_of_tile[np.isin(fold_of_tile, used)]
        oof = assemble_oof([paths[fold] for fold in used], used, tiles, masks.shape[1:])
        scores.append(ModelScores(model, evaluate_predictions(experiment, used, oof, threads).scores))
    return scores


def diff_settings(first: dict[str, Any], second: dict[str, Any]) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield the dotted keys whose values differ, with both values as text; `-` stands for a missing key."""
    left, right = dict(_flatten(first)), dict(_flatten(second))
    for key in dict.fromkeys([*left, *right]):
        values = left.get(key, "-"), right.get(key, "-")
        if values[0] != values[1]:
            yield key, values


def _flatten(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)


def _no_difference(first: Experiment, second: Experiment) -> str:
    for experiment in (first, second):
        if not experiment.settings:
            return f"{experiment.folder} has no settings.json; snakemake writes it when it starts."
    return "no setting differs"
