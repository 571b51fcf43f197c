# ruff: noqa: E501, PTH100, PTH115
"""Crash a command at every moment at which it touches the disk, and run it again.

    python tests/reliability/crash.py WORK [kill|full] [commands...]    one JSON line a command

The moments are found, not listed: an audit hook of the interpreter tells of every file that is opened for writing, made,
renamed, removed, mapped or cut, whoever does it; writes and fsyncs are counted in the streams and in `os`. A child of
this process, which has imported everything once, runs the command and is killed at one moment; a second child runs
the same command undisturbed. `kill` is SIGKILL, halfway through the bytes of a write; `full` a disk without room.
"""

from __future__ import annotations

import builtins
import errno
import hashlib
import io
import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", NUMBA_NUM_THREADS="1", GLIBC_TUNABLES="glibc.malloc.hugetlb=0", MPLBACKEND="agg")
SOURCE = Path(__file__).parents[2] / "src"
sys.path.insert(0, str(SOURCE))

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink", "mmap.__new__")
TINY = {"survey": {"source": "directory", "directory": "survey", "tile_size": 32}}
MODEL = {"network": "article", "epochs": 2, "batch_size": 8, "threads": 1, "average": 0.9}


class Disk:
    """Counts what is done to the disk below `folder`, and has the process crash at moment number `at`."""

    def __init__(self, folder: Path, at: int | None, how: str) -> None:
        self.folder, self.at, self.how, self.moments = str(folder), at, how, []
        self.busy = False

    def touch(self, what: str, path: object, before: Callable[[], Any] = lambda: None) -> None:
        if self.busy or not str(path).startswith(self.folder):
            return
        self.moments.append(f"{what} {Path(str(path)).name}")
        if self.at is None or len(self.moments) < self.at:
            return
        self.busy = True
        if self.how == "kill":
            before()
            os.kill(os.getpid(), signal.SIGKILL)
        self.busy = False
        # What frees room still works on a full disk; what takes some does not.
        if what.split(maxsplit=1)[0] in ("write", "fsync", "open", "os.mkdir", "reserve"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    def audit(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(args[0], (str, bytes, os.PathLike)):
            mode, flags = args[1], args[2] or 0
            if (mode is not None and set(str(mode)) & set("wax+")) or (mode is None and flags & WRITING):
                self.touch("open", self.place(args[0]))
        elif event in CHANGES and isinstance(args[0], (str, os.PathLike)):
            self.touch(event, self.place(args[0]))
        elif event == "mmap.__new__" and args[2] != 1:  # not a private or read-only one
            self.touch("map", self.folder)

    def place(self, path: Any) -> str:
        return os.path.abspath(os.fsdecode(path))

    def watch(self) -> None:
        sys.addaudithook(self.audit)
        opened, fsync, reserve = io.open, os.fsync, os.posix_fallocate

        def open_watched(file: Any, mode: str = "r", *args: Any, **more: Any) -> Any:
            stream = opened(file, mode, *args, **more)
            return (
                Watched(stream, self, self.place(file))
                if set(mode) & set("wax+") and isinstance(file, (str, os.PathLike))
                else stream
            )

        def fsync_watched(descriptor: int) -> None:
            self.touch("fsync", os.readlink(f"/proc/self/fd/{descriptor}"))
            fsync(descriptor)

        def reserve_watched(descriptor: int, first: int, size: int) -> None:
            self.touch("reserve", os.readlink(f"/proc/self/fd/{descriptor}"))
            reserve(descriptor, first, size)

        builtins.open = io.open = open_watched
        os.fsync, os.posix_fallocate = fsync_watched, reserve_watched


class Watched:
    """A stream whose writes are moments; half of the bytes of a killed one reach the disk."""

    def __init__(self, stream: Any, disk: Disk, path: str) -> None:
        self.stream, self.disk, self.path = stream, disk, path

    def write(self, content: Any) -> Any:
        def half() -> None:
            self.stream.write(content[: len(content) // 2])
            self.stream.flush()

        self.disk.touch("write", self.path, half)
        return self.stream.write(content)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def __enter__(self) -> Watched:
        self.stream.__enter__()
        return self

    def __exit__(self, *problem: Any) -> Any:
        return self.stream.__exit__(*problem)

    def __iter__(self) -> Any:
        return iter(self.stream)


def commands() -> dict[str, list[str]]:
    """What the rules run, in order, on the survey in `survey`; paths are relative to the working folder."""
    sections = {
        **TINY, "folds": {"count": 2}, "model": MODEL, "predict": {}, "ensemble": {"weights": "search"}, "threshold": {},
    }  # fmt: skip
    settings = ["--settings", json.dumps(sections)]
    tables = ["--tiles", "packed/tiles.csv", "--folds", "folds.csv"]
    both = {
        split: [part for fold in (0, 1) for part in (f"--{split}", f"m{fold}/{split}.npy")] for split in ("oof", "test")
    }
    model = lambda fold: [  # noqa: E731
        "train", *settings, "--model", "m", "--fold", str(fold), "--images", "packed/train_images.npy",
        "--masks", "packed/train_masks.npy", *tables, "--output", f"m{fold}/model.pt",
    ]  # fmt: skip
    predict = lambda fold, split: [  # noqa: E731
        "predict", *settings, "--split", split, "--model", f"m{fold}/model.pt", *tables, "--output", f"m{fold}/{split}.npy",
        "--images", f"packed/{'train' if split == 'oof' else 'test'}_images.npy",
    ]  # fmt: skip
    drawn = json.dumps({"survey": {"source": "synthetic", "train_tiles": 16, "test_tiles": 4, "tile_size": 32}})
    votes = ["--models", "m", "--masks", "packed/train_masks.npy", *tables]
    return {
        "synthesise": ["synthesise", "--settings", drawn, "--output", "survey"],
        "pack": ["pack", *settings, "--source", "survey", "--output", "packed"],
        "folds": ["folds", *settings, "--tiles", "packed/tiles.csv", "--output", "folds.csv"],
        "train": model(0),
        "train 1": model(1),
        "predict": predict(0, "oof"),
        "predict 0 test": predict(0, "test"),
        "predict 1 oof": predict(1, "oof"),
        "predict 1 test": predict(1, "test"),
        "ensemble": ["ensemble", *settings, *votes, *both["oof"], *both["test"], "--output", "ensemble"],
        "threshold": [
            "threshold", *settings, *votes, "--ensemble", "ensemble/oof.npy", *both["oof"], "--output", ".",
        ],
        "submission": [
            "submission", "--test", "ensemble/test.npy", "--decision", "threshold.json", "--tiles", "packed/tiles.csv",
            "--output", "submission.csv",
        ],
        "report": [
            "report", ".", "--output", "report.html",
        ],
    }  # fmt: skip


def run(
    folder: Path, command: list[str], at: int | None = None, how: str = "kill", list_to: Path | None = None
) -> tuple[int, str]:
    """Run a command in a child, killed at moment `at`; how it ended (minus the signal's number), and what it said."""
    said = folder.with_suffix(".said")
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said.read_text()
    code = 99
    try:
        with open(said, "w") as stream:
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
        os.chdir(folder)
        sys.argv = ["tgs-salt", *command]
        disk = Disk(folder, at, how)
        if at is not None or list_to is not None:
            disk.watch()
        from tgs_salt.cli import main

        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        disk.busy = True
        if list_to is not None:
            list_to.write_text(json.dumps(disk.moments))
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def contents(folder: Path) -> dict[str, str]:
    """Every file by its path and digest, but for those that differ from run to run."""
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in found.items()
        if path.name != "timing.json"
    }


def visible(found: dict[str, str]) -> dict[str, str]:
    """Of `contents`, what a reader would take for a result."""
    return {
        name: seen for name, seen in found.items() if not name.endswith(".part") and "resume" not in Path(name).parts
    }


def attack(work: Path, name: str, command: list[str], how: str) -> dict[str, Any]:
    """Crash `command` at every moment, in copies of the folder that the commands before it left in `work/done`."""
    before = work / "done"
    after = Path(shutil.copytree(before, work / "after"))
    listing = work / "moments.json"
    code, said = run(after, command, list_to=listing)
    assert code == 0, said
    moments, wanted = json.loads(listing.read_text()), contents(after)
    problems = []
    for at, moment in enumerate(moments, 1):
        folder = Path(shutil.copytree(before, work / "crashed"))
        code, said = run(folder, command, at, how)
        where = f"{name}, {how} at {at} of {len(moments)} ({moment})"
        crashed = contents(folder)
        if how == "kill" and code != -signal.SIGKILL:
            problems.append(f"{where}: was not killed but ended with {code}: {said[-300:]}")
        if (
            how == "full"
            and code != 0
            and (code != 1 or not said.splitlines()[-1].startswith("error: ") or "make room" not in said)
        ):
            problems.append(f"{where}: said {said[-500:]}")
        if how == "full" and [file for file in crashed if file.endswith(".part")]:
            problems.append(f"{where}: left strays {sorted(set(crashed) - set(wanted))}")
        wrong = [file for file, seen in visible(crashed).items() if seen != wanted.get(file)]
        if wrong:
            problems.append(f"{where}: {wrong} are not whole")
        code, said = run(folder, command)
        if code != 0 or contents(folder) != wanted:
            differs = sorted(set(contents(folder).items()) ^ set(wanted.items()))
            problems.append(f"{where}: run again it ended with {code}, {differs}: {said[-500:]}")
        shutil.rmtree(folder)
    shutil.rmtree(after)
    return {"command": name, "how": how, "moments": moments, "problems": problems}


def main() -> None:
    work, how, chosen = Path(sys.argv[1]).resolve(), sys.argv[2], sys.argv[3:]
    (work / "done").mkdir(parents=True)
    for module in ("learning.train", "learning.predict", "decision.threshold", "decision.ensemble", "report.page", "report.status",
                   "submission.table", "survey.pack", "survey.synthesise", "survey.folds", "cli"):  # fmt: skip
        __import__(f"tgs_salt.{module}")
    for name, command in commands().items():
        if (name in chosen or not chosen) and " " not in name:
            print(json.dumps(attack(work, name, command, how)), flush=True)
        code, said = run(work / "done", command)
        assert code == 0, said


if __name__ == "__main__":
    main()
