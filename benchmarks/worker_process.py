"""Worker processes that take turns, so that each has its own environment and libraries.

The benchmark writes a line to a worker and waits for its answer; a worker calls `serve`. Workers need only the standard
library, so they can run in an environment without this project.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping

ALLOCATOR_VARIABLE = "GLIBC_TUNABLES"
READY = "ready"


class WorkerProcess:
    """A process that does its work once per request.

    It gets `environment` in addition to the variables of this process, without its GLIBC_TUNABLES.
    """

    def __init__(self, command: list[str], environment: Mapping[str, str]) -> None:
        inherited = {key: value for key, value in os.environ.items() if key != ALLOCATOR_VARIABLE}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**inherited, **environment}
        )
        self._wait()

    def run_once(self) -> None:
        """Let the worker do its work once, and wait for it."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        self._wait()

    def cpu_seconds(self) -> float:
        """Return the CPU time so far, including child processes."""
        import psutil

        parent = psutil.Process(self.process.pid)
        times = [process.cpu_times() for process in [parent, *parent.children(recursive=True)]]
        return sum(each.user + each.system for each in times)

    def close(self) -> None:
        """End the worker, and wait for it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def _wait(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.strip() == READY:
                return
        command = " ".join(self.process.args)  # type: ignore[arg-type]
        raise SystemExit(f"worker process ended unexpectedly: {command}; see its output above")


def serve(work: Callable[[], object]) -> None:
    """Call `work` once for each line of stdin, and report each result as ready."""
    print(READY, flush=True)
    for _ in sys.stdin:
        work()
        print(READY, flush=True)
