"""`threshold`: from probability bytes to masks, by the pair (threshold, minimum area) that scores best out of fold.

    python -m tgs_salt threshold --settings '{"threshold": {...}, "folds": {...}}' --ensemble .../ensemble/oof.npy ...

A pixel is salt where its byte is at least the threshold (0..255); a tile with fewer salt pixels than the minimum area
is empty. Every pair is tried, exactly. The pair's own score flatters it a little; the cross-fitted score does not:
there each part of the tiles is scored with the pair chosen on the other parts, and with votes searched on them too
where `ensemble` searched for them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tgs_salt import files
from tgs_salt.data.folds import COLUMNS as FOLD_COLUMNS
from tgs_salt.data.folds import assign, read_folds
from tgs_salt.data.tiles import read_masks, read_table, read_tiles
from tgs_salt.errors import UserError
from tgs_salt.kernels import iou_score, threshold_table
from tgs_salt.log import log_and_echo, logger
from tgs_salt.postprocessing.ensemble_selection import Scores, Weights, out_of_fold
from tgs_salt.postprocessing.threshold_search import (
    CrossFit,
    Fixed,
    ThresholdChoice,
    choose,
    cross_fit,
    cross_fit_votes,
    histograms,
)
from tgs_salt.settings import Folds, Threshold


def search(
    probabilities: np.ndarray, truth: np.ndarray, level: Fixed = "search", min_area: Fixed = "search", threads: int = 1
) -> ThresholdChoice:
    """The best pair for (n, h, w) uint8 `probabilities` and bool `truth`; `level` and `min_area` may be fixed.

    Ties go to the smallest minimum area, then to the lower middle of the longest run of best thresholds.
    Raises UserError if there is no tile or the shapes differ.
    """
    table = threshold_table.score_table(histograms(probabilities, truth, threads), threads=threads)
    return choose(table, len(truth), level, min_area)


def threshold(
    settings: Threshold, fold_settings: Folds, *, models: list[str], ensemble: Path, oof: list[Path], masks: Path,
    tiles: Path, folds: Path, output: Path, votes_searched: bool = False, threads: int = 1,
) -> None:  # fmt: skip
    """Write threshold.json (the decision), threshold.csv (the score at each threshold) and scores.csv (each model and
    fold by itself) into `output`.

    `ensemble` is the ensemble's oof.npy; `oof` the predictions of each model in turn and of each used fold within it.
    `votes_searched` says that the ensemble's weights were chosen by their score on these tiles.
    """
    used = fold_settings.used
    if len(oof) != len(models) * len(used):
        raise UserError(f"threshold: {len(models)} models on {len(used)} folds, but {len(oof)} predictions (--oof).")
    ids = read_tiles(tiles, "train")["id"]
    fold_of = read_folds(folds, ids)
    rows = np.flatnonzero(np.isin(fold_of, used))
    fold_of = fold_of[rows]
    truth = np.asarray(read_masks(masks, (len(ids), None, None))[rows]).view(bool)
    together = np.asarray(files.read_array(ensemble, (len(ids), *truth.shape[1:]))[rows])
    # With a single fold there are no other folds to choose on, so its tiles are parted as folds are made.
    over = "folds" if len(used) > 1 else "parts"
    if over == "parts" and len(rows) < settings.inner_splits:
        raise UserError(
            f"threshold.inner_splits: {settings.inner_splits} parts need {settings.inner_splits} tiles or more, and fold {used[0]} has "
            f"{len(rows)}; set fewer parts, or train more folds."
        )
    table = read_table(folds, FOLD_COLUMNS).iloc[rows]
    part = fold_of if over == "folds" else assign(table, settings.inner_splits, fold_settings.seed)

    by_model = {
        model: out_of_fold(oof[first * len(used) : (first + 1) * len(used)], used, fold_of, truth.shape[1:])
        for first, model in enumerate(models)
    }
    scores: list[dict[str, Any]] = []
    for name, predicted in [("ensemble", together), *by_model.items()]:
        choice, fitted, sums = cross_fit(predicted, truth, part, settings.value, settings.min_area, threads)
        at_half = iou_score.score_bytes(predicted, truth, iou_score.BYTE_HALF, threads=threads)
        if name == "ensemble":
            weights = None
            if votes_searched:
                votes = Scores(list(by_model.values()), truth, part, threads)
                fitted, weights = cross_fit_votes(votes, part, settings.value, settings.min_area)
            _write_decision(output, choice, fitted, sums, at_half, over, used, models, weights)
        scores += _by_fold(name, used, fold_of, at_half, fitted, over)
        logger.info(
            f"{name}: cross-fitted {fitted.score:.4f}, in-sample {choice.score:.4f}, at 0.5 {at_half.mean():.4f}"
        )
    files.write_text(output / "scores.csv", pd.DataFrame(scores).to_csv(index=False, lineterminator="\n"))


def _by_fold(
    name: str, used: list[int], fold_of: np.ndarray, at_half: np.ndarray, fitted: CrossFit, over: str
) -> list[dict[str, Any]]:
    return [
        {
            "model": name, "fold": fold, "tiles": int((fold_of == fold).sum()),
            "score_at_half": float(at_half[fold_of == fold].mean()),
            "cross_fitted_score": fitted.by_part[fold] if over == "folds" else fitted.score,
        }
        for fold in used
    ]  # fmt: skip


def _write_decision(
    output: Path, choice: ThresholdChoice, fitted: CrossFit, sums: np.ndarray, at_half: np.ndarray, over: str,
    used: list[int], models: list[str], weights: dict[int, Weights] | None,
) -> None:  # fmt: skip
    tiles = len(at_half)
    curve = pd.DataFrame(
        {
            "threshold": np.arange(256),
            "score": sums[:, choice.min_area] / (10 * tiles),
            "score_without_min_area": sums[:, 0] / (10 * tiles),
            "best_min_area": sums.argmax(axis=1),
            "best_score": sums.max(axis=1) / (10 * tiles),
        }
    )
    files.write_text(output / "threshold.csv", curve.to_csv(index=False, lineterminator="\n"))
    summary = {
        "score": choice.score, "cross_fitted_score": fitted.score, "cross_fitted_over": over,
        "threshold": choice.threshold, "min_area": choice.min_area, "score_at_half": float(at_half.mean()),
        "tiles": tiles, "folds": used, "models": models,
    }  # fmt: skip
    if weights is not None:
        summary["cross_fitted_weights"] = {
            part: dict(zip(models, given, strict=True)) for part, given in weights.items()
        }
    files.write_json(output / "threshold.json", summary)
    log_and_echo(
        f"cross-fitted score {fitted.score:.4f} over {over}, in-sample {choice.score:.4f}: "
        f"threshold {choice.threshold}, min_area {choice.min_area}"
    )
