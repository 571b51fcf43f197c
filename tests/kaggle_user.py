"""What a user gets from a command that talks to Kaggle: its exit code, its sentence, and how long it would have waited.

The command line is entered in this process, and the client is the real one, in a process of its own.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from kaggle_server import ACCEPTED, KEY, TOKEN

from tgs_salt import cli
from tgs_salt.submission import submit
from tgs_salt.survey import kaggle

SECRETS = (KEY, TOKEN, "secretsignature", "secretupload", "not-the-key", *(value.split()[1] for value in ACCEPTED))


@dataclass(frozen=True)
class Ended:
    """How a command ended. `error` is its sentence, empty on success; `said` is all that it printed."""

    code: int
    error: str
    said: str
    waited: list[float] = field(default_factory=list)


class User:
    """Types commands, and does not sit out the pauses between attempts: the pauses are noted, and nearly skipped."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.patch, self.capsys = monkeypatch, capsys
        self.waited: list[float] = []

        def sleep(seconds: float) -> None:
            self.waited.append(seconds)
            time.sleep(min(seconds, 0.05))

        hurried = SimpleNamespace(sleep=sleep, monotonic=time.monotonic)
        for module in (kaggle, submit):
            monkeypatch.setattr(module, "time", hurried)

    def types(self, *arguments: object) -> Ended:
        self.waited.clear()
        self.capsys.readouterr()
        self.patch.setattr(sys, "argv", ["tgs-salt", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = self.capsys.readouterr()
        code = ended.value.code or 0
        errors = [line for line in printed.err.splitlines() if line.startswith("error: ")]
        assert "Traceback" not in printed.err, printed.err
        assert len(errors) == (code != 0), printed.err
        said = printed.out + printed.err
        assert [secret for secret in SECRETS if secret in said] == []
        return Ended(int(code), "".join(errors).removeprefix("error: "), said, list(self.waited))
