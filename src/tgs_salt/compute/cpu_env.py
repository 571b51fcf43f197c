"""Environment variables that make torch faster on a CPU; they must be set before torch is imported.

glibc's allocator is configured to keep freed activation memory instead of returning it to the kernel at every step.
This changes no result, only the speed.
"""

from __future__ import annotations

import os
import platform
import sys

GLIBC_TUNABLES = "GLIBC_TUNABLES"
# Older glibc rejects a larger mmap_threshold and then keeps its default of 128 KiB.
OLD_MAX_MMAP_THRESHOLD, FIRST_UNLIMITED_VERSION = 32 << 20, (2, 35)


def malloc_tunables(glibc_version: str) -> str:
    """Return the value of GLIBC_TUNABLES for a glibc version such as "2.36"."""
    version = tuple(int(number) for number in glibc_version.split(".") if number.isdigit())
    return ":".join(
        (
            "glibc.malloc.hugetlb=1",
            f"glibc.malloc.mmap_threshold={OLD_MAX_MMAP_THRESHOLD if version < FIRST_UNLIMITED_VERSION else 4 << 30}",
            f"glibc.malloc.trim_threshold={8 << 30}",
            f"glibc.malloc.top_pad={256 << 20}",
        )
    )


def prepare(gpus: str, module: str = "tgs_salt") -> None:
    """Restart a CPU job on Linux with GLIBC_TUNABLES set, unless the user has set it.

    glibc reads the variable only when a process starts, so the process replaces itself once.

    Args:
        gpus: Value of `--gpus`; does nothing unless it is "0".
        module: Module to run with `python -m`.
    """
    library, version = platform.libc_ver()
    if gpus == "0" and sys.platform == "linux" and library == "glibc" and GLIBC_TUNABLES not in os.environ:
        os.environ[GLIBC_TUNABLES] = malloc_tunables(version)
        sys.stdout.flush()
        sys.stderr.flush()
        os.execv(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]])
