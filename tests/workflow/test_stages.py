"""Training in stages does not leak the labels of the held-out fold."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from helpers.workflow_runner import FinishedExperiment, model_file, predict_jobs, train_jobs

STAGES = {
    "tuned": {"extends": "base", "init_from": "base", "loss": "lovasz"},
    "student": {"extends": "base", "teacher": "base"},
}


@pytest.mark.slow
def test_no_stage_depends_on_the_labels_of_its_own_fold(
    copy: Callable[[FinishedExperiment], FinishedExperiment], finished: FinishedExperiment
) -> None:
    experiment = copy(finished)
    files = [model_file(model, 0) for model in ("base", "tuned", "student")]

    def run_again(*targets: str) -> tuple[set[str], list[bytes]]:
        run = experiment.run_again(*targets, "--resources", "gpu=0", models=STAGES)
        assert run.code == 0, run.output
        return run.names, [(experiment.folder / file).read_bytes() for file in targets]

    jobs, before = run_again(*files)
    assert jobs == train_jobs("tuned", "student", folds=[0]), "base is already trained"
    assert len(set(before)) == 3
    (other_before,) = run_again(model_file("base", 1))[1]

    masks_file = experiment.results / "data/train_masks.npy"
    own = pd.read_csv(experiment.results / "folds.csv")["fold"].to_numpy() == 0
    masks = np.load(masks_file)
    masks[own] = 1 - masks[own]
    np.save(masks_file, masks)

    jobs, after = run_again(*files)
    assert jobs == train_jobs("base", "tuned", "student", folds=[0]) | predict_jobs("base", folds=[0])
    assert after == before
    # The other fold trains on these labels, so the change has an effect there.
    (other_after,) = run_again(model_file("base", 1))[1]
    assert other_after != other_before
