"""Export and segmentation with the exported bundle, and prediction in shards."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from helpers.command_line import tgs_salt
from helpers.workflow_runner import AFTER_PREDICTIONS, FinishedExperiment


@pytest.mark.slow
def test_segment_with_a_bundle_gives_the_masks_of_the_submission(
    copy: Callable[[FinishedExperiment], FinishedExperiment], finished: FinishedExperiment, tmp_path: Path
) -> None:
    experiment = copy(finished)
    done = experiment.run_again("export")
    assert done.code == 0 and done.names == {"export"}, done.output

    away = tmp_path / "away"
    away.mkdir()
    (experiment.results / "bundle.zip").rename(away / "bundle.zip")
    (dataset,) = (experiment.folder / "data").iterdir()
    with zipfile.ZipFile(dataset / "test.zip") as archive:
        archive.extractall(away)
    segmented = tgs_salt(
        "segment", "bundle.zip", "images", "--output", "masks", "--format", "rle", "--threads", 1, folder=away
    )
    assert segmented.returncode == 0, segmented.stderr
    assert "masks: segmented 8 images" in segmented.stdout
    actual = pd.read_csv(away / "masks/masks.csv", keep_default_na=False).set_index("id")["rle_mask"]
    expected = pd.read_csv(experiment.results / "submission.csv", keep_default_na=False).set_index("id")["rle_mask"]
    assert actual.to_dict() == expected.to_dict()


@pytest.mark.slow
def test_prediction_in_shards_gives_the_same_bytes(
    copy: Callable[[FinishedExperiment], FinishedExperiment], finished: FinishedExperiment
) -> None:
    experiment = copy(finished)
    paths = [experiment.results / f"models/base/fold{fold}/test.npy" for fold in (0, 1)]
    before = [path.read_bytes() for path in paths]
    for path in paths:
        path.unlink()
    done = experiment.run_again("--resources", "gpu=0", predict={"shards": 3})
    assert done.code == 0, done.output
    shards = {f"predict_shard base {fold} {shard}" for fold in (0, 1) for shard in range(3)}
    assert done.names == shards | {"merge_shards base 0", "merge_shards base 1"} | AFTER_PREDICTIONS
    assert [path.read_bytes() for path in paths] == before
    assert not list(experiment.results.rglob("*-of-3.npy")), "shards are temporary"
    assert not experiment.dry_run(predict={"shards": 3}).jobs
