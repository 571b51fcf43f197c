"""Models of several stages, really trained: what they may learn from, and what they may not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from helpers.workflow_runner import Finished, model_file, predicts, trains

STAGES = {
    "tuned": {"extends": "base", "init_from": "base", "loss": "lovasz"},
    "student": {"extends": "base", "teacher": "base"},
}


@pytest.mark.slow
def test_no_stage_learns_the_labels_of_its_own_fold(copy: Callable[[Finished], Finished], finished: Finished) -> None:
    experiment = copy(finished)
    files = [model_file(model, 0) for model in ("base", "tuned", "student")]

    def go_on(*targets: str) -> tuple[set[str], list[bytes]]:
        run = experiment.go_on(*targets, "--resources", "gpu=0", models=STAGES)
        assert run.code == 0, run.output
        return run.names, [(experiment.folder / file).read_bytes() for file in targets]

    jobs, before = go_on(*files)
    assert jobs == trains("tuned", "student", folds=[0]), "base is there already"
    assert len(set(before)) == 3
    (other_before,) = go_on(model_file("base", 1))[1]

    masks_file = experiment.results / "data/train_masks.npy"
    own = pd.read_csv(experiment.results / "folds.csv")["fold"].to_numpy() == 0
    masks = np.load(masks_file)
    masks[own] = 1 - masks[own]
    np.save(masks_file, masks)

    jobs, after = go_on(*files)
    assert jobs == trains("base", "tuned", "student", folds=[0]) | predicts("base", folds=[0])
    assert after == before
    # The other fold learns from these labels, so the change was one that can be seen.
    (other_after,) = go_on(model_file("base", 1))[1]
    assert other_after != other_before
