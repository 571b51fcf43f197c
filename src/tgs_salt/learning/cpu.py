"""The environment in which torch computes fast on a CPU; it has to stand before torch is imported.

glibc's allocator is told to keep the memory of activations instead of having it page-faulted anew at every step. That
changes no number, only the time.
"""

from __future__ import annotations

import os
import platform
import sys

ALLOCATOR = "GLIBC_TUNABLES"
KEEP_MEMORY = ":".join(
    (
        "glibc.malloc.hugetlb=1",
        "glibc.malloc.mmap_threshold=4294967296",
        "glibc.malloc.trim_threshold=8589934592",
        "glibc.malloc.top_pad=268435456",
    )
)


def prepare(gpus: str, module: str = "tgs_salt") -> None:
    """Set the environment of a CPU job on Linux, where the user has not. Does nothing for a job on a GPU.

    glibc reads its variable when a process starts, so the command replaces itself by itself, once.
    """
    if gpus == "0" and sys.platform == "linux" and platform.libc_ver()[0] == "glibc" and ALLOCATOR not in os.environ:
        os.environ[ALLOCATOR] = KEEP_MEMORY
        sys.stdout.flush()
        sys.stderr.flush()
        os.execv(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]])
