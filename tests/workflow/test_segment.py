"""A finished experiment as a bundle, used in a folder that never saw the dataset."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from helpers.command_line import tgs_salt
from helpers.workflow_runner import BELOW, Finished


@pytest.mark.slow
def test_a_bundle_gives_the_masks_of_the_submission(
    copy: Callable[[Finished], Finished], finished: Finished, tmp_path: Path
) -> None:
    experiment = copy(finished)
    done = experiment.go_on("export")
    assert done.code == 0 and done.names == {"export"}, done.output

    away = tmp_path / "away"
    away.mkdir()
    (experiment.results / "bundle.zip").rename(away / "bundle.zip")
    (dataset,) = (experiment.folder / "data").iterdir()
    with zipfile.ZipFile(dataset / "test.zip") as archive:
        archive.extractall(away)
    said = tgs_salt(
        "segment", "bundle.zip", "images", "--output", "masks", "--format", "rle", "--threads", 1, folder=away
    )
    assert said.returncode == 0, said.stderr
    assert "masks: 8 pictures segmented" in said.stdout
    found = pd.read_csv(away / "masks/masks.csv", keep_default_na=False).set_index("id")["rle_mask"]
    wanted = pd.read_csv(experiment.results / "submission.csv", keep_default_na=False).set_index("id")["rle_mask"]
    assert found.to_dict() == wanted.to_dict()


@pytest.mark.slow
def test_a_prediction_in_shards_is_the_same(copy: Callable[[Finished], Finished], finished: Finished) -> None:
    experiment = copy(finished)
    paths = [experiment.results / f"models/base/fold{fold}/test.npy" for fold in (0, 1)]
    before = [path.read_bytes() for path in paths]
    for path in paths:
        path.unlink()
    done = experiment.go_on("--resources", "gpu=0", predict={"shards": 3})
    assert done.code == 0, done.output
    shards = {f"predict_shard base {fold} {shard}" for fold in (0, 1) for shard in range(3)}
    assert done.names == shards | {"gather base 0", "gather base 1"} | BELOW
    assert [path.read_bytes() for path in paths] == before
    assert not list(experiment.results.rglob("*-of-3.npy")), "the shards were temporary"
    assert not experiment.dry_run(predict={"shards": 3}).jobs
