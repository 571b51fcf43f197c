"""Processes that take turns: each keeps its own environment and libraries, and one works while the others wait.

The process that times writes a line and waits for an answer; `serve` is the other end. Needs the standard library
alone there, so that a peer may live in an environment without this project.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping

ALLOCATOR = "GLIBC_TUNABLES"
READY = "ready"


class Process:
    """A process that does its work once whenever it is told to. `environment` is added to this process' own, from
    which glibc's tunables are taken out."""

    def __init__(self, command: list[str], environment: Mapping[str, str]) -> None:
        inherited = {key: value for key, value in os.environ.items() if key != ALLOCATOR}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**inherited, **environment}
        )
        self._wait()

    def turn(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        self._wait()

    def cpu_seconds(self) -> float:
        """Processor time so far, that of worker processes included."""
        import psutil

        parent = psutil.Process(self.process.pid)
        times = [process.cpu_times() for process in [parent, *parent.children(recursive=True)]]
        return sum(each.user + each.system for each in times)

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def _wait(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.strip() == READY:
                return
        raise SystemExit(f"{' '.join(self.process.args)} ended; its message is above")  # type: ignore[arg-type]


def serve(work: Callable[[], object]) -> None:
    """Answer each line with one piece of work, until there are no more."""
    print(READY, flush=True)
    for _ in sys.stdin:
        work()
        print(READY, flush=True)
