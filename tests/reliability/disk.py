# ruff: noqa: PTH100, PTH115 (the functions of os themselves are instrumented)
"""The disk operations of a process, and a crash at one of them.

An audit hook of Python reports every file that any library opens for writing, creates, renames, removes, maps or
truncates. Writes, fsyncs and reservations are counted by wrappers.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGE_EVENTS = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink")
# On a full disk, operations that need space fail and those that free space work.
NEED_SPACE = ("write", "fsync", "open", "os.mkdir", "reserve")


class Disk:
    """Records the operations in `folder`, and crashes the process at operation number `at`, counted from 1.

    `how` is `kill` (SIGKILL, after half of the bytes of a write) or `full` (no space from that operation on).
    """

    def __init__(self, folder: Path, at: int | None, how: str) -> None:
        self.folder, self.at, self.how = str(folder), at, how
        self.operations: list[str] = []
        self.paused = False

    def record(self, operation: str, path: str, before_kill: Callable[[], Any] = lambda: None) -> None:
        """Record one operation and crash if it is number `at`; raise OSError (ENOSPC) for a full disk."""
        if self.paused or not path.startswith(self.folder):
            return
        self.operations.append(f"{operation} {Path(path).name}")
        if self.at is None or len(self.operations) < self.at:
            return
        if self.how == "kill":
            self.paused = True
            before_kill()
            os.kill(os.getpid(), signal.SIGKILL)
        if operation in NEED_SPACE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    def audit(self, event: str, args: tuple[Any, ...]) -> None:
        """Record the operation of an audit event."""
        has_path = bool(args) and isinstance(args[0], (str, bytes, os.PathLike))
        if event == "open" and has_path:
            mode, flags = args[1], args[2] or 0
            if (mode is not None and set(str(mode)) & set("wax+")) or (mode is None and flags & WRITE_FLAGS):
                self.record("open", absolute_path(args[0]))
        elif event in CHANGE_EVENTS and has_path:
            self.record(event, absolute_path(args[0]))
        elif event == "mmap.__new__" and args[2] != 1:  # unless read-only (ACCESS_READ)
            self.record("map", self.folder)

    def install(self) -> None:
        """Install the hooks in this process; they cannot be removed."""
        sys.addaudithook(self.audit)
        original_open, fsync, fallocate = io.open, os.fsync, os.posix_fallocate

        def recording_open(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            stream = original_open(file, mode, *args, **kwargs)
            is_write = set(mode) & set("wax+") and isinstance(file, (str, os.PathLike))
            return RecordingStream(stream, self, absolute_path(file)) if is_write else stream

        def recording_fsync(descriptor: int) -> None:
            self.record("fsync", os.readlink(f"/proc/self/fd/{descriptor}"))
            fsync(descriptor)

        def recording_fallocate(descriptor: int, offset: int, size: int) -> None:
            self.record("reserve", os.readlink(f"/proc/self/fd/{descriptor}"))
            fallocate(descriptor, offset, size)

        builtins.open = io.open = recording_open
        os.fsync, os.posix_fallocate = recording_fsync, recording_fallocate


class RecordingStream:
    """A stream that records its writes; a killed write leaves half of its bytes on the disk."""

    def __init__(self, stream: Any, disk: Disk, path: str) -> None:
        self.stream, self.disk, self.path = stream, disk, path

    def write(self, content: Any) -> Any:
        def write_half() -> None:
            self.stream.write(content[: len(content) // 2])
            self.stream.flush()

        self.disk.record("write", self.path, write_half)
        return self.stream.write(content)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def __enter__(self) -> RecordingStream:
        self.stream.__enter__()
        return self

    def __exit__(self, *exc_info: Any) -> Any:
        return self.stream.__exit__(*exc_info)

    def __iter__(self) -> Any:
        return iter(self.stream)


def absolute_path(path: Any) -> str:
    return os.path.abspath(os.fsdecode(path))
