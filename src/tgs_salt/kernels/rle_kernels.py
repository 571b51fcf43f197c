"""From bytes to the text of runs, tile by tile: the compiled half of `rle`.

A tile is read once, eight rows at a time. Each pixel is compared with the threshold and becomes one bit, so that a
column becomes words of 64 rows. A word XOR itself moved by one pixel has a bit wherever salt begins or ends; those
bits, taken in order, are the edges of the runs, and the digits of each number are made side by side in one word.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tgs_salt.kernels.jit import inline_kernel, kernel

LANES = 32  # columns compared at once: a row is read on to the next multiple, and the excess is never used
SPARE = 8  # bytes written at once: every output keeps this many beyond its end
MAX_PIXELS = 99_999_999  # of a tile: a position has eight digits at most, one word

# Sizes and positions are unsigned inside the kernels: numba then drops its test for a negative index, which would keep
# the compiler from using vector instructions (12 times slower here).
U64 = np.uint64
ONE = np.uint64(1)
ALL = np.uint64(0xFFFF_FFFF_FFFF_FFFF)


@intrinsic
def trailing_zeros(typing: Any, word: Any) -> Any:
    """Position of the lowest bit that is set in a uint64 that is not 0."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), build


@intrinsic
def bits_set(typing: Any, word: Any) -> Any:
    """How many bits of a uint64 are set."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), build


@intrinsic
def store_word(typing: Any, array: Any, offset: Any, word: Any) -> Any:
    """Write the eight bytes of a uint64, lowest first, into a uint8 array at any offset."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        place = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(64).as_pointer())
        builder.store(arguments[2], place).align = 1
        return context.get_dummy_value()

    return types.void(array, types.intp, types.uint64), build


def reach(height: int, width: int) -> int:
    """Bytes that `write_rows` reads from the first pixel of a tile on: whole blocks of eight rows, the last widened."""
    rows = (height + 7) // 8 * 8
    return (rows - 1) * width + (width + LANES - 1) // LANES * LANES


