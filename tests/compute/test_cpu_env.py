"""The allocator's settings, in a process of its own that the real glibc starts."""

import os
import platform
import subprocess
import sys

import pytest

from tgs_salt.compute.cpu_env import ALLOCATOR, keeping_memory

# Frees and takes 24 MB, less than either threshold, twenty times; prints the pages that the kernel had to bring.
CHURN = """
import ctypes, resource
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
for step in range(20):
    block = libc.malloc(24 << 20)
    ctypes.memset(block, 1, 24 << 20)
    libc.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


def pages(tunables: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", CHURN],
        env={**os.environ, ALLOCATOR: tunables},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator of glibc")
@pytest.mark.parametrize("version", ["2.31", platform.libc_ver()[1]])
def test_freed_memory_is_kept_for_the_next_step(version: str) -> None:
    always_mapped = pages("glibc.malloc.mmap_threshold=1048576")  # nothing freed is kept, whatever was freed before
    assert pages(keeping_memory(version)) < always_mapped / 3


def test_an_older_glibc_is_given_no_threshold_that_it_refuses() -> None:
    heap_max_size = 64 << 20  # of malloc's arena.c on 64 bits; the limit was half of it
    given = dict(setting.split("=") for setting in keeping_memory("2.31").split(":"))
    assert int(given["glibc.malloc.mmap_threshold"]) <= heap_max_size // 2
    assert "glibc.malloc.mmap_threshold=4294967296" in keeping_memory("2.36")
