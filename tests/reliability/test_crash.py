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


DRAWING = ["synthesize"]  # of many moments, and nobody's night
OTHERS = [name for name in CRASHED if name not in DRAWING]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "names"),
    [
        pytest.param("kill", OTHERS, id="kill"),
        pytest.param("kill", DRAWING, marks=pytest.mark.long, id="kill, drawing"),
        pytest.param("full", CRASHED, marks=pytest.mark.long, id="full"),
    ],
)
def test_crashed_anywhere_every_command_ends_with_the_same_bytes(tmp_path: Path, how: str, names: list[str]) -> None:
    found = crash(tmp_path / "work", how, *names)
    assert [one["command"] for one in found] == names
    for one in found:
        kinds = {moment.split()[0] for moment in one["moments"]}
        assert kinds >= {"open", "fsync", "os.rename"}, one
        assert one["problems"] == []
