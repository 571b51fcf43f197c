"""A command that is killed at any moment at which it touches the disk, or finds no room there, and is run again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

CRASH = Path(__file__).with_name("crash.py")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["kill", "full"])
def test_crashed_anywhere_it_ends_with_the_same_bytes(tmp_path: Path, how: str) -> None:
    command = [sys.executable, str(CRASH), str(tmp_path / "work"), how, "folds"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (found,) = map(json.loads, done.stdout.splitlines())
    assert {moment.split()[0] for moment in found["moments"]} >= {"open", "write", "fsync", "os.rename"}
    assert found["problems"] == []