@inline_kernel
def pack(source: np.ndarray, base: int, height: int, width: int, wide: int, threshold: int, packed: np.ndarray) -> None:
    """Eight rows to a byte: bit r of packed[b * wide + c] says whether pixel (8 b + r, c) reaches the threshold.

    Reads `reach` bytes from `base`; bits from beyond the tile are never used.
    """
    base, width, wide = U64(base), U64(width), U64(wide)
    for block in range(U64((height + 7) // 8)):
        top = base + U64(8) * block * width
        for c in range(wide):
            byte = U64(0)
            for r in range(U64(8)):
                byte |= U64(source[top + r * width + c] >= threshold) << r
            packed[block * wide + c] = byte


@inline_kernel
def join(packed: np.ndarray, height: int, width: int, wide: int, words: np.ndarray) -> int:
    """Eight packed rows to a word: bit r of words[b * wide + c] is pixel (64 b + r, c). Returns the OR of all."""
    width, wide = U64(width), U64(wide)
    last = U64((height - 1) // 64)
    seen = U64(0)
    for block in range(last + ONE):
        valid = ALL >> U64(63 - (height - 1) % 64) if block == last else ALL
        for c in range(width):
            word = U64(0)
            for b in range(U64(8)):
                word |= U64(packed[(U64(8) * block + b) * wide + c]) << (U64(8) * b)
            word &= valid
            words[block * wide + c] = word
            seen |= word
    return seen


@inline_kernel
def count_salt(words: np.ndarray, height: int, width: int, wide: int) -> int:
    """Salt pixels of a tile from its words."""
    area = 0
    for block in range(U64((height + 63) // 64)):
        for c in range(U64(width)):
            area += bits_set(words[block * U64(wide) + c])
    return area


@inline_kernel
def find_edges(words: np.ndarray, height: int, width: int, wide: int, edges: np.ndarray) -> int:
    """Column-major positions (0-based) where salt begins and ends, in turn. Returns how many: an even number."""
    last = U64((height - 1) // 64)
    foot = U64((height - 1) % 64)
    found = U64(0)
    before = U64(0)  # the pixel before this word: the one above, or the foot of the column to the left
    for c in range(U64(width)):
        for block in range(last + ONE):
            word = words[block * U64(wide) + c]
            changes = word ^ (word << ONE | before)
            before = word >> U64(63)
            if block == last:
                changes &= ALL >> (U64(63) - foot)
                before = word >> foot
            position = c * U64(height) + U64(64) * block
            while changes:
                edges[found] = position + trailing_zeros(changes)
                found += ONE
                changes &= changes - ONE
    if before:
        edges[found] = height * width
        found += ONE
    return found


@inline_kernel
def write_number(number: int, out: np.ndarray, used: int) -> int:
    """Write a number, 1..MAX_PIXELS, and a space at out[used:]. Returns the new `used`.

    All digits at once: halves of four digits, quarters of two and then single digits part side by side in one word,
    the highest digit in the lowest byte. A product with a reciprocal stands for each division, exact for these ranges.
    """
    high = number // U64(10_000)
    fours = high | (number - U64(10_000) * high) << U64(32)
    hundreds = (fours * U64(5243)) >> U64(19) & U64(0x0000_007F_0000_007F)
    twos = hundreds | (fours - U64(100) * hundreds) << U64(16)
    tens = (twos * U64(103)) >> U64(10) & U64(0x000F_000F_000F_000F)
    ones = tens | (twos - U64(10) * tens) << U64(8)
    leading = U64(trailing_zeros(ones)) >> U64(3)
    store_word(out, used, (ones | U64(0x3030_3030_3030_3030)) >> (U64(8) * leading))
    used += U64(8) - leading
    out[used] = ord(" ")
    return used + ONE


@inline_kernel
def write_runs(edges: np.ndarray, found: int, out: np.ndarray, used: int) -> int:
    """Write `start length` of each run, a space after each number. Returns the new `used`."""
    for k in range(U64(0), U64(found), U64(2)):
        used = write_number(edges[k] + ONE, out, used)
        used = write_number(edges[k + ONE] - edges[k], out, used)
    return used


@kernel
def write_rows(
    source: np.ndarray,  # (bytes,) uint8: the tiles, one after another, and `reach` bytes from the start of the last
    height: int,
    width: int,
    threshold: int,  # uint8: a pixel is salt where its byte reaches it
    min_area: int,  # a tile with fewer salt pixels has no runs
    names: np.ndarray,  # (bytes,) uint8: what each row begins with, one after another
    starts: np.ndarray,  # (tiles + 1,) int64: where each begins in `names`
    longest: int,  # most bytes that the runs of one tile may take, SPARE included
    first: int,
    last: int,
    out: np.ndarray,  # (bytes,) uint8
) -> tuple[int, int]:
    """Write rows `name` + runs + newline for tiles first..last-1, as long as `out` has room for the longest row.

    Returns (next, used): the first tile not written, `last` when done, and the bytes written.
    """
    wide = (width + LANES - 1) // LANES * LANES
    blocks = (height + 63) // 64
    packed = np.zeros(8 * blocks * wide, np.uint8)
    words = np.zeros(blocks * wide, np.uint64)
    edges = np.empty(height * width + 1, np.uint64)
    used = U64(0)
    for tile in range(first, last):
        name, end = starts[tile], starts[tile + 1]
        if np.int64(used) + end - name + longest > out.size:
            return tile, np.int64(used)
        for k in range(U64(name), U64(end)):
            out[used] = names[k]
            used += ONE
        pack(source, tile * height * width, height, width, wide, threshold, packed)
        salt = join(packed, height, width, wide, words) != 0
        if salt and (min_area <= 1 or count_salt(words, height, width, wide) >= min_area):
            found = find_edges(words, height, width, wide, edges)
            used = write_runs(edges, found, out, used) - ONE  # the newline replaces the last space
        out[used] = ord("\n")
        used += ONE
    return last, np.int64(used)
