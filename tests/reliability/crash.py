# ruff: noqa: E402 (the environment must be set before the imports)
"""Crash a command at each of its disk operations, then run it again.

    python tests/reliability/crash.py WORK kill|full [names...]    one JSON line per command

`command_lines.py` has the names of the commands; without names, all of them are crashed.

This process imports the package once. A forked child runs the command and crashes at one operation; a second child
runs the same command to its end. `disk.py` defines operations and crashes.
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
from reliability import fake_client
from reliability.command_lines import SIDE, SLUG, command_lines
from reliability.contents import file_digests
from reliability.disk import Disk

from tgs_salt import cli

MODULES = (
    "postprocessing.ensemble", "inference.merge_shards", "postprocessing.threshold", "inference.predict",
    "inference.segment", "training.fit", "report.page", "report.plot_tiles", "kaggle.submit",
    "postprocessing.submission", "kaggle.download", "data.folds", "data.preprocess", "synthetic.synthesize",
)  # fmt: skip


def run(
    folder: Path, arguments: list[str], at: int | None = None, how: str = "kill", operations_file: Path | None = None
) -> tuple[int, str]:
    """Run a command in a child; return its exit code (or minus its signal) and its output.

    The child crashes at operation `at`, if given. `operations_file` receives the list of its operations.
    """
    output = folder.with_suffix(".output")
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), output.read_text()
    code = 99
    try:
        with open(output, "w") as stream:
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
        os.chdir(folder)
        sys.argv = ["tgs-salt", *arguments]
        disk = Disk(folder, at, how)
        if at is not None or operations_file is not None:
            disk.install()
        try:
            cli.main()
            code = 0
        except SystemExit as exit_info:
            code = int(exit_info.code or 0)
        disk.paused = True
        if operations_file is not None:
            operations_file.write_text(json.dumps(disk.operations))
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def output_digests(folder: Path) -> dict[str, str]:
    """Return the digest of every file in `folder`, except for those that differ from run to run.

    The origin in a manifest is left out: after a crash, a complete archive is recorded as an existing one.
    """
    digests = {name: digest for name, digest in file_digests(folder).items() if Path(name).name != "timing.json"}
    for name in digests:
        if Path(name).name == f"{SLUG}.json":
            manifest = json.loads((folder / name).read_text())
            digests[name] = json.dumps({key: manifest[key] for key in manifest if key not in ("origin", "client")})
    return digests


def final_files(digests: dict[str, str]) -> dict[str, str]:
    """Return the digests without temporary files and checkpoints."""
    return {
        name: digest
        for name, digest in digests.items()
        if not name.endswith(".part") and not {"checkpoints", f".{SLUG}.download"} & set(Path(name).parts)
    }


class CrashTest:
    """One command in copies of `work/done`, crashed at each of its disk operations."""

    def __init__(self, work: Path, name: str, arguments: list[str], how: str) -> None:
        self.work, self.name, self.arguments, self.how = work, name, arguments, how
        self.before = output_digests(work / "done")
        self.problems: list[str] = []

    def run(self) -> dict[str, Any]:
        """Return the name of the command, the crash, the operations and the problems."""
        operations_file = self.work / "operations.json"
        folder = self.copy()
        code, output = run(folder, self.arguments, operations_file=operations_file)
        assert code == 0, output
        operations, expected = json.loads(operations_file.read_text()), output_digests(folder)
        for at, operation in enumerate(operations, 1):
            problems = list(self.crash(at, expected))
            where = f"{self.name}, {self.how} at {at} of {len(operations)} ({operation})"
            self.problems += [f"{where}: {problem}" for problem in problems]
        return {"command": self.name, "how": self.how, "operations": operations, "problems": self.problems}

    def copy(self) -> Path:
        """Return a fresh copy of the folder (always the same name: the report shows it) and reset the submissions."""
        copy = self.work / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        (self.work / "submissions.json").unlink(missing_ok=True)
        return Path(shutil.copytree(self.work / "done", copy))

    def crash(self, at: int, expected: dict[str, str]) -> Iterable[str]:
        """Yield the problems after a crash at operation `at` and after a second run of the same command."""
        folder = self.copy()
        code, output = run(folder, self.arguments, at, self.how)
        crashed = output_digests(folder)
        if self.how == "kill" and code != -signal.SIGKILL:
            yield f"was not killed, exit code {code}: {output[-500:]}"
        if self.how == "full" and code != 0:
            if code != 1 or not output.splitlines()[-1].startswith("error: ") or "free some space" not in output:
                yield f"exit code {code}: {output[-500:]}"
            if temporary := [name for name in crashed if name.endswith(".part")]:
                yield f"left {temporary}"
        changed = {name: digest for name, digest in final_files(crashed).items() if digest != self.before.get(name)}
        if incomplete := [name for name, digest in changed.items() if digest != expected.get(name)]:
            yield f"{incomplete} are incomplete"
        code, output = run(folder, self.arguments)
        if code != 0 or output_digests(folder) != expected:
            differences = sorted(set(output_digests(folder).items()) ^ set(expected.items()))
            yield f"the second run: exit code {code}, differences {differences}: {output[-500:]}"
        if len(fake_client.read_submissions(self.work / "submissions.json")) > 1:
            yield "was submitted twice"


def create_inputs(done: Path) -> None:
    """Create the files that users provide: a downloaded archive and an image."""
    code, output = run(done, command_lines()["synthesize"])
    assert code == 0, output
    (done / "existing").mkdir()
    (done / "existing" / f"{SLUG}.zip").write_bytes(fake_client.make_archive(done / "synthetic"))
    shutil.rmtree(done / "synthetic")
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, 2 * SIDE), dtype=np.uint8)
    np.save(done / "section.npy", noise)


def main() -> None:
    work, how = Path(sys.argv[1]).resolve(), sys.argv[2]
    commands = command_lines()
    remaining = set(sys.argv[3:] or [name for name in commands if not name.startswith("(")])
    done = work / "done"
    done.mkdir(parents=True)
    for module in MODULES:
        __import__(f"tgs_salt.{module}")
    fake_client.install(done / "synthetic", work / "submissions.json")
    create_inputs(done)
    for name, arguments in commands.items():
        if "TILE" in arguments:
            arguments[arguments.index("TILE")] = (done / "data/tiles.csv").read_text().split()[1].partition(",")[0]
        if name in remaining:
            print(json.dumps(CrashTest(work, name, arguments, how).run()), flush=True)
        remaining.discard(name)
        if not remaining:
            break
        code, output = run(done, arguments)
        assert code == 0, output


if __name__ == "__main__":
    main()
