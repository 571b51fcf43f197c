"""Sections of the report: numbers and figures, or one sentence if their files do not exist yet."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from tgs_salt import files
from tgs_salt.errors import UserError
from tgs_salt.evaluation import statistics
from tgs_salt.evaluation.experiment import Experiment
from tgs_salt.evaluation.out_of_fold import OutOfFoldEvaluation, TestSummary, optimism
from tgs_salt.kaggle.submit import submission_tag, submit_command
from tgs_salt.postprocessing.submission import check_rows
from tgs_salt.report import figures, leaderboard

Section = dict[str, Any]  # variables of page.html.j2
MIN_SHIFT = 0.05  # KS statistic; ensembling alone explains smaller ones
KS_CRITICAL = 1.63  # two-sample Kolmogorov-Smirnov test at the 1 % level, times sqrt(1 / n + 1 / m)


def missing(message: str) -> Section:
    """Return a section that holds one sentence."""
    return {"missing": message}


def score(experiment: Experiment, evaluation: OutOfFoldEvaluation | None, threads: int) -> Section:
    """Return the score, its interval, the scores of models and folds, and the optimism of each choice."""
    decision = experiment.decision
    if decision is None or evaluation is None:
        return missing("No score yet: it needs the out-of-fold predictions of all folds and threshold.json.")
    interval = statistics.bootstrap_interval(evaluation.scores)
    choices = optimism(experiment, evaluation, threads)
    source = experiment.settings.get("data", {}).get("source", "synthetic")
    return {
        "decision": decision, "interval": interval, "choices": choices, "without_min_area": choices[1],
        "figure": None if experiment.scores is None
        else figures.scores(experiment.scores, decision["cross_fitted_score"], interval),
        "rows": [] if experiment.scores is None else experiment.scores.to_dict("records"),
        "weights": ", ".join(f"{weight} x {model}" for model, weight in experiment.weights.items()),
        "rank": leaderboard.estimate_rank(decision["cross_fitted_score"]) if source != "synthetic" else None,
        "rank_source": leaderboard.SOURCE,
    }  # fmt: skip


def errors(experiment: Experiment, evaluation: OutOfFoldEvaluation | None) -> Section:
    """Return where the score is lost, by kind of error, depth and coverage, and the calibration."""
    folds = experiment.folds
    if evaluation is None or folds is None:
        return missing("No error analysis yet: it needs a score.")
    scored = folds.iloc[evaluation.rows]
    salt = evaluation.true_area > 0
    halves = [("without salt", evaluation.scores[~salt]), ("with salt", evaluation.scores[salt])]
    calibration = statistics.calibration(evaluation.counts)
    by_depth = statistics.score_by_depth(evaluation, scored["depth"].to_numpy())
    by_coverage = statistics.score_by_coverage(evaluation, scored["coverage_class"].to_numpy())
    return {
        "error_breakdown": statistics.error_breakdown(evaluation),
        "halves": [(name, len(scores), scores.mean() if len(scores) else None) for name, scores in halves],
        "figures": [
            figures.bars(by_depth, "depth", "by-depth"),
            figures.bars(by_coverage, "coverage", "by-coverage"),
            figures.calibration(calibration),
        ],
        "calibration": calibration,
    }


def threshold_surface(evaluation: OutOfFoldEvaluation | None) -> Section:
    """Return the chosen threshold and minimum area, and the ranges around them that score nearly the same."""
    if evaluation is None:
        return missing("No threshold yet.")
    choice, total = evaluation.choice, 10 * len(evaluation.rows)
    best = evaluation.table[choice.threshold, choice.min_area]
    near = evaluation.table >= best - figures.PLATEAU_TOLERANCE * total
    return {
        "choice": choice,
        "thresholds": _run_around(near[:, choice.min_area], choice.threshold),
        "areas": _run_around(near[choice.threshold], choice.min_area),
        "tolerance": figures.PLATEAU_TOLERANCE,
        "figure": figures.threshold_surface(evaluation.table, len(evaluation.rows), choice),
    }


def _run_around(near: np.ndarray, index: int) -> tuple[int, int]:
    """Return the first and last index of the run of True in `near` (n,) bool that contains `index`."""
    far = np.flatnonzero(~near)
    return int(max(far[far < index], default=-1)) + 1, int(min(far[far > index], default=len(near))) - 1


def training(experiment: Experiment) -> Section:
    """Return the learning curves of all folds, their times and peak memory."""
    histories: dict[str, pd.DataFrame] = {}
    rows, waiting = [], []
    for run in experiment.training_runs:
        history = run.history()
        if history is not None and len(history):
            histories[run.title] = history
        if not run.done:
            waiting.append(run.title)
        state = "trained" if run.done else "started" if run.started else "waiting"
        epochs = len(history) if history is not None else 0
        rows.append({"run": run, "state": state, "epochs": epochs, "timing": run.timing() or {}})
    if not histories:
        return missing("No epoch has finished yet.")
    labels = {"loss": "training loss", "score": "held-out score at 0.5", "learning_rate": "learning rate"}
    return {
        "figures": [figures.curves(histories, column, label) for column, label in labels.items()],
        "rows": rows,
        "waiting": waiting,
    }


def folds(experiment: Experiment) -> Section:
    """Return the distributions of depth and coverage of each fold against those of all labeled tiles."""
    table = experiment.folds
    train = experiment.split("train")
    if table is None or not len(train):
        return missing("No folds yet.")
    depth, coverage, fold = table["depth"].to_numpy(), train["coverage"].to_numpy(), table["fold"].to_numpy()
    numbers = np.unique(fold)
    rows = [
        {
            "fold": int(k), "tiles": int((fold == k).sum()), "empty": float((coverage[fold == k] == 0).mean()),
            "depth": float(depth[fold == k].mean()), "depth_ks": statistics.ks_distance(depth[fold == k], depth),
            "coverage_ks": statistics.ks_distance(coverage[fold == k], coverage),
        }
        for k in numbers
    ]  # fmt: skip
    return {
        "rows": rows,
        "figures": [
            figures.distributions({f"fold {k}": values[fold == k] for k in numbers}, label, f"folds-{label}")
            for values, label in ((depth, "depth"), (coverage, "coverage"))
        ],
    }


def submission(
    experiment: Experiment, evaluation: OutOfFoldEvaluation | None, test_summary: TestSummary | None
) -> Section:
    """Return whether submission.csv is valid, current and submitted, and its coverage against the training tiles."""
    path, test = experiment.paths.submission, experiment.split("test")
    probabilities = experiment.array(experiment.paths.ensemble("test"))
    if evaluation is None or test_summary is None or probabilities is None or not path.exists():
        return missing("No submission yet.")
    pixels = probabilities[0].size
    try:
        empty, problem = check_rows(path, list(test["id"]), probabilities.shape[1:]), None
    except UserError as error:
        empty, problem = None, str(error)
    coverage = {
        "train, true": evaluation.true_area / pixels,
        "train, out-of-fold": evaluation.predicted_area / pixels,
        "test, predicted": test_summary.predicted_area / pixels,
    }
    distance = statistics.ks_distance(coverage["train, out-of-fold"], coverage["test, predicted"])
    critical = KS_CRITICAL * np.sqrt(1 / len(evaluation.predicted_area) + 1 / len(test_summary.predicted_area))
    data = experiment.settings.get("data", {})
    sha256 = files.digest(path.read_bytes())
    competition = data.get("competition") if data.get("source", "synthetic") != "synthetic" else None
    return {
        "path": str(path), "rows": len(test), "problem": problem, "empty": empty,
        "stale": empty is not None and empty != int((test_summary.predicted_area == 0).sum()),
        "shares": [(name, float((values == 0).mean()), float(values.mean())) for name, values in coverage.items()],
        "distance": distance, "shifted": distance > max(MIN_SHIFT, critical),
        "figure": figures.distributions(coverage, "coverage", "coverage-train-test"),
        "command": submit_command(competition, path, submission_tag(sha256, experiment.name)) if competition else None,
        "receipt": experiment.receipt, "receipt_fits": (experiment.receipt or {}).get("sha256") == sha256,
    }  # fmt: skip
