"""How every kernel here is compiled, and how it is spread over threads.

Kernels release the interpreter's lock, so plain threads run them side by side: numba's own parallel layer would add
its start-up, its thread count and its fork hazards to every job. They compile on their first call and are then kept
in numba's cache: in NUMBA_CACHE_DIR if that is set, else beside the sources, else in the user's own cache folder, and
where none of these can be written each process compiles for itself. The cache watches one file at a time: a kernel
must not call a compiled function of another file, or an edit there would go unnoticed.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from operator import index
from typing import Any

import numpy as np
from numba import njit


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile on first call, without the interpreter's lock, and cache on disk where any folder can be written."""
    try:
        return njit(function, cache=True, nogil=True)
    except RuntimeError:  # "cannot cache function: no locator available": neither this folder nor a home is writable
        return njit(function, nogil=True)


def inline_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """A step of the kernels of one file, compiled into each of them: as a call it would cost more than many a step."""
    return njit(function, inline="always", nogil=True)


def map_chunks(work: Callable[[int, int], Any], count: int, threads: int, grain: int) -> list[Any]:
    """Call `work(first, last)` on consecutive pieces of `range(count)`, at most `grain` long; results in order.

    One thread works in the caller's; more share the pieces, so that a slow piece does not hold the others up.
    """
    if threads < 1:
        raise ValueError(f"threads is {threads}; expected at least 1")
    pieces = [(first, min(first + grain, count)) for first in range(0, count, grain)]
    if threads == 1 or len(pieces) < 2:
        return [work(*piece) for piece in pieces]
    with ThreadPoolExecutor(min(threads, len(pieces))) as pool:
        return list(pool.map(lambda piece: work(*piece), pieces))


def as_stack(array: np.ndarray, name: str) -> np.ndarray:
    """View a (n, h, w) bool or uint8 array as C-ordered uint8, copying only if its layout is another.

    Raises ValueError on another type or number of axes, or on tiles without a pixel.
    """
    array = np.asarray(array)
    if array.dtype not in (np.uint8, np.bool_):
        raise ValueError(f"{name} has type {array.dtype}; expected uint8 or bool")
    if array.ndim != 3 or 0 in array.shape[1:]:
        raise ValueError(f"{name} has shape {array.shape}; expected (tiles, height, width) with at least one pixel")
    return frozen(np.ascontiguousarray(array).view(np.uint8))


def frozen(array: np.ndarray) -> np.ndarray:
    """A read-only view. To numba that is a type of its own: with one kind of input each kernel compiles once, and
    a memory-mapped file needs no second version."""
    view = array.view()
    view.flags.writeable = False
    return view


def as_byte(value: int, name: str) -> np.uint8:
    """A whole number as one byte, as the kernels take it; ValueError outside 0..255, TypeError on a fraction."""
    if not 0 <= index(value) <= 255:
        raise ValueError(f"{name} is {value}; expected 0..255")
    return np.uint8(value)
