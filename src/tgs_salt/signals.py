"""Ctrl-C and SIGTERM: a command tidies up, says that it was stopped, and ends with another code than 0."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """This process was asked to end. Not an Exception: nothing that mends errors may catch it."""

    def __init__(self, number: int, kept: str = "what is finished is kept") -> None:
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        super().__init__(f"stopped by {name}; {kept}, and the same command goes on from there.")
        self.code = 128 + number


class StopRequest:
    """Which signal has asked this process to stop; None as long as none has."""

    number: int | None = None


def install_handlers() -> None:
    """Let a signal raise Stopped: half-written files go, and the log ends with the reason."""
    for number in STOPPING:
        # A shell that starts a job in the background may have it ignore Ctrl-C.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


@contextmanager
def defer_signals() -> Iterator[StopRequest]:
    """Yield what notes the first signal, for one who looks often and stops at a good moment; a second one is obeyed
    as before. Outside the main thread, which alone gets signals, nothing is noted."""
    asked = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {number: signal.getsignal(number) for number in STOPPING}

    def note(number: int, _frame: FrameType | None) -> None:
        asked.number = number
        for each, handler in before.items():
            signal.signal(each, handler)

    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, note)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, _frame: FrameType | None) -> None:
    raise Interrupted(number)
