# ruff: noqa: E402 (the environment comes before what reads it)
"""Crash a command at every moment at which it touches the disk, and run it again.

    python tests/reliability/crash.py WORK kill|full [names...]    one JSON line a command; names as in lines.py

A child of this process, which has imported everything once, runs the command and is crashed at one moment; a second
child runs the same command undisturbed. `disk.py` tells what a moment and a crash are.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", NUMBA_NUM_THREADS="1", GLIBC_TUNABLES="glibc.malloc.hugetlb=0", MPLBACKEND="agg")
sys.path[:0] = [str(Path(__file__).parents[2] / "src"), str(Path(__file__).parents[1])]

import numpy as np
from reliability import client, lines
from reliability.contents import contents
from reliability.disk import Disk

from tgs_salt.cli import main as command_line

MODULES = (
    "postprocessing.ensemble", "inference.merge_shards", "postprocessing.threshold", "inference.predict",
    "inference.segment", "training.fit", "report.page", "report.plot_tiles", "kaggle.submit",
    "postprocessing.submission", "kaggle.download", "data.folds", "data.preprocess", "synthetic.synthesize",
)  # fmt: skip


def run(
    folder: Path, words: list[str], at: int | None = None, how: str = "kill", list_to: Path | None = None
) -> tuple[int, str]:
    """Run a command in a child, crashed at moment `at`; how it ended (minus the signal's number), and what it said.

    Without `at` nothing happens to it; its moments then go to the file `list_to`.
    """
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
        sys.argv = ["tgs-salt", *words]
        disk = Disk(folder, at, how)
        if at is not None or list_to is not None:
            disk.watch()
        try:
            command_line()
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


def made(folder: Path) -> dict[str, str]:
    """Every file by its digest, but for those that differ from run to run.

    A manifest is taken without its origin: of an archive that came just before the crash the next run only knows that
    it was found.
    """
    found = {name: seen for name, seen in contents(folder).items() if Path(name).name != "timing.json"}
    for name in found:
        if Path(name).name == f"{lines.SLUG}.json":
            manifest = json.loads((folder / name).read_text())
            found[name] = json.dumps({key: manifest[key] for key in manifest if key not in ("origin", "client")})
    return found


def visible(found: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Of `made`, what a reader would take for a result."""
    return {
        name: seen
        for name, seen in found
        if not name.endswith(".part") and not {"checkpoints", f".{lines.SLUG}.download"} & set(Path(name).parts)
    }


class Attack:
    """One command on what lies in `work/done`, crashed at each of its moments in copies of that folder."""

    def __init__(self, work: Path, name: str, words: list[str], how: str) -> None:
        self.work, self.name, self.words, self.how = work, name, words, how
        self.before = made(work / "done")
        self.problems: list[str] = []

    def carry_out(self) -> dict[str, Any]:
        listing = self.work / "moments.json"
        after = self.copy()
        code, said = run(after, self.words, list_to=listing)
        assert code == 0, said
        moments, wanted = json.loads(listing.read_text()), made(after)
        for at, moment in enumerate(moments, 1):
            problems = list(self.crash(at, wanted))
            self.problems += [f"{self.name}, {self.how} at {at} of {len(moments)} ({moment}): {p}" for p in problems]
        return {"command": self.name, "how": self.how, "moments": moments, "problems": self.problems}

    def copy(self) -> Path:
        """A fresh copy of the folder, of one name (which the report says), and a Kaggle to which nothing was sent."""
        copy = self.work / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        (self.work / "listed.json").unlink(missing_ok=True)
        return Path(shutil.copytree(self.work / "done", copy))

    def crash(self, at: int, wanted: dict[str, str]) -> Iterable[str]:
        """What is wrong after a crash at moment `at`, and after the same command again."""
        folder = self.copy()
        code, said = run(folder, self.words, at, self.how)
        crashed = made(folder)
        if self.how == "kill" and code != -signal.SIGKILL:
            yield f"was not killed but ended with {code}: {said[-500:]}"
        if self.how == "full" and code != 0:
            if code != 1 or not said.splitlines()[-1].startswith("error: ") or "make room" not in said:
                yield f"ended with {code} and said {said[-500:]}"
            if strays := [name for name in crashed if name.endswith(".part")]:
                yield f"left {strays}"
        old = {name: seen for name, seen in visible(crashed.items()).items() if seen != self.before.get(name)}
        if wrong := [name for name, seen in old.items() if seen != wanted.get(name)]:
            yield f"{wrong} are not whole"
        code, said = run(folder, self.words)
        if code != 0 or made(folder) != wanted:
            differs = sorted(set(made(folder).items()) ^ set(wanted.items()))
            yield f"run again it ended with {code}, {differs}: {said[-500:]}"
        if len(client.submissions(self.work / "listed.json")) > 1:
            yield "was sent twice"


def prepare(done: Path) -> None:
    """What is there before the first command: an archive that a browser has left, a picture of somebody's."""
    drawn = lines.command_lines()["synthesize"]
    code, said = run(done, drawn)
    assert code == 0, said
    (done / "dropped").mkdir()
    (done / "dropped" / f"{lines.SLUG}.zip").write_bytes(client.archive(done / "drawn"))
    shutil.rmtree(done / "drawn")
    noise = np.random.default_rng(0).integers(0, 256, (lines.SIDE, 2 * lines.SIDE), dtype=np.uint8)
    np.save(done / "section.npy", noise)


def main() -> None:
    work, how = Path(sys.argv[1]).resolve(), sys.argv[2]
    every = lines.command_lines()
    left = set(sys.argv[3:] or [name for name in every if not name.startswith("(")])
    done = work / "done"
    done.mkdir(parents=True)
    for module in MODULES:
        __import__(f"tgs_salt.{module}")
    client.stand_in(done / "drawn", work / "listed.json")
    prepare(done)
    for name, words in every.items():
        if "TILE" in words:
            words[words.index("TILE")] = (done / "data/tiles.csv").read_text().split()[1].partition(",")[0]
        if name in left:
            print(json.dumps(Attack(work, name, words, how).carry_out()), flush=True)
        left.discard(name)
        if not left:
            break
        code, said = run(done, words)
        assert code == 0, said


if __name__ == "__main__":
    main()
