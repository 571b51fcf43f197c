"""`threshold`: choose the threshold and the minimum area with the best out-of-fold score.

    python -m tgs_salt threshold --settings '{"threshold": {...}, "folds": {...}}' --ensemble .../ensemble/oof.npy ...

A pixel is salt if its probability byte is at least the threshold (0..255). A tile with fewer salt pixels than the
minimum area is empty. Every pair is evaluated exactly. The score of the best pair on the tiles that it was chosen on is
optimistic. The cross-fitted score is not: each fold is scored with the pair chosen on the other folds, and with
weights searched on them if `ensemble.weights` is `search`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tgs_salt import files
from tgs_salt.data.folds import COLUMNS as FOLD_COLUMNS
from tgs_salt.data.folds import assign_folds, read_folds
from tgs_salt.data.tiles import read_masks, read_table, read_tiles
from tgs_salt.errors import UserError
from tgs_salt.kernels import iou_score
from tgs_salt.log import log_and_echo, logger
from tgs_salt.postprocessing.ensemble_selection import EnsembleScorer, Weights, assemble_oof
from tgs_salt.postprocessing.threshold_search import CrossFit, ThresholdChoice, cross_fit, cross_fit_weights
from tgs_salt.settings import Folds, Threshold


def threshold(
    settings: Threshold, fold_settings: Folds, *, models: list[str], ensemble: Path, oof: list[Path], masks: Path,
    tiles: Path, folds: Path, output: Path, weights_searched: bool = False, threads: int = 1,
) -> None:  # fmt: skip
    """Write threshold.json, threshold.csv and scores.csv to the folder `output`.

    threshold.json is the decision with its scores, threshold.csv the score at each threshold, and scores.csv the scores
    of the ensemble and of each model by fold.

    Args:
        settings: Section `threshold`.
        fold_settings: Section `folds`.
        models: Names of the models.
        ensemble: oof.npy of the ensemble.
        oof: Out-of-fold predictions, ordered by model, then by fold.
        masks: train_masks.npy.
        tiles: tiles.csv.
        folds: folds.csv.
        output: Folder of the results.
        weights_searched: Whether the weights of the ensemble were searched on these tiles.
        threads: Number of threads.

    Raises:
        UserError: If the number of predictions is wrong, an array does not match its tiles, or a single fold has too
            few tiles for `threshold.inner_splits`.
    """
    selected_folds = fold_settings.selected_folds
    expected = len(models) * len(selected_folds)
    if len(oof) != expected:
        raise UserError(
            f"threshold: {len(models)} models on {len(selected_folds)} folds need {expected} --oof files, "
            f"found {len(oof)}."
        )
    ids = read_tiles(tiles, "train")["id"]
    fold_of = read_folds(folds, ids)
    rows = np.flatnonzero(np.isin(fold_of, selected_folds))
    fold_of = fold_of[rows]
    train_masks = np.asarray(read_masks(masks, (len(ids), None, None))[rows]).view(bool)
    ensemble_oof = np.asarray(files.read_array(ensemble, (len(ids), *train_masks.shape[1:]))[rows])
    # A single fold has no other folds to choose on, so its tiles are split again.
    split_kind = "folds" if len(selected_folds) > 1 else "inner_splits"
    if split_kind == "inner_splits" and len(rows) < settings.inner_splits:
        raise UserError(
            f"threshold.inner_splits: {settings.inner_splits} splits need at least {settings.inner_splits} tiles, but "
            f"fold {selected_folds[0]} has {len(rows)}; set fewer splits, or train more folds."
        )
    table = read_table(folds, FOLD_COLUMNS).iloc[rows]
    split_of = fold_of if split_kind == "folds" else assign_folds(table, settings.inner_splits, fold_settings.seed)

    paths_of_model = [oof[first : first + len(selected_folds)] for first in range(0, expected, len(selected_folds))]
    predictions = {
        model: assemble_oof(paths, selected_folds, fold_of, train_masks.shape[1:])
        for model, paths in zip(models, paths_of_model, strict=True)
    }
    scores: list[dict[str, Any]] = []
    for name, probabilities in [("ensemble", ensemble_oof), *predictions.items()]:
        choice, cross_fitted, score_table = cross_fit(
            probabilities, train_masks, split_of, settings.value, settings.min_area, threads
        )
        at_half = iou_score.score_bytes(probabilities, train_masks, iou_score.BYTE_HALF, threads=threads)
        if name == "ensemble":
            weights = None
            if weights_searched:
                scorer = EnsembleScorer(list(predictions.values()), train_masks, split_of, threads)
                cross_fitted, weights = cross_fit_weights(scorer, split_of, settings.value, settings.min_area)
            _write_decision(
                output, choice, cross_fitted, score_table, at_half, split_kind, selected_folds, models, weights
            )
        scores += _scores_by_fold(name, selected_folds, fold_of, at_half, cross_fitted, split_kind)
        logger.info(
            f"{name}: cross-fitted {cross_fitted.score:.4f}, in-sample {choice.score:.4f}, at 0.5 {at_half.mean():.4f}"
        )
    files.write_text(output / "scores.csv", pd.DataFrame(scores).to_csv(index=False, lineterminator="\n"))


def _scores_by_fold(
    name: str, selected_folds: list[int], fold_of: np.ndarray, at_half: np.ndarray, cross_fitted: CrossFit,
    split_kind: str,
) -> list[dict[str, Any]]:  # fmt: skip
    return [
        {
            "model": name, "fold": fold, "tiles": int((fold_of == fold).sum()),
            "score_at_half": float(at_half[fold_of == fold].mean()),
            "cross_fitted_score": cross_fitted.by_split[fold] if split_kind == "folds" else cross_fitted.score,
        }
        for fold in selected_folds
    ]  # fmt: skip


def _write_decision(
    output: Path, choice: ThresholdChoice, cross_fitted: CrossFit, score_table: np.ndarray, at_half: np.ndarray,
    split_kind: str, selected_folds: list[int], models: list[str], weights: dict[int, Weights] | None,
) -> None:  # fmt: skip
    tiles = len(at_half)
    curve = pd.DataFrame(
        {
            "threshold": np.arange(256),
            "score": score_table[:, choice.min_area] / (10 * tiles),
            "score_without_min_area": score_table[:, 0] / (10 * tiles),
            "best_min_area": score_table.argmax(axis=1),
            "best_score": score_table.max(axis=1) / (10 * tiles),
        }
    )
    files.write_text(output / "threshold.csv", curve.to_csv(index=False, lineterminator="\n"))
    decision = {
        "score": choice.score, "cross_fitted_score": cross_fitted.score, "cross_fitted_over": split_kind,
        "threshold": choice.threshold, "min_area": choice.min_area, "score_at_half": float(at_half.mean()),
        "tiles": tiles, "folds": selected_folds, "models": models,
    }  # fmt: skip
    if weights is not None:
        decision["cross_fitted_weights"] = {
            split: dict(zip(models, split_weights, strict=True)) for split, split_weights in weights.items()
        }
    files.write_json(output / "threshold.json", decision)
    log_and_echo(
        f"cross-fitted score {cross_fitted.score:.4f} over {split_kind.replace('_', ' ')}, "
        f"in-sample {choice.score:.4f}: threshold {choice.threshold}, min_area {choice.min_area}"
    )
