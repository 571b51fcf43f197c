"""Numba kernels that encode tiles as run-length text; `rle` is the public interface.

1. `pack_bits` compares each pixel with the threshold and packs eight rows into one byte per column.
2. `pack_words` combines eight of those bytes, so that a column becomes 64-bit words of 64 rows.
3. `find_edges` computes word XOR (word shifted by one pixel), which has a bit set wherever a run begins or ends.
4. `write_runs` writes the runs as decimal text; `write_number` computes all digits of a number in one 64-bit word.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tgs_salt.kernels.jit import inline_kernel, kernel

VECTOR_BYTES = 32  # columns are processed in multiples of a vector register; the excess columns are not used
SLACK = 8  # numbers are written as eight bytes at once: an output buffer needs this many bytes after its last one
MAX_PIXELS = 99_999_999  # per tile, so that a number has at most eight digits

# Sizes and positions are unsigned inside the kernels. Numba then omits its check for negative indices, which would
# prevent vectorization (12 times slower here).
U64 = np.uint64
ONE = np.uint64(1)
ALL_BITS = np.uint64(0xFFFF_FFFF_FFFF_FFFF)


@intrinsic
def count_trailing_zeros(typing: Any, word: Any) -> Any:
    """Return the position of the lowest set bit of a nonzero uint64."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), build


@intrinsic
def popcount(typing: Any, word: Any) -> Any:
    """Return the number of set bits of a uint64."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), build


@intrinsic
def store_word(typing: Any, array: Any, offset: Any, word: Any) -> Any:
    """Store a uint64 as eight bytes, least significant first, at any offset of a uint8 array."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        pointer = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(64).as_pointer())
        builder.store(arguments[2], pointer).align = 1
        return context.get_dummy_value()

    return types.void(array, types.intp, types.uint64), build


def bytes_read(height: int, width: int) -> int:
    """Return how many bytes `write_rows` reads from the first pixel of a tile: more than height * width.

    Rows are read in blocks of eight, and the last row up to a multiple of VECTOR_BYTES.
    """
    rows = (height + 7) // 8 * 8
    return (rows - 1) * width + (width + VECTOR_BYTES - 1) // VECTOR_BYTES * VECTOR_BYTES


