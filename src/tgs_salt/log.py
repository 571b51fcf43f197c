"""What a command says: lines for a log file, a live bar on a terminal.

Under Snakemake stderr is the job's log file and stdout is the terminal. So everything is logged to stderr,
and the few lines that a person waits for (`announce`) are also printed to stdout.
"""

from __future__ import annotations

import logging
import os
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger("tgs_salt")
SECONDS_BETWEEN_LINES = 10.0


def set_up(level: str = "info") -> None:
    """Send the log to stderr with the time of day."""
    _append(sys.stderr)
    handler = _Stderr()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to what sys.stderr is at that moment: a live bar puts itself there, and lets lines pass above it."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


def _append(stream: TextIO) -> None:
    """Write at the end of a log file, wherever that is by then: a second attempt may empty the file of a first one that
    is still alive, whose next line would leave a hole before it."""
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):  # no file of the system's: captured, or replaced
        return
    if fcntl is not None and stat.S_ISREG(os.fstat(descriptor).st_mode):
        fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_APPEND)


def log_and_echo(line: str) -> None:
    """Log `line`, and show it on the terminal where the log itself is a file."""
    logger.info(line)
    if not sys.stderr.isatty():
        print(line, flush=True)


class ProgressReporter:
    """Counts finished things, of which `done` were so before; `advance` is called from one thread."""

    def __init__(self, what: str, total: int, bar: Progress | None, done: int = 0, lines: bool = True) -> None:
        self.what, self.total, self.before, self.done, self.lines = what, total, done, done, lines
        self.began = self.last_line = time.monotonic()
        self.bar = bar
        self.task = bar.add_task(what, total=total, completed=done, rate="") if bar else None

    def name(self, what: str) -> None:
        """Put `what` before the bar."""
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, description=what)

    def advance(self, count: int = 1) -> None:
        self.done += count
        now = time.monotonic()
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, advance=count, rate=f"{self._rate(now):,.0f}/s")
        elif self.lines and now - self.last_line >= SECONDS_BETWEEN_LINES:
            self.last_line = now
            left = (self.total - self.done) / max(self._rate(now), 1e-9)
            logger.info(f"{self.what}: {self.done:,} of {self.total:,}, {self._rate(now):,.0f}/s, {left:.0f} s left")

    def finish(self) -> None:
        if not self.lines:
            return
        now = time.monotonic()
        logger.info(f"{self.what}: {self.done:,} in {now - self.began:.1f} s, {self._rate(now):,.0f}/s")

    def _rate(self, now: float) -> float:
        return (self.done - self.before) / max(now - self.began, 1e-9)


@contextmanager
def progress(what: str, total: int, done: int = 0, lines: bool = True) -> Iterator[ProgressReporter]:
    """Show how `total` things get done: a bar on a terminal; in a log file, with `lines`, a line every ten seconds."""
    if sys.stderr.isatty():
        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"), TimeRemainingColumn(),
        )  # fmt: skip
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            counter = ProgressReporter(what, total, bar, done, lines)
            yield counter
    else:
        counter = ProgressReporter(what, total, None, done, lines)
        yield counter
    counter.finish()
