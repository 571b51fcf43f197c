"""Run the command line as a user does: another process, its exit code and what it printed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src"


def tgs_salt(
    *arguments: object, folder: Path | None = None, under: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """`python -m tgs_salt` with these arguments, in `folder`; the exit code is the caller's to look at.

    `under` is a command that runs others, such as `prlimit --fsize=1000`.
    """
    return subprocess.run(
        [*under, sys.executable, "-m", "tgs_salt", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"},
    )


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The one sentence with which a command ended: exit code 1, `error: ...` as the last line, no traceback."""
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and done.stderr.splitlines()[-1] == errors[0], done.stderr
    return errors[0].removeprefix("error: ")
