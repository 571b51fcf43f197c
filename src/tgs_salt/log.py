"""Logging and progress bars.

Under Snakemake, stderr is the job's log file and stdout is the terminal. Everything is therefore logged to stderr;
the few lines that matter on the terminal (`log_and_echo`) are also printed to stdout.
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
LOG_INTERVAL_SECONDS = 10.0


def configure(level: str = "info") -> None:
    """Log to stderr, each line with the time of day."""
    _set_append_mode(sys.stderr)
    handler = _StderrHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Look up sys.stderr on every write: a live progress bar replaces it to print log lines above the bar."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


def _set_append_mode(stream: TextIO) -> None:
    """Set O_APPEND on a log file.

    A retried job truncates the log while the first attempt may still be running.
    Without O_APPEND, the first attempt's next line would leave a hole of zero bytes.
    """
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):  # captured or replaced: no file descriptor
        return
    if fcntl is not None and stat.S_ISREG(os.fstat(descriptor).st_mode):
        fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_APPEND)


def log_and_echo(line: str) -> None:
    """Log `line`, and print it to stdout as well if stderr is not a terminal."""
    logger.info(line)
    if not sys.stderr.isatty():
        print(line, flush=True)


class ProgressReporter:
    """Count finished items and report the rate, in a progress bar or in log lines. Not thread-safe.

    Args:
        description: Label of the bar and of the log lines.
        total: Number of items.
        bar: Progress bar to update; None to log lines instead.
        done: Number of items finished earlier, in a resumed run; excluded from the rate.
        lines: Whether to write log lines.
    """

    def __init__(self, description: str, total: int, bar: Progress | None, done: int = 0, lines: bool = True) -> None:
        self.description, self.total, self.lines = description, total, lines
        self.initial = self.done = done
        self.started_at = self.last_line_at = time.monotonic()
        self.bar = bar
        self.task = bar.add_task(description, total=total, completed=done, rate="") if bar else None

    def set_description(self, description: str) -> None:
        """Change the label of the progress bar."""
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, description=description)

    def advance(self, count: int = 1) -> None:
        """Add `count` finished items."""
        self.done += count
        now = time.monotonic()
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, advance=count, rate=f"{self._rate(now):,.0f}/s")
        elif self.lines and now - self.last_line_at >= LOG_INTERVAL_SECONDS:
            self.last_line_at = now
            rate = self._rate(now)
            left = (self.total - self.done) / max(rate, 1e-9)
            logger.info(f"{self.description}: {self.done:,} of {self.total:,}, {rate:,.0f}/s, {left:.0f} s left")

    def finish(self) -> None:
        """Log the total count, time and rate."""
        if not self.lines:
            return
        now = time.monotonic()
        seconds = now - self.started_at
        logger.info(f"{self.description}: {self.done:,} in {seconds:.1f} s, {self._rate(now):,.0f}/s")

    def _rate(self, now: float) -> float:
        """Return the items per second of this run."""
        return (self.done - self.initial) / max(now - self.started_at, 1e-9)


@contextmanager
def progress(description: str, total: int, done: int = 0, lines: bool = True) -> Iterator[ProgressReporter]:
    """Report progress over `total` items: a bar on a terminal, else (with `lines`) a log line every ten seconds."""
    if sys.stderr.isatty():
        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"), TimeRemainingColumn(),
        )  # fmt: skip
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            reporter = ProgressReporter(description, total, bar, done, lines)
            yield reporter
    else:
        reporter = ProgressReporter(description, total, None, done, lines)
        yield reporter
    reporter.finish()
