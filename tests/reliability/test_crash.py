"""A command that is killed at any moment at which it touches the disk, or finds no room there, and is run again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from reliability.lines import command_lines

CRASH = Path(__file__).with_name("crash.py")
CRASHED = [name for name in command_lines() if not name.startswith("(")]


def crash(work: Path, how: str, *names: str) -> list[dict[str, Any]]:
    """Crash the commands of these names at each of their moments; what was found."""
    command = [sys.executable, str(CRASH), str(work), how, *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


LENGTHY = ["synthesise", "train"]  # of many moments, or long ones
BRISK = [name for name in CRASHED if name not in LENGTHY]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "names"),
    [("kill", CRASHED), ("full", BRISK), pytest.param("full", LENGTHY, marks=pytest.mark.long)],
    ids=["kill", "full", "full, lengthy"],
)
def test_crashed_anywhere_every_command_ends_with_the_same_bytes(tmp_path: Path, how: str, names: list[str]) -> None:
    found = crash(tmp_path / "work", how, *names)
    assert [one["command"] for one in found] == names
    for one in found:
        kinds = {moment.split()[0] for moment in one["moments"]}
        assert kinds >= {"open", "fsync", "os.rename"}, one
        assert one["problems"] == []
