"""Every command survives SIGKILL or a full disk at each of its disk operations."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from reliability.command_lines import command_lines

CRASH = Path(__file__).with_name("crash.py")
CRASHED = [name for name in command_lines() if not name.startswith("(")]
MANY_OPERATIONS = ["synthesize"]
OTHERS = [name for name in CRASHED if name not in MANY_OPERATIONS]


def run_crash(work: Path, how: str, *names: str) -> list[dict[str, Any]]:
    """Crash these commands at each of their disk operations; return one result per command."""
    command = [sys.executable, str(CRASH), str(work), how, *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "names"),
    [
        pytest.param("kill", OTHERS, id="kill"),
        pytest.param("kill", MANY_OPERATIONS, marks=pytest.mark.long, id="kill, synthesize"),
        pytest.param("full", CRASHED, marks=pytest.mark.long, id="full"),
    ],
)
def test_crashed_command_recovers_with_the_same_bytes(tmp_path: Path, how: str, names: list[str]) -> None:
    outcomes = run_crash(tmp_path / "work", how, *names)
    assert [outcome["command"] for outcome in outcomes] == names
    for outcome in outcomes:
        kinds = {operation.split()[0] for operation in outcome["operations"]}
        assert kinds >= {"open", "fsync", "os.rename"}, outcome
        assert outcome["problems"] == []
