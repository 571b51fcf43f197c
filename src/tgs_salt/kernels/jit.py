"""Helpers to compile the Numba kernels and to run them in threads.

Kernels release the GIL, so a thread pool runs them in parallel. Numba's own parallel backend would add its start-up
time, its thread count and its problems with fork to every job.

Kernels are compiled on their first call and cached on disk: in NUMBA_CACHE_DIR if it is set, otherwise in
`__pycache__` next to the source, otherwise in the user's cache folder. If none of these is writable, each process
compiles again. Numba's cache tracks changes of one source file only. A kernel must therefore not call a compiled
function of another file: the cache would miss an edit there.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from operator import index
from typing import Any

import numpy as np
from numba import njit


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function on its first call, without the GIL, and cache it on disk if a cache folder is writable."""
    try:
        return njit(function, cache=True, nogil=True)
    except RuntimeError:  # "cannot cache function: no locator available": no cache folder is writable
        return njit(function, nogil=True)


def inline_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function into the kernels of the same file that call it; a call would cost more than its work."""
    return njit(function, inline="always", nogil=True)


def map_chunks(function: Callable[[int, int], Any], count: int, threads: int, chunk_size: int) -> list[Any]:
    """Call `function(start, stop)` for consecutive chunks of `range(count)` and return the results in order.

    Chunks have at most `chunk_size` elements. With one thread the calls run in the caller's thread; more threads take
    chunks from a common queue, so that a slow chunk does not delay the others.

    Raises:
        ValueError: If `threads` is less than 1.
    """
    if threads < 1:
        raise ValueError(f"threads is {threads}; expected at least 1")
    chunks = [(start, min(start + chunk_size, count)) for start in range(0, count, chunk_size)]
    if threads == 1 or len(chunks) < 2:
        return [function(*chunk) for chunk in chunks]
    with ThreadPoolExecutor(min(threads, len(chunks))) as pool:
        return list(pool.map(lambda chunk: function(*chunk), chunks))


def as_stack(array: np.ndarray, name: str) -> np.ndarray:
    """Return a (n, h, w) bool or uint8 array as read-only, C-contiguous uint8; copy only if its layout differs.

    Raises:
        ValueError: If the dtype or the number of axes differs, or if a tile has no pixels. The message starts with
            `name`.
    """
    array = np.asarray(array)
    if array.dtype not in (np.uint8, np.bool_):
        raise ValueError(f"{name} has type {array.dtype}; expected uint8 or bool")
    if array.ndim != 3 or 0 in array.shape[1:]:
        raise ValueError(f"{name} has shape {array.shape}; expected (tiles, height, width) with at least one pixel")
    return read_only(np.ascontiguousarray(array).view(np.uint8))


def read_only(array: np.ndarray) -> np.ndarray:
    """Return a read-only view of an array.

    Numba compiles a kernel once per argument type, and writable and read-only arrays are different types. Memory maps
    are read-only, so all inputs are.
    """
    view = array.view()
    view.flags.writeable = False
    return view


def as_byte(value: int, name: str) -> np.uint8:
    """Return an integer as uint8; raise ValueError if it is not in 0..255, TypeError if it is not an integer."""
    if not 0 <= index(value) <= 255:
        raise ValueError(f"{name} is {value}; expected 0..255")
    return np.uint8(value)