@inline_kernel
def pack_bits(
    source: np.ndarray, offset: int, height: int, width: int, padded_width: int, threshold: int, packed: np.ndarray
) -> None:
    """Pack eight rows into a byte: bit r of packed[b * padded_width + c] is pixel (8 b + r, c) >= threshold.

    Reads `bytes_read` bytes from `offset`. Bits of rows and columns outside the tile are undefined.
    """
    offset, width, padded_width = U64(offset), U64(width), U64(padded_width)
    for block in range(U64((height + 7) // 8)):
        top = offset + U64(8) * block * width
        for c in range(padded_width):
            byte = U64(0)
            for r in range(U64(8)):
                byte |= U64(source[top + r * width + c] >= threshold) << r
            packed[block * padded_width + c] = byte


@inline_kernel
def pack_words(packed: np.ndarray, height: int, width: int, padded_width: int, words: np.ndarray) -> int:
    """Combine bytes: bit r of words[b * padded_width + c] is pixel (64 b + r, c). Return the OR of all words."""
    width, padded_width = U64(width), U64(padded_width)
    last = U64((height - 1) // 64)
    any_salt = U64(0)
    for block in range(last + ONE):
        valid = ALL_BITS >> U64(63 - (height - 1) % 64) if block == last else ALL_BITS
        for c in range(width):
            word = U64(0)
            for b in range(U64(8)):
                word |= U64(packed[(U64(8) * block + b) * padded_width + c]) << (U64(8) * b)
            word &= valid
            words[block * padded_width + c] = word
            any_salt |= word
    return any_salt


@inline_kernel
def count_salt(words: np.ndarray, height: int, width: int, padded_width: int) -> int:
    """Count the salt pixels of a tile from its words."""
    area = 0
    for block in range(U64((height + 63) // 64)):
        for c in range(U64(width)):
            area += popcount(words[block * U64(padded_width) + c])
    return area


@inline_kernel
def find_edges(words: np.ndarray, height: int, width: int, padded_width: int, edges: np.ndarray) -> int:
    """Write the column-major positions (from 0) where salt begins and ends, alternately; return their even number."""
    last = U64((height - 1) // 64)
    last_bit = U64((height - 1) % 64)
    count = U64(0)
    previous = U64(0)  # the pixel before this word: the one above, or the bottom pixel of the column to the left
    for c in range(U64(width)):
        for block in range(last + ONE):
            word = words[block * U64(padded_width) + c]
            changes = word ^ (word << ONE | previous)
            previous = word >> U64(63)
            if block == last:
                changes &= ALL_BITS >> (U64(63) - last_bit)
                previous = word >> last_bit
            position = c * U64(height) + U64(64) * block
            while changes:
                edges[count] = position + count_trailing_zeros(changes)
                count += ONE
                changes &= changes - ONE
    if previous:
        edges[count] = height * width
        count += ONE
    return count


@inline_kernel
def write_number(number: int, out: np.ndarray, position: int) -> int:
    """Write a number in 1..MAX_PIXELS and a space at out[position:]; return the position after them.

    All digits are computed in parallel in one 64-bit word, the most significant digit in the lowest byte. The number
    is split into two groups of four digits, four of two, and eight single digits. Divisions are multiplications by a
    reciprocal, which are exact in these ranges.
    """
    high = number // U64(10_000)
    fours = high | (number - U64(10_000) * high) << U64(32)
    hundreds = (fours * U64(5243)) >> U64(19) & U64(0x0000_007F_0000_007F)
    twos = hundreds | (fours - U64(100) * hundreds) << U64(16)
    tens = (twos * U64(103)) >> U64(10) & U64(0x000F_000F_000F_000F)
    ones = tens | (twos - U64(10) * tens) << U64(8)
    leading_zeros = U64(count_trailing_zeros(ones)) >> U64(3)
    store_word(out, position, (ones | U64(0x3030_3030_3030_3030)) >> (U64(8) * leading_zeros))
    position += U64(8) - leading_zeros
    out[position] = ord(" ")
    return position + ONE


@inline_kernel
def write_runs(edges: np.ndarray, count: int, out: np.ndarray, position: int) -> int:
    """Write `start length ` of each run at out[position:]; return the position after them."""
    for k in range(U64(0), U64(count), U64(2)):
        position = write_number(edges[k] + ONE, out, position)
        position = write_number(edges[k + ONE] - edges[k], out, position)
    return position


@kernel
def write_rows(
    source: np.ndarray,  # (bytes,) uint8: consecutive tiles; at least `bytes_read` bytes from the start of the last one
    height: int,
    width: int,
    threshold: int,  # uint8: a pixel is salt if its byte is at least this
    min_area: int,  # a tile with fewer salt pixels has no runs
    prefixes: np.ndarray,  # (bytes,) uint8: the beginnings of all rows, concatenated
    prefix_offsets: np.ndarray,  # (tiles + 1,) int64: offsets of the rows' beginnings in `prefixes`
    max_runs_bytes: int,  # upper bound of the bytes for the runs of one tile, SLACK included
    start: int,
    stop: int,
    out: np.ndarray,  # (bytes,) uint8, output
) -> tuple[int, int]:
    """Write rows (prefix, runs, newline) of tiles in range(start, stop) until `out` may be too small for another row.

    Returns the first tile that is not written (`stop` if all are) and the number of bytes written.
    """
    padded_width = (width + VECTOR_BYTES - 1) // VECTOR_BYTES * VECTOR_BYTES
    blocks = (height + 63) // 64
    packed = np.zeros(8 * blocks * padded_width, np.uint8)
    words = np.zeros(blocks * padded_width, np.uint64)
    edges = np.empty(height * width + 1, np.uint64)
    position = U64(0)
    for tile in range(start, stop):
        prefix_start, prefix_end = prefix_offsets[tile], prefix_offsets[tile + 1]
        if np.int64(position) + prefix_end - prefix_start + max_runs_bytes > out.size:
            return tile, np.int64(position)
        for k in range(U64(prefix_start), U64(prefix_end)):
            out[position] = prefixes[k]
            position += ONE
        pack_bits(source, tile * height * width, height, width, padded_width, threshold, packed)
        any_salt = pack_words(packed, height, width, padded_width, words) != 0
        if any_salt and (min_area <= 1 or count_salt(words, height, width, padded_width) >= min_area):
            count = find_edges(words, height, width, padded_width, edges)
            position = write_runs(edges, count, out, position) - ONE  # the newline replaces the last space
        out[position] = ord("\n")
        position += ONE
    return stop, np.int64(position)
