"""Notices that qualify an experiment's scores, advice on what to do next, and models trained by an older version."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterator
from importlib import metadata
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from tgs_salt import __version__
from tgs_salt.evaluation import statistics
from tgs_salt.evaluation.experiment import Experiment, TrainingRun, is_newer
from tgs_salt.evaluation.out_of_fold import OutOfFoldEvaluation
from tgs_salt.provenance import rule_digest

PACKAGES = ("torch", "segmentation-models-pytorch", "timm", "numpy", "numba", "snakemake")
MIN_LATE_RISE = 0.005  # score


def notices(experiment: Experiment, evaluation: OutOfFoldEvaluation | None) -> list[str]:
    """Return what a reader must know before trusting the scores, one sentence or two each."""
    return [
        *_consistency_notices(experiment, evaluation),
        *_optimism_notices(experiment),
        *_context_notices(experiment),
    ]


def outdated_runs(experiment: Experiment) -> list[TrainingRun]:
    """Return the finished training runs whose timing.json has a different code digest than the current code.

    Runs without a recorded digest are left out.
    """
    now = rule_digest("train")
    digests = {run: (run.timing() or {}).get("code") for run in experiment.training_runs if run.done}
    return [run for run, digest in digests.items() if digest not in (None, now)]


def outdated_notice(experiment: Experiment) -> str | None:
    """Return which folds were trained by an older version, without a full stop; None if there are none."""
    outdated = outdated_runs(experiment)
    if not outdated:
        return None
    names = []
    for model, runs in groupby(outdated, key=lambda run: run.model):
        folds = [str(run.fold) for run in runs]
        names.append(f"{model} fold{'s' * (len(folds) > 1)} {', '.join(folds)}")
    return f"{'; '.join(names)} {'was' if len(outdated) == 1 else 'were'} trained by an older version"


def retrain_command(experiment: Experiment, rerun_options: str = "") -> str:
    """Return the command that retrains the outdated folds and reruns the stages that depend on them.

    Args:
        experiment: The experiment.
        rerun_options: Options of snakemake with a leading space, such as ` --configfile mine.yaml`.
    """
    outdated = outdated_runs(experiment)
    everything = len(outdated) == len(experiment.training_runs)
    targets = "train" if everything else " ".join(str(run.paths.model_file) for run in outdated)
    return f"snakemake --cores all{rerun_options} -R {targets}"


def _consistency_notices(experiment: Experiment, evaluation: OutOfFoldEvaluation | None) -> list[str]:
    """Return notices about files that do not fit together."""
    messages = []
    threshold_json = experiment.paths.threshold_json
    for run in experiment.ensemble_runs:
        derived = [threshold_json, *(run.predictions(split) for split in ("oof", "test"))]
        if any(is_newer(run.paths.model_file, path) for path in derived):
            messages.append(
                f"{run.title} was retrained after its predictions were written: these scores may be out of date."
            )
    outdated = outdated_notice(experiment)
    if outdated is not None:
        messages.append(
            f"{outdated}. Code changes do not retrain models. To retrain, run this with the options of the first run: "
            f"{retrain_command(experiment)}"
        )
    if is_newer(threshold_json, experiment.paths.submission):
        messages.append("threshold.json is newer than submission.csv: run snakemake again before you submit.")
    decision = experiment.decision
    if (
        evaluation is not None
        and decision is not None
        and abs(evaluation.scores.mean() - decision["cross_fitted_score"]) > 1e-9
    ):
        if "cross_fitted_weights" in decision:
            messages.append(
                "Tile scores use the final ensemble weights, which were searched on the same tiles: their mean "
                f"({evaluation.scores.mean():.4f}) is optimistic. The cross-fitted score is not affected."
            )
        else:
            messages.append(
                f"The predictions give a cross-fitted score of {evaluation.scores.mean():.4f}, but threshold.json has "
                f"{decision['cross_fitted_score']:.4f}: they are from different runs, or the settings have changed."
            )
    return messages


def _optimism_notices(experiment: Experiment) -> list[str]:
    """Return notices about models whose training uses the held-out fold, directly or through another model."""
    models = experiment.settings.get("models", {})
    direct = {name: keys for name, model in models.items() if (keys := _held_out_uses(model))}
    messages = [
        f"{name} uses its held-out fold during training ({', '.join(keys)}): its score is optimistic."
        for name, keys in direct.items()
    ]
    for name in models:
        through = sorted((set(_ancestors(name, models)) & set(direct)) - {name})
        if through and name not in direct:
            messages.append(f"{name} was trained from {', '.join(through)}: its score is optimistic, too.")
    return messages


def _held_out_uses(model: dict[str, Any]) -> list[str]:
    """Return the settings by which a model's training uses its held-out fold."""
    return [
        *([f"keep_weights: {model['keep_weights']}"] if model.get("keep_weights", "last") != "last" else []),
        *(["early_stopping_patience"] if model.get("early_stopping_patience") else []),
        *(["lr_scheduler: plateau"] if model.get("lr_scheduler") == "plateau" else []),
    ]


