"""Run commands of the package in a process of their own, as a user does."""

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
    """Run `python -m tgs_salt` with `arguments` in `folder`; a non-zero exit code is not an error here.

    `under` is a command that runs another one, such as `prlimit --fsize=1000`.
    """
    return subprocess.run(
        [*under, sys.executable, "-m", "tgs_salt", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"},
    )


def error_message(done: subprocess.CompletedProcess[str]) -> str:
    """Return the message of a failed command: exit code 1, one `error:` line, which is the last, and no traceback."""
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and done.stderr.splitlines()[-1] == errors[0], done.stderr
    return errors[0].removeprefix("error: ")
