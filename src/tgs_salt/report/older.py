"""Folds that older code has trained. They are not trained again by themselves, for that costs a night; this tells."""

from __future__ import annotations

from itertools import groupby

from tgs_salt.evaluation.experiment import Experiment, Training
from tgs_salt.provenance import rule_digest


def trained_by_older_code(experiment: Experiment) -> list[Training]:
    """Trainings whose timing.json names other code than what trains now; those that name none are left out."""
    now = rule_digest("train")
    found = {training: (training.timing() or {}).get("code") for training in experiment.trainings if training.done}
    return [training for training, code in found.items() if code not in (None, now)]


def notice(experiment: Experiment) -> str | None:
    """Which folds these are, in one phrase; None if there are none."""
    older = trained_by_older_code(experiment)
    if not older:
        return None
    names = []
    for model, trainings in groupby(older, key=lambda training: training.model):
        folds = [str(training.fold) for training in trainings]
        names.append(f"{model} fold{'s' * (len(folds) > 1)} {', '.join(folds)}")
    return f"{'; '.join(names)} {'was' if len(older) == 1 else 'were'} trained by older code"


def command(experiment: Experiment, same: str = "") -> str:
    """What trains them again, and makes again what follows from them. `same`: options of snakemake, such as
    ` --configfile mine.yaml`."""
    older = trained_by_older_code(experiment)
    every = len(older) == len(experiment.trainings)
    what = "train" if every else " ".join(str(training.folder / "model.pt") for training in older)
    return f"snakemake --cores all{same} -R {what}"
