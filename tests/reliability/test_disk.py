"""On a full or read-only disk a command raises an error and overwrites nothing; the same command then recovers."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.command_line import error_message, tgs_salt
from helpers.experiments import make_experiment
from reliability.contents import file_digests

# Limits the file size, which raises the same kind of error as a full disk, without root.
FULL_DISK = ("prlimit", "--fsize=1000")
# Drops the capabilities of root, which may write everywhere.
UNPRIVILEGED = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()

SUBMISSION = (
    "submission", "--test", "ensemble/test.npy", "--threshold", "threshold.json", "--tiles", "data/tiles.csv",
    "--output", "submission.csv",
)  # fmt: skip
MERGE = ("merge-shards", "--shard", "models/first/fold0/test.npy", "--output", "ensemble/test.npy")


@pytest.fixture
def experiment(tmp_path: Path) -> Iterator[Path]:
    """Yield a finished experiment with an outdated submission.csv."""
    if shutil.which("prlimit") is None or shutil.which("setpriv") is None:
        pytest.skip("util-linux (prlimit, setpriv) is not installed")
    folder = make_experiment(tmp_path / "experiment", models=["first"])
    (folder / "submission.csv").write_text("outdated")
    yield folder
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)


@pytest.mark.parametrize(("arguments", "output"), [(SUBMISSION, "submission.csv"), (MERGE, "ensemble/test.npy")])
def test_full_disk(experiment: Path, arguments: tuple[str, ...], output: str) -> None:
    before = file_digests(experiment)
    message = error_message(tgs_salt(*arguments, folder=experiment, under=FULL_DISK))
    assert message == f"{output}: cannot be written (file too large); free some space and run the same command again."
    assert file_digests(experiment) == before
    assert tgs_salt(*arguments, folder=experiment).returncode == 0
    assert [path for path, digest in file_digests(experiment).items() if digest != before.get(path)] == [output]


def test_read_only_folder(experiment: Path) -> None:
    before = file_digests(experiment)
    experiment.chmod(0o555)
    message = error_message(tgs_salt(*SUBMISSION, folder=experiment, under=UNPRIVILEGED))
    assert message == (
        "submission.csv: cannot be written (Permission denied); make its folder writable, or work in another one."
    )
    assert file_digests(experiment) == before
    experiment.chmod(0o755)
    assert tgs_salt(*SUBMISSION, folder=experiment, under=UNPRIVILEGED).returncode == 0
