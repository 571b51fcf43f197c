"""A disk that is full, or may not be written: a sentence, nothing overwritten, and the same command recovers."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.command_line import refused, tgs_salt
from helpers.experiments import make_experiment
from reliability.contents import contents

# The kernel refuses to let a file grow, as a full disk does; it takes no root to ask for that.
FULL = ("prlimit", "--fsize=1000")
# root may write everywhere, but for what it gives up.
NO_RIGHTS = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()

SUBMISSION = (
    "submission", "--test", "ensemble/test.npy", "--decision", "threshold.json", "--tiles", "data/tiles.csv",
    "--output", "submission.csv",
)  # fmt: skip
GATHER = ("merge-shards", "--part", "models/first/fold0/test.npy", "--output", "ensemble/test.npy")


@pytest.fixture
def experiment(tmp_path: Path) -> Iterator[Path]:
    """Finished, but for another submission.csv and another ensemble/test.npy than belong there."""
    if shutil.which("prlimit") is None or shutil.which("setpriv") is None:
        pytest.skip("util-linux (prlimit, setpriv) is not here")
    folder = make_experiment(tmp_path / "experiment", models=["first"])
    (folder / "submission.csv").write_text("of before")
    yield folder
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)


@pytest.mark.parametrize(("words", "output"), [(SUBMISSION, "submission.csv"), (GATHER, "ensemble/test.npy")])
def test_a_disk_without_room(experiment: Path, words: tuple[str, ...], output: str) -> None:
    before = contents(experiment)
    said = refused(tgs_salt(*words, folder=experiment, under=FULL))
    assert said == f"{output}: cannot be written, it grows too large; make room and run the same command again."
    assert contents(experiment) == before
    assert tgs_salt(*words, folder=experiment).returncode == 0
    assert [path for path, seen in contents(experiment).items() if seen != before.get(path)] == [output]


def test_a_folder_that_may_not_be_written(experiment: Path) -> None:
    before = contents(experiment)
    experiment.chmod(0o555)
    said = refused(tgs_salt(*SUBMISSION, folder=experiment, under=NO_RIGHTS))
    assert said == (
        "submission.csv: cannot be written (Permission denied); make its folder writable, or work in another one."
    )
    assert contents(experiment) == before
    experiment.chmod(0o755)
    assert tgs_salt(*SUBMISSION, folder=experiment, under=NO_RIGHTS).returncode == 0
