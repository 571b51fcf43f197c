"""Settings of glibc's allocator, in a subprocess."""

import os
import platform
import subprocess
import sys

import pytest

from tgs_salt.compute.cpu_env import GLIBC_TUNABLES, malloc_tunables

# Allocate and free 24 MB, less than either threshold, twenty times; print the number of page faults.
PROGRAM = """
import ctypes, resource
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
for step in range(20):
    block = libc.malloc(24 << 20)
    ctypes.memset(block, 1, 24 << 20)
    libc.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


def count_page_faults(tunables: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, GLIBC_TUNABLES: tunables},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
@pytest.mark.parametrize("version", ["2.31", platform.libc_ver()[1]])
def test_freed_memory_is_kept(version: str) -> None:
    unmapped = count_page_faults("glibc.malloc.mmap_threshold=1048576")  # freed memory is never kept
    assert count_page_faults(malloc_tunables(version)) < unmapped / 3


def test_threshold_is_within_the_limit_of_older_glibc() -> None:
    heap_max_size = 64 << 20  # HEAP_MAX_SIZE in malloc's arena.c, 64-bit; the limit was half of it
    tunables = dict(setting.split("=") for setting in malloc_tunables("2.31").split(":"))
    assert int(tunables["glibc.malloc.mmap_threshold"]) <= heap_max_size // 2
    assert "glibc.malloc.mmap_threshold=4294967296" in malloc_tunables("2.36")
