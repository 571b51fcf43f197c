"""What a reader has to know before trusting a number, and what to do next."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from tgs_salt import __version__
from tgs_salt.evaluation import statistics
from tgs_salt.evaluation.experiment import Experiment, is_newer
from tgs_salt.evaluation.out_of_fold import OutOfFoldEvaluation
from tgs_salt.report import older

PACKAGES = ("torch", "segmentation-models-pytorch", "timm", "numpy", "numba", "snakemake")
STILL_RISING = 0.005


def notices(experiment: Experiment, evaluation: OutOfFoldEvaluation | None) -> list[str]:
    """One sentence each."""
    return [*_stale(experiment, evaluation), *_flattering(experiment), *_circumstances(experiment)]


def _stale(experiment: Experiment, evaluation: OutOfFoldEvaluation | None) -> list[str]:
    found = []
    decided = experiment.folder / "threshold.json"
    for training in experiment.voters:
        weights = training.folder / "model.pt"
        newer = [decided, *(training.predictions(split) for split in ("oof", "test"))]
        if any(is_newer(weights, path) for path in newer):
            found.append(
                f"{training.title} was trained again after its tiles were predicted: "
                "unless its bytes came out the same, these scores are of old."
            )
    by_older_code = older.notice(experiment)
    if by_older_code is not None:
        found.append(
            f"{by_older_code}. They are kept as they are; to train them again, type, with the options of the first "
            f"run: {older.command(experiment)}"
        )
    if is_newer(decided, experiment.folder / "submission.csv"):
        found.append("The decision is newer than submission.csv: run snakemake again before sending it.")
    stated = experiment.decision
    if (
        evaluation is not None
        and stated is not None
        and abs(evaluation.scores.mean() - stated["cross_fitted_score"]) > 1e-9
    ):
        if "cross_fitted_weights" in stated:
            found.append(
                "The votes were searched on these tiles too: single tiles are scored with the final votes, which "
                f"flatters their mean ({evaluation.scores.mean():.4f}); the cross-fitted score is not flattered."
            )
        else:
            found.append(
                f"The files give a cross-fitted score of {evaluation.scores.mean():.4f}, threshold.json says "
                f"{stated['cross_fitted_score']:.4f}: they are not of one run, or the settings have changed since."
            )
    return found


def _flattering(experiment: Experiment) -> list[str]:
    """Models that looked at the fold that they are scored on, by themselves or by what they learnt from."""
    models = experiment.settings.get("models", {})
    looked = {name: how for name, model in models.items() if (how := _looking(model))}
    found = [
        f"{name} looked at the fold that it is scored on ({', '.join(how)}): its score is flattered."
        for name, how in looked.items()
    ]
    for name in models:
        through = sorted((set(_origins(name, models)) & set(looked)) - {name})
        if through and name not in looked:
            found.append(f"{name} learnt from {', '.join(through)}, so its score is flattered as well.")
    return found


def _looking(model: dict[str, Any]) -> list[str]:
    """The settings by which a model looks at its own fold."""
    return [
        *([f"keep_weights: {model['keep_weights']}"] if model.get("keep_weights", "last") != "last" else []),
        *(["early_stopping_patience"] if model.get("early_stopping_patience") else []),
        *(["lr_scheduler: plateau"] if model.get("lr_scheduler") == "plateau" else []),
    ]


def _origins(name: str, models: dict[str, Any]) -> Iterator[str]:
    """The models that one started from or was taught by, and theirs."""
    for key in ("init_from", "teacher"):
        before = models.get(name, {}).get(key)
        if before is not None:
            yield before
            yield from _origins(before, models)


def _circumstances(experiment: Experiment) -> list[str]:
    found = []
    timings = {training.title: training.timing() for training in experiment.trainings}
    on_cpu = [title for title, timing in timings.items() if timing and timing.get("device") == "cpu"]
    if on_cpu:
        every = len(on_cpu) == len(timings)
        found.append("All folds were trained on the CPU." if every else f"Trained on the CPU: {', '.join(on_cpu)}.")
    if experiment.tiles is not None:
        blank = experiment.tiles.groupby("split")["blank"].sum()
        if blank.sum():
            found.append(
                f"{blank.get('train', 0):,} training and {blank.get('test', 0):,} test tiles are blank; "
                "they are predicted empty."
            )
    if experiment.settings.get("data", {}).get("source") == "synthetic":
        found.append(
            "The tiles were drawn by this project: the score tells that the pipeline works, nothing about real salt."
        )
    return found


def advice(experiment: Experiment, evaluation: OutOfFoldEvaluation | None) -> list[str]:
    """What these numbers suggest, the most urgent first; the rules are as simple as they read."""
    waiting = [training.title for training in experiment.trainings if not training.done]
    if waiting:
        return [f"Finish {', '.join(waiting)}: type the same snakemake command again, it goes on where it stopped."]
    found = []
    rise = _late_rise(experiment)
    if rise > STILL_RISING:
        found.append(
            f"The score still rose over the last quarter of the epochs (by {rise:.3f} on average): train longer "
            "(models.*.epochs)."
        )
    folds = experiment.settings.get("folds", {})
    if folds.get("selected") is not None and len(folds["selected"]) < folds.get("n_splits", 0):
        found.append(
            f"Only {len(folds['selected'])} of {folds['n_splits']} folds are trained: folds.selected: null trains the others and "
            "leaves these alone."
        )
    if evaluation is not None:
        heaviest = max(statistics.error_breakdown(evaluation), key=lambda kind: kind.cost)
        if heaviest.cost > 0:
            found.append(
                f"Most is lost where {_WHERE[heaviest.what]} ({heaviest.cost:.3f} of the score): "
                "look at the worst tiles."
            )
    return found


_WHERE = {
    "salt taken for empty": "salt is taken for empty",
    "empty taken for salt": "empty tiles are taken for salt",
    "salt found, its outline off": "salt is found but its outline is off",
}


def _late_rise(experiment: Experiment) -> float:
    """Mean over folds of the score after the last epoch less that after three quarters of the epochs."""
    histories = [training.history() for training in experiment.trainings]
    scores = [history["score"].to_numpy() for history in histories if history is not None and len(history) >= 4]
    return float(np.mean([own[-1] - own[3 * len(own) // 4 - 1] for own in scores])) if scores else 0.0


def versions() -> dict[str, str]:
    """Of what runs now; weights carry the versions that made them in model.pt."""
    found = {"tgs-salt": __version__}
    commit = _commit()
    if commit:
        found["commit"] = commit
    found["Python"] = platform.python_version()
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _commit() -> str | None:
    """The commit that this code is checked out at, if it is; an environment inside somebody's repository is not."""

    def git(*words: str) -> str | None:
        here = Path(__file__)
        try:
            done = subprocess.run(["git", *words], cwd=here.parent, capture_output=True, text=True, check=False)
        except OSError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    changed = git("status", "--porcelain", "--untracked-files=no")
    return f"{git('rev-parse', '--short=12', 'HEAD')}{', with changes' if changed else ''}"
