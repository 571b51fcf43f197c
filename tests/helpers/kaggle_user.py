"""What a user gets from a command that talks to Kaggle: its exit code, its sentence, and how long it would have waited.

The command line is entered in this process, and the client is the real one, in a process of its own.
"""

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
from helpers.datasets import as_outer_zip, make_dataset
from helpers.kaggle_server import ACCEPTED, KEY, SLUG, TOKEN

from tgs_salt import cli
from tgs_salt.kaggle import client, submit

TILES = {"train_tiles": 24, "test_tiles": 10}
NOTHING: set[str] = set()
WHOLE = {f"{SLUG}.zip", f"{SLUG}.json"}
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
        for module in (client, submit):
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


@cache
def dataset_archive() -> bytes:
    """A small dataset as Kaggle hands it out; flamingo.zip makes it large enough for the client to resume."""
    with tempfile.TemporaryDirectory() as folder:
        dataset = make_dataset(Path(folder) / "data", tile_size=32)
        (dataset / "flamingo.zip").write_bytes(os.urandom(3 << 20))
        return as_outer_zip(dataset, Path(folder) / "outer.zip").read_bytes()


def fetch(user: User, archive: Path, *options: object, **tiles: int) -> Ended:
    """`tgs-salt download`, as the rule calls it."""
    settings = json.dumps({"data": {**TILES, **tiles}})
    return user.types("download", "--competition", SLUG, "--archive", archive, "--settings", settings, *options)


def on_disk(archive: Path) -> set[str]:
    """What lies in the archive's folder, but for the lock."""
    return {path.name for path in archive.parent.iterdir()} - {f".{SLUG}.lock"}


def clients_left() -> list[psutil.Process]:
    """Kaggle's clients that this process has started and that have not ended."""
    children = psutil.Process().children(recursive=True)
    return [child for child in children if any(Path(word).name == "kaggle" for word in child.cmdline())]
