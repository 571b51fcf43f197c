"""How a command ends: exit code and last line."""

from __future__ import annotations

import sys

import pytest

from tgs_salt import cli
from tgs_salt.errors import UserError


@pytest.mark.parametrize(
    ("error", "code", "last_line"),
    [
        (UserError("a.csv: no such file;\nrun the step that creates it."), 1, "a.csv: no such file; run the step that"),
        (
            RuntimeError("Compilation failed\n\n  see the log\n"),
            2,
            "RuntimeError: Compilation failed see the log (a bug",
        ),
        (ValueError(""), 2, "ValueError: (a bug"),
        (MemoryError(), 1, "out of memory;"),
    ],
)
def test_last_line_gives_the_cause_of_an_exception_of_several_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, code: int, last_line: str
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(sys.modules["tgs_salt.cli.app"], "app", fail)  # cli.app is the Typer app
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == code
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: {last_line}")
