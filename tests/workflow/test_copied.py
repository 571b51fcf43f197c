"""Identical data with new file times trains no model again: copied, moved, downloaded or preprocessed again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import workflow_runner
from helpers.workflow_runner import FinishedExperiment, train_jobs

Copy = Callable[[FinishedExperiment], FinishedExperiment]
ARRAYS = ("train_images", "train_masks", "test_images")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> FinishedExperiment:
    """Placeholder files whose arrays are larger than the 1 MB that Snakemake compares by checksum by default."""
    folder = tmp_path_factory.mktemp("large")
    experiment = workflow_runner.tiny()
    workflow_runner.finish_by_touch(folder, experiment)
    for number, name in enumerate(ARRAYS):
        (folder / f"results/tiny/data/{name}.npy").write_bytes(bytes([number]) * 1_500_000)
    touched = workflow_runner.run(folder, experiment, "--touch", "--forceall", quick=True)
    assert touched.code == 0, touched.output
    return FinishedExperiment(folder, experiment)


@pytest.fixture
def plain_copy(tmp_path: Path, large: FinishedExperiment) -> FinishedExperiment:
    """A copy with new file times in the worst order: the first files of the graph are the newest."""
    folder = shutil.copytree(large.folder, tmp_path / "copy", copy_function=shutil.copyfile)
    paths = sorted((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_mtime)
    for age, path in enumerate(paths):
        if ".snakemake" not in path.parts:
            os.utime(path, (1.7e9 - age, 1.7e9 - age))
    newest = [folder / f"results/tiny/data/{name}.npy" for name in ARRAYS]
    for path in [*folder.glob("data/*/*"), *newest]:
        os.utime(path, (1.7e9 + 9, 1.7e9 + 9))
    return FinishedExperiment(folder, large.experiment)


def test_a_plain_copy_reruns_nothing(plain_copy: FinishedExperiment) -> None:
    again = plain_copy.dry_run()
    assert again.code == 0 and not again.jobs, again.output


def test_changed_bytes_of_the_same_length_are_detected(plain_copy: FinishedExperiment) -> None:
    array = plain_copy.results / "data/train_masks.npy"
    array.write_bytes(b"?" + array.read_bytes()[1:])
    assert plain_copy.dry_run().names >= train_jobs("base")


@pytest.mark.parametrize("cause", ["no metadata", "large files"])
def test_touch_accepts_files_that_only_have_new_times(plain_copy: FinishedExperiment, cause: str) -> None:
    limit = ["--max-checksum-file-size", "1MB"] if cause == "large files" else []
    if cause == "no metadata":
        shutil.rmtree(plain_copy.folder / ".snakemake")
    assert plain_copy.dry_run(*limit).names >= train_jobs("base")
    before = {path: path.read_bytes() for path in plain_copy.results.rglob("*") if path.is_file()}
    touched = workflow_runner.run(plain_copy.folder, plain_copy.experiment, "--touch", *limit, quick=True)
    assert touched.code == 0, touched.output
    assert not plain_copy.dry_run(*limit).jobs
    assert before == {path: path.read_bytes() for path in plain_copy.results.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_preprocessing_again_to_the_same_bytes_reruns_nothing(copy: Copy, finished: FinishedExperiment) -> None:
    again = copy(finished)
    preprocessed = again.run_again("results/tiny/folds.csv", "-R", "preprocess")
    assert preprocessed.code == 0 and preprocessed.names == {"preprocess", "folds"}, preprocessed.output
    assert not again.dry_run().jobs


def test_a_dataset_with_new_file_times_reruns_nothing(copy: Copy, finished: FinishedExperiment) -> None:
    again = copy(finished)
    for path in again.folder.glob("data/*/*"):
        os.utime(path)
    assert not again.dry_run().jobs


@pytest.mark.slow
def test_a_dataset_that_was_damaged_and_restored_trains_no_model_again(
    copy: Copy, finished: FinishedExperiment
) -> None:
    again = copy(finished)
    depths = next(again.folder.glob("data/*/depths.csv"))
    content, stat = depths.read_text(), depths.stat()
    depths.write_text(content.replace("\n", "\nx,deep\n", 1))
    failed = again.run_again("--resources", "gpu=0")
    assert failed.code != 0 and failed.names == {"preprocess"}
    assert "otherwise all models are trained again" in failed.output
    command = "snakemake results/tiny/data/tiles.csv results/tiny/folds.csv --cores all --resources gpu=0 --configfile"
    assert command in failed.output
    depths.write_text(content)
    # Restored from a copy, with its old times.
    os.utime(depths, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    restored = again.run_again("results/tiny/data/tiles.csv", "results/tiny/folds.csv", "--resources", "gpu=0")
    assert restored.code == 0 and restored.names == {"preprocess", "folds"}, restored.output
    assert not again.dry_run().jobs
