# ruff: noqa: PTH100, PTH115 (what is watched are the functions of os themselves)
"""The moments at which a process touches the disk, and a crash at one of them.

They are found, not listed: an audit hook of the interpreter tells of every file that is opened for writing, made,
renamed, removed, mapped or cut, whoever does it; writes and fsyncs are counted in the streams and in `os`.
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

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink")
# What frees room still works on a full disk; what takes some does not.
TAKES_ROOM = ("write", "fsync", "open", "os.mkdir", "reserve")


class Disk:
    """Counts what is done to the disk below `folder`, and has the process crash at moment number `at`.

    `how` is kill (SIGKILL, halfway through the bytes of a write) or full (no room from that moment on).
    """

    def __init__(self, folder: Path, at: int | None, how: str) -> None:
        self.folder, self.at, self.how = str(folder), at, how
        self.moments: list[str] = []
        self.busy = False

    def touch(self, what: str, path: str, before: Callable[[], Any] = lambda: None) -> None:
        if self.busy or not path.startswith(self.folder):
            return
        self.moments.append(f"{what} {Path(path).name}")
        if self.at is None or len(self.moments) < self.at:
            return
        if self.how == "kill":
            self.busy = True
            before()
            os.kill(os.getpid(), signal.SIGKILL)
        if what in TAKES_ROOM:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    def audit(self, event: str, args: tuple[Any, ...]) -> None:
        named = bool(args) and isinstance(args[0], (str, bytes, os.PathLike))
        if event == "open" and named:
            mode, flags = args[1], args[2] or 0
            if (mode is not None and set(str(mode)) & set("wax+")) or (mode is None and flags & WRITING):
                self.touch("open", absolute(args[0]))
        elif event in CHANGES and named:
            self.touch(event, absolute(args[0]))
        elif event == "mmap.__new__" and args[2] != 1:  # not a read-only one
            self.touch("map", self.folder)

    def watch(self) -> None:
        """From now on, in this process and for good."""
        sys.addaudithook(self.audit)
        opened, fsync, reserve = io.open, os.fsync, os.posix_fallocate

        def open_watched(file: Any, mode: str = "r", *args: Any, **more: Any) -> Any:
            stream = opened(file, mode, *args, **more)
            ours = set(mode) & set("wax+") and isinstance(file, (str, os.PathLike))
            return Watched(stream, self, absolute(file)) if ours else stream

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


def absolute(path: Any) -> str:
    return os.path.abspath(os.fsdecode(path))
