"""The environment in which torch computes fast on a CPU; it has to stand before torch is imported.

glibc's allocator is told to keep the memory of activations instead of having it page-faulted anew at every step. That
changes no number, only the time.
"""

from __future__ import annotations

import os
import platform
import sys

ALLOCATOR = "GLIBC_TUNABLES"
# An older glibc refuses a threshold above this; a refused one would leave it at a thousandth.
OLD_LIMIT, OLD = 32 << 20, (2, 35)


def keeping_memory(glibc: str) -> str:
    """The allocator's settings for a version of glibc, such as 2.36."""
    known = tuple(int(part) for part in glibc.split(".") if part.isdigit())
    return ":".join(
        (
            "glibc.malloc.hugetlb=1",
            f"glibc.malloc.mmap_threshold={OLD_LIMIT if known < OLD else 4 << 30}",
            f"glibc.malloc.trim_threshold={8 << 30}",
            f"glibc.malloc.top_pad={256 << 20}",
        )
    )


def prepare(gpus: str, module: str = "tgs_salt") -> None:
    """Set the environment of a CPU job on Linux, where the user has not. Does nothing for a job on a GPU.

    glibc reads its variable when a process starts, so the command replaces itself by itself, once.
    """
    library, version = platform.libc_ver()
    if gpus == "0" and sys.platform == "linux" and library == "glibc" and ALLOCATOR not in os.environ:
        os.environ[ALLOCATOR] = keeping_memory(version)
        sys.stdout.flush()
        sys.stderr.flush()
        os.execv(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]])
