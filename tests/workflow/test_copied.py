"""Identical data under new times trains nobody: copied, moved, fetched or packed again; and what to type otherwise."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import workflow_runner
from helpers.workflow_runner import Finished, trains

Copy = Callable[[Finished], Finished]
ARRAYS = ("train_images", "train_masks", "test_images")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """An experiment that looks finished, whose arrays are larger than what Snakemake compares by itself (1 MB)."""
    folder = tmp_path_factory.mktemp("large")
    experiment = workflow_runner.tiny()
    workflow_runner.finish_by_touch(folder, experiment)
    for number, name in enumerate(ARRAYS):
        (folder / f"results/tiny/data/{name}.npy").write_bytes(bytes([number]) * 1_500_000)
    touched = workflow_runner.run(folder, experiment, "--touch", "--forceall", quick=True)
    assert touched.code == 0, touched.output
    return Finished(folder, experiment)


@pytest.fixture
def plain_copy(tmp_path: Path, large: Finished) -> Finished:
    """A copy as `cp -r` makes it in the worst order: whatever comes first in the graph has the newest time."""
    folder = shutil.copytree(large.folder, tmp_path / "copy", copy_function=shutil.copyfile)
    paths = sorted((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_mtime)
    for age, path in enumerate(paths):
        if ".snakemake" not in path.parts:
            os.utime(path, (1.7e9 - age, 1.7e9 - age))
    newest = [folder / f"results/tiny/data/{name}.npy" for name in ARRAYS]
    for path in [*folder.glob("data/*/*"), *newest]:
        os.utime(path, (1.7e9 + 9, 1.7e9 + 9))
    return Finished(folder, large.experiment)


def test_a_plain_copy_has_nothing_to_do(plain_copy: Finished) -> None:
    again = plain_copy.dry_run()
    assert again.code == 0 and not again.jobs, again.output


def test_other_bytes_of_the_same_length_are_noticed(plain_copy: Finished) -> None:
    array = plain_copy.results / "data/train_masks.npy"
    array.write_bytes(b"?" + array.read_bytes()[1:])
    assert plain_copy.dry_run().names >= trains("base")


@pytest.mark.parametrize("misled_by", ["no records", "large files"])
def test_where_only_times_speak_touch_takes_what_is_there(plain_copy: Finished, misled_by: str) -> None:
    limit = ["--max-checksum-file-size", "1MB"] if misled_by == "large files" else []
    if misled_by == "no records":
        shutil.rmtree(plain_copy.folder / ".snakemake")
    assert plain_copy.dry_run(*limit).names >= trains("base")
    before = {path: path.read_bytes() for path in plain_copy.results.rglob("*") if path.is_file()}
    touched = workflow_runner.run(plain_copy.folder, plain_copy.experiment, "--touch", *limit, quick=True)
    assert touched.code == 0, touched.output
    assert not plain_copy.dry_run(*limit).jobs
    assert before == {path: path.read_bytes() for path in plain_copy.results.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_packed_again_the_same_bytes_train_nobody(copy: Copy, finished: Finished) -> None:
    again = copy(finished)
    packed = again.go_on("results/tiny/folds.csv", "-R", "preprocess")
    assert packed.code == 0 and packed.names == {"preprocess", "folds"}, packed.output
    assert not again.dry_run().jobs


def test_a_dataset_fetched_again_is_not_even_packed(copy: Copy, finished: Finished) -> None:
    again = copy(finished)
    for path in again.folder.glob("data/*/*"):
        os.utime(path)
    assert not again.dry_run().jobs


@pytest.mark.slow
def test_a_dataset_that_was_broken_and_mended_trains_nobody(copy: Copy, finished: Finished) -> None:
    again = copy(finished)
    depths = next(again.folder.glob("data/*/depths.csv"))
    whole, then = depths.read_text(), depths.stat()
    depths.write_text(whole.replace("\n", "\nx,deep\n", 1))
    failed = again.go_on("--resources", "gpu=0")
    assert failed.code != 0 and failed.names == {"preprocess"}
    assert "pack it by itself, or they are trained again" in failed.output
    told = "snakemake results/tiny/data/tiles.csv results/tiny/folds.csv --cores all --resources gpu=0 --configfile"
    assert told in failed.output
    depths.write_text(whole)
    # Put back from a copy: no time tells that anything happened.
    os.utime(depths, ns=(then.st_atime_ns, then.st_mtime_ns))
    mended = again.go_on("results/tiny/data/tiles.csv", "results/tiny/folds.csv", "--resources", "gpu=0")
    assert mended.code == 0 and mended.names == {"preprocess", "folds"}, mended.output
    assert not again.dry_run().jobs
