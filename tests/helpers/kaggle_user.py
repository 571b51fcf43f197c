"""Run the command line in this process with the real Kaggle client as a subprocess; record exit code, error, delays."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from helpers.datasets import make_dataset, make_outer_zip
from helpers.kaggle_server import ACCEPTED, KEY, SLUG, TOKEN

from tgs_salt import cli
from tgs_salt.kaggle import client, submit

TILES = {"train_tiles": 24, "test_tiles": 10}
NO_FILES: set[str] = set()
COMPLETE = {f"{SLUG}.zip", f"{SLUG}.json"}
SECRETS = (KEY, TOKEN, "secretsignature", "secretupload", "not-the-key", *(value.split()[1] for value in ACCEPTED))


@dataclass(frozen=True)
class CommandResult:
    """Result of a command: `error` is its error message, empty on success; `output` is stdout and stderr."""

    code: int
    error: str
    output: str
    delays: list[float] = field(default_factory=list)


class User:
    """Run commands; the delays between attempts are recorded and shortened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys
        self.delays: list[float] = []

        def sleep(seconds: float) -> None:
            self.delays.append(seconds)
            time.sleep(min(seconds, 0.05))

        fast_time = SimpleNamespace(sleep=sleep, monotonic=time.monotonic)
        for module in (client, submit):
            monkeypatch.setattr(module, "time", fast_time)

    def run(self, *arguments: object) -> CommandResult:
        self.delays.clear()
        self.capsys.readouterr()
        self.monkeypatch.setattr(sys, "argv", ["tgs-salt", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_info:
            cli.main()
        captured = self.capsys.readouterr()
        code = exit_info.value.code or 0
        errors = [line for line in captured.err.splitlines() if line.startswith("error: ")]
        assert "Traceback" not in captured.err, captured.err
        assert len(errors) == (code != 0), captured.err
        output = captured.out + captured.err
        assert [secret for secret in SECRETS if secret in output] == []
        return CommandResult(int(code), "".join(errors).removeprefix("error: "), output, list(self.delays))


@cache
def dataset_archive() -> bytes:
    """A small dataset in Kaggle's layout; flamingo.zip makes it large enough for the client to resume."""
    with tempfile.TemporaryDirectory() as folder:
        dataset = make_dataset(Path(folder) / "data", tile_size=32)
        (dataset / "flamingo.zip").write_bytes(os.urandom(3 << 20))
        return make_outer_zip(dataset, Path(folder) / "outer.zip").read_bytes()


def download_archive(user: User, archive: Path, *options: object, **tiles: int) -> CommandResult:
    """Run `tgs-salt download` as the rule calls it."""
    settings = json.dumps({"data": {**TILES, **tiles}})
    return user.run("download", "--competition", SLUG, "--archive", archive, "--settings", settings, *options)


def files_in_folder(archive: Path) -> set[str]:
    """Names of the files in the archive's folder, without the lock."""
    return {path.name for path in archive.parent.iterdir()} - {f".{SLUG}.lock"}


def running_clients() -> list[psutil.Process]:
    """Kaggle clients started by this process that are still running."""
    children = psutil.Process().children(recursive=True)
    return [child for child in children if any(Path(word).name == "kaggle" for word in child.cmdline())]