def _ancestors(name: str, models: dict[str, Any]) -> Iterator[str]:
    """Yield the models that a model depends on through `init_from` and `teacher`, recursively."""
    for key in ("init_from", "teacher"):
        parent = models.get(name, {}).get(key)
        if parent is not None:
            yield parent
            yield from _ancestors(parent, models)


def _context_notices(experiment: Experiment) -> list[str]:
    """Return notices about the device, blank tiles and synthetic data."""
    messages = []
    timings = {run.title: run.timing() for run in experiment.training_runs}
    on_cpu = [title for title, timing in timings.items() if timing and timing.get("device") == "cpu"]
    if on_cpu:
        everything = len(on_cpu) == len(timings)
        messages.append(
            "All folds were trained on the CPU." if everything else f"Trained on the CPU: {', '.join(on_cpu)}."
        )
    if experiment.tiles is not None:
        blank = experiment.tiles.groupby("split")["blank"].sum()
        if blank.sum():
            messages.append(
                f"{blank.get('train', 0):,} training and {blank.get('test', 0):,} test tiles are blank; "
                "they are predicted as empty."
            )
    if experiment.settings.get("data", {}).get("source") == "synthetic":
        messages.append(
            "The tiles are synthetic: the score shows that the pipeline works, not how well it segments real salt."
        )
    return messages


def advice(experiment: Experiment, evaluation: OutOfFoldEvaluation | None) -> list[str]:
    """Return what to do next, the most urgent first."""
    waiting = [run.title for run in experiment.training_runs if not run.done]
    if waiting:
        return [f"Finish {', '.join(waiting)}: run the same snakemake command again; it resumes where it stopped."]
    messages = []
    rise = _late_rise(experiment)
    if rise > MIN_LATE_RISE:
        messages.append(
            f"The score still rose over the last quarter of the epochs (by {rise:.3f} on average): train longer "
            "(models.*.epochs)."
        )
    folds = experiment.settings.get("folds", {})
    if folds.get("selected") is not None and len(folds["selected"]) < folds.get("n_splits", 0):
        messages.append(
            f"Only {len(folds['selected'])} of {folds['n_splits']} folds are trained: set folds.selected to null to "
            "train the others. Trained folds are kept."
        )
    if evaluation is not None:
        largest = max(statistics.error_breakdown(evaluation), key=lambda group: group.cost)
        if largest.cost > 0:
            messages.append(
                f'Most of the lost score is in "{largest.name}" ({largest.cost:.3f}): inspect the tiles with the '
                "lowest scores."
            )
    return messages


def _late_rise(experiment: Experiment) -> float:
    """Return the rise of the score over the last quarter of the epochs, mean over folds with at least 4 epochs."""
    histories = [run.history() for run in experiment.training_runs]
    scores = [history["score"].to_numpy() for history in histories if history is not None and len(history) >= 4]
    return float(np.mean([fold[-1] - fold[3 * len(fold) // 4 - 1] for fold in scores])) if scores else 0.0


def versions() -> dict[str, str]:
    """Return the versions of the running software; model.pt holds those that trained it."""
    packages = {"tgs-salt": __version__}
    commit = _commit()
    if commit:
        packages["commit"] = commit
    packages["Python"] = platform.python_version()
    for package in PACKAGES:
        try:
            packages[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return packages


def _commit() -> str | None:
    """Return the commit of this checkout; None if git does not track this file, as in an installed package."""

    def git(*arguments: str) -> str | None:
        folder = Path(__file__).parent
        try:
            done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
        except OSError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    changed = git("status", "--porcelain", "--untracked-files=no")
    return f"{git('rev-parse', '--short=12', 'HEAD')}{', with changes' if changed else ''}"
