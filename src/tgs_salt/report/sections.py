"""The report's sections: numbers, pictures and tiles, or one sentence about what is not there yet."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from tgs_salt import files
from tgs_salt.errors import UserError
from tgs_salt.evaluation import statistics
from tgs_salt.evaluation.experiment import Experiment
from tgs_salt.evaluation.out_of_fold import OutOfFoldEvaluation, TestSummary, optimism
from tgs_salt.kaggle.submit import command_line, token
from tgs_salt.postprocessing.submission import check_rows
from tgs_salt.report import figures, leaderboard

Section = dict[str, Any]
SHIFT = 0.05
BY_CHANCE = 1.63  # of Kolmogorov and Smirnov's statistic, exceeded once in a hundred draws from one distribution


def missing(sentence: str) -> Section:
    return {"missing": sentence}


def score(experiment: Experiment, evaluation: OutOfFoldEvaluation | None, threads: int) -> Section:
    """How good, by how much that may be luck, and what each choice flatters."""
    decision = experiment.decision
    if decision is None or evaluation is None:
        return missing("No score yet: the folds are not all trained and decided upon.")
    interval = statistics.interval(evaluation.scores)
    choices = optimism(experiment, evaluation, threads)
    source = experiment.settings.get("data", {}).get("source", "synthetic")
    return {
        "decision": decision, "interval": interval, "choices": choices, "without_min_area": choices[1],
        "picture": None if experiment.scores is None
        else figures.scores(experiment.scores, decision["cross_fitted_score"], interval),
        "rows": [] if experiment.scores is None else experiment.scores.to_dict("records"),
        "weights": _weights(experiment),
        "board": leaderboard.sentence(decision["cross_fitted_score"]) if source != "synthetic" else None,
        "board_source": leaderboard.SOURCE,
    }  # fmt: skip


def _weights(experiment: Experiment) -> str:
    return ", ".join(f"{votes} x {model}" for model, votes in experiment.weights.items())


def failures(experiment: Experiment, evaluation: OutOfFoldEvaluation | None) -> Section:
    """Where the score is lost: kinds of tiles, strata, and how far the probabilities can be trusted."""
    folds = experiment.folds
    if evaluation is None or folds is None:
        return missing("Nothing to say of single tiles before there is a decision.")
    own = folds.iloc[evaluation.rows]
    salt = evaluation.salt > 0
    halves = [("without salt", evaluation.scores[~salt]), ("with salt", evaluation.scores[salt])]
    calibrated = statistics.calibration(evaluation.counts)
    return {
        "error_breakdown": statistics.error_breakdown(evaluation),
        "halves": [(name, len(scores), scores.mean() if len(scores) else None) for name, scores in halves],
        "pictures": [
            figures.bars(statistics.by_depth(evaluation, own["depth"].to_numpy()), "depth", "by-depth"),
            figures.bars(
                statistics.by_coverage(evaluation, own["coverage_class"].to_numpy()), "coverage", "by-coverage"
            ),
            figures.calibration(calibrated),
        ],
        "calibration": calibrated,
    }


def threshold_surface(evaluation: OutOfFoldEvaluation | None) -> Section:
    """The chosen pair, and how much depends on it."""
    if evaluation is None:
        return missing("No threshold is chosen yet.")
    choice, total = evaluation.choice, 10 * len(evaluation.rows)
    near = evaluation.table >= evaluation.table[choice.threshold, choice.min_area] - figures.PLATEAU * total
    return {
        "choice": choice,
        "thresholds": _run(near[:, choice.min_area], choice.threshold),
        "areas": _run(near[choice.threshold], choice.min_area),
        "width": figures.PLATEAU,
        "picture": figures.threshold_surface(evaluation.table, len(evaluation.rows), choice),
    }


def _run(near: np.ndarray, at: int) -> tuple[int, int]:
    """First and last place of the unbroken run of True around `at`."""
    far = np.flatnonzero(~near)
    return int(max(far[far < at], default=-1)) + 1, int(min(far[far > at], default=len(near))) - 1


def learning(experiment: Experiment) -> Section:
    """Curves of all folds, time and memory."""
    some: dict[str, pd.DataFrame] = {}
    rows, waiting = [], []
    for training in experiment.trainings:
        history = training.history()
        if history is not None and len(history):
            some[training.title] = history
        if not training.done:
            waiting.append(training.title)
        state = "trained" if training.done else "in training" if training.started else "waiting"
        epochs = len(history) if history is not None else 0
        rows.append({"training": training, "state": state, "epochs": epochs, "timing": training.timing() or {}})
    if not some:
        return missing("No fold has finished an epoch yet.")
    labels = {"loss": "training loss", "score": "score at 0.5, held out", "learning_rate": "learning rate"}
    return {
        "pictures": [figures.curves(some, column, label) for column, label in labels.items()],
        "rows": rows,
        "waiting": waiting,
    }


def folds(experiment: Experiment) -> Section:
    """Whether the folds are alike: each against all labelled tiles."""
    table = experiment.folds
    train = experiment.split("train")
    if table is None or not len(train):
        return missing("There are no folds yet.")
    depth, coverage, fold = table["depth"].to_numpy(), train["coverage"].to_numpy(), table["fold"].to_numpy()
    names = np.unique(fold)
    rows = [
        {
            "fold": int(name), "tiles": int((fold == name).sum()), "empty": float((coverage[fold == name] == 0).mean()),
            "depth": float(depth[fold == name].mean()), "depth_ks": statistics.ks_distance(depth[fold == name], depth),
            "coverage_ks": statistics.ks_distance(coverage[fold == name], coverage),
        }
        for name in names
    ]  # fmt: skip
    return {
        "rows": rows,
        "pictures": [
            figures.distributions({f"fold {name}": values[fold == name] for name in names}, label, f"folds-{label}")
            for values, label in ((depth, "depth"), (coverage, "coverage"))
        ],
    }


def submission(experiment: Experiment, evaluation: OutOfFoldEvaluation | None, asked: TestSummary | None) -> Section:
    """What goes to Kaggle: valid or not, like the labelled tiles or not, sent or not."""
    path, test = experiment.folder / "submission.csv", experiment.split("test")
    together = experiment.array("ensemble/test.npy")
    if evaluation is None or asked is None or together is None or not path.exists():
        return missing("There is no submission yet.")
    pixels = together[0].size
    try:
        empty, problem = check_rows(path, list(test["id"]), together.shape[1:]), None
    except UserError as refusal:
        empty, problem = None, str(refusal)
    kinds = {
        "train, truth": evaluation.salt / pixels,
        "train, out of fold": evaluation.area / pixels,
        "test, submitted": asked.area / pixels,
    }
    distance = statistics.ks_distance(kinds["train, out of fold"], kinds["test, submitted"])
    chance = BY_CHANCE * np.sqrt(1 / len(evaluation.area) + 1 / len(asked.area))
    dataset = experiment.settings.get("data", {})
    sha256 = files.digest(path.read_bytes())
    competition = dataset.get("competition") if dataset.get("source", "synthetic") != "synthetic" else None
    return {
        "path": str(path), "rows": len(test), "problem": problem, "empty": empty,
        "stale": empty is not None and empty != int((asked.area == 0).sum()),
        "shares": [(name, float((values == 0).mean()), float(values.mean())) for name, values in kinds.items()],
        "distance": distance, "shifted": distance > max(SHIFT, chance),
        "picture": figures.distributions(kinds, "coverage", "coverage-train-test"),
        "command": command_line(competition, path, token(sha256, experiment.name)) if competition else None,
        "receipt": experiment.receipt, "receipt_fits": (experiment.receipt or {}).get("sha256") == sha256,
    }  # fmt: skip
