"""Handle Ctrl-C and SIGTERM: clean up, report the signal, and exit with a nonzero code."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """A signal stopped this process.

    It is not an `Exception`, so that handlers of ordinary errors do not catch it.
    """

    def __init__(self, number: int, kept: str = "finished work is saved") -> None:
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        super().__init__(f"stopped by {name}; {kept}; run the same command to resume.")
        self.code = 128 + number


class StopRequest:
    """The number of the signal that requested a stop; None until one arrives."""

    number: int | None = None


def install_handlers() -> None:
    """Raise `Interrupted` on a stop signal, so that temporary files are removed and the log ends with the reason."""
    for number in STOP_SIGNALS:
        # A shell may start a background job with SIGINT ignored; respect that.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _raise_interrupted)


@contextmanager
def defer_signals() -> Iterator[StopRequest]:
    """Record the first stop signal in the yielded `StopRequest` instead of raising.

    The caller polls the request and stops at a safe point. A second signal is handled as it was before the context.
    Outside the main thread, which alone receives signals, nothing is recorded.
    """
    stop_request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield stop_request
        return
    previous = {number: signal.getsignal(number) for number in STOP_SIGNALS}

    def record(number: int, _frame: FrameType | None) -> None:
        stop_request.number = number
        for other, handler in previous.items():
            signal.signal(other, handler)

    for number, handler in previous.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, record)
    try:
        yield stop_request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _raise_interrupted(number: int, _frame: FrameType | None) -> None:
    raise Interrupted(number)
