"""Run-length encoding (RLE) of masks as Kaggle reads it: `start length` pairs, pixels numbered from 1, column-major.

`encode` writes canonical text: runs sorted and maximal (no two are adjacent), single spaces, no leading zeros. An
empty mask is the empty string.
"""

from collections.abc import Sequence
from functools import partial
from operator import index

import numpy as np

from tgs_salt.errors import UserError
from tgs_salt.kernels import rle_kernels
from tgs_salt.kernels.jit import as_byte, as_stack, map_chunks, read_only

CHUNK_BYTES = 8 << 20  # bytes of tiles per task of a thread
BUFFER_BYTES = 1 << 20  # bytes of text that a thread collects before it copies them


class RleError(UserError, ValueError):
    """The text is not a valid RLE of a mask; the message is one sentence that names the token."""


def encode(masks: np.ndarray, threads: int = 1) -> list[str]:
    """Encode masks, (n, h, w) bool or uint8 with nonzero = salt, as n canonical texts.

    Raises:
        ValueError: If the dtype or the number of axes differs, or a tile has more than 99,999,999 pixels.
    """
    masks = as_stack(masks, "masks")
    rows = _encode_rows(masks, b"", np.zeros(len(masks) + 1, np.int64), np.uint8(1), 0, threads)
    return rows.decode("ascii").split("\n")[:-1]


def encode_table(
    probabilities: np.ndarray, ids: Sequence[str] | np.ndarray, threshold: int, min_area: int = 0, threads: int = 1
) -> bytes:
    """Return the rows `id,rle` of a CSV file, without a header, each ending in a newline.

    Args:
        probabilities: Probability bytes, (n, h, w) uint8. A pixel is salt if its byte is at least `threshold`.
        ids: n strings, or an (n,) array of str or bytes.
        threshold: Threshold in 0..255; 0 makes every pixel salt.
        min_area: A tile with fewer salt pixels is empty.
        threads: Number of threads.

    Raises:
        ValueError: If a shape, a dtype or the threshold is invalid.
        UserError: If an id is empty or would need quoting in CSV.
    """
    stack = as_stack(probabilities, "probabilities")
    prefixes, starts = _join_ids(ids)
    if len(starts) != len(stack) + 1:
        raise ValueError(f"there are {len(starts) - 1} ids for {len(stack)} tiles")
    return _encode_rows(stack, prefixes, starts, as_byte(threshold, "threshold"), index(min_area), threads)


def _join_ids(ids: Sequence[str] | np.ndarray) -> tuple[bytes, np.ndarray]:
    """Concatenate the ids, each followed by a comma; return them and their n + 1 offsets."""
    items = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
    joined = b",".join([*items, b""]) if isinstance(next(iter(items), ""), bytes) else ",".join([*items, ""]).encode()
    commas = np.flatnonzero(np.frombuffer(joined, np.uint8) == ord(","))
    starts = np.concatenate([[0], commas + 1])
    if len(commas) != len(items) or (np.diff(starts) == 1).any() or any(quote in joined for quote in b'"\r\n'):
        bad = next(item for item in items if not item or set(_to_str(item)) & set(',"\r\n'))
        raise UserError(f"id {_to_str(bad)!r} is empty or contains a comma, a quote or a line break; rename that tile")
    return joined, starts


def _to_str(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _encode_rows(
    stack: np.ndarray, prefixes: bytes, offsets: np.ndarray, threshold: np.uint8, min_area: int, threads: int
) -> bytes:
    """Return the rows of all tiles; see `rle_kernels.write_rows` for the arguments."""
    count, height, width = stack.shape
    pixels = height * width
    if pixels > rle_kernels.MAX_PIXELS:
        raise ValueError(f"tiles have {pixels} pixels; expected at most {rle_kernels.MAX_PIXELS}")
    prefix_bytes = np.frombuffer(prefixes, np.uint8)
    max_runs_bytes = (pixels + 1) // 2 * 2 * (len(str(pixels)) + 1) + 1 + rle_kernels.SLACK
    buffer_size = max(BUFFER_BYTES, max_runs_bytes + int(np.diff(offsets).max(initial=0)))

    def encode_chunk(source: np.ndarray, offsets: np.ndarray, start: int, stop: int) -> bytes:
        out = np.empty(buffer_size, np.uint8)  # the system allocates only the pages that are written
        rows = []
        while start < stop:
            start, size = rle_kernels.write_rows(
                source, height, width, threshold, min_area, prefix_bytes, offsets, max_runs_bytes, start, stop, out
            )
            rows.append(out[:size].tobytes())
        return b"".join(rows)

    # The kernel reads past the end of each tile, so the last tiles are encoded from a zero-padded copy.
    source = stack.reshape(-1)
    body = max(0, count - (rle_kernels.bytes_read(height, width) - 1) // pixels)
    tail = np.zeros((count - body) * pixels + rle_kernels.bytes_read(height, width), np.uint8)
    tail[: (count - body) * pixels] = source[body * pixels :]
    chunks = map_chunks(partial(encode_chunk, source, offsets), body, threads, max(1, CHUNK_BYTES // pixels))
    return b"".join([*chunks, encode_chunk(read_only(tail), offsets[body:], 0, count - body)])


def parse(rle: str, shape: tuple[int, int] = (101, 101), canonical: bool = False) -> np.ndarray:
    """Parse RLE text into runs, (k, 2) int64: start (from 1) and length.

    Args:
        rle: Decimal numbers in pairs of start and length. Runs must be sorted, disjoint and inside the tile.
        shape: Height and width of the tile.
        canonical: Accept only what `encode` writes: also no adjacent runs, single spaces and no leading zeros.

    Raises:
        RleError: If the text is invalid.
    """
    if not rle.isascii():
        bad = next(character for character in rle if not character.isascii())
        raise RleError(f"RLE has the character {bad!r} (U+{ord(bad):04X}); expected digits and spaces")
    tokens = rle.split()
    if len(tokens) % 2:
        raise RleError(
            f"RLE has {len(tokens)} numbers, the last {_shorten(tokens[-1])}; expected pairs of start and length"
        )
    if canonical and rle != " ".join(tokens):
        raise RleError("RLE has a leading or trailing space, or other than one space between two numbers")
    numbers = [_parse_number(token, position, canonical) for position, token in enumerate(tokens, 1)]
    pixels = shape[0] * shape[1]
    end = 1  # first pixel after the previous run
    for k in range(0, len(numbers), 2):
        start, length = numbers[k], numbers[k + 1]
        if start < end or start + length - 1 > pixels or (canonical and start == end and k):
            raise RleError(_describe_bad_run(numbers, k, shape))
        end = start + length
    return np.array(numbers, np.int64).reshape(-1, 2)


def _parse_number(token: str, position: int, canonical: bool) -> int:
    """Parse a positive number; `position` (from 1) is that of the token in the text."""
    kind = "length" if position % 2 == 0 else "start"
    if not token.isdigit():
        hint = "it must be positive" if token[0] == "-" and token[1:].isdigit() else "expected plain digits"
        raise RleError(f"token {position} of the RLE, {_shorten(token)}, is not a {kind}: {hint}")
    if len(token) > 18 and len(token.lstrip("0")) > 18:
        raise RleError(f"token {position} of the RLE, {_shorten(token)}, is a {kind} larger than any tile")
    number = int(token.lstrip("0") or "0")
    if not number:
        raise RleError(f"token {position} of the RLE, {_shorten(token)}, is not a {kind}: it must be positive")
    if canonical and token[0] == "0":
        raise RleError(f"token {position} of the RLE, {_shorten(token)}, has a leading zero")
    return number


def _shorten(token: str) -> str:
    return repr(token if len(token) <= 24 else token[:21] + "...")


def _describe_bad_run(numbers: list[int], k: int, shape: tuple[int, int]) -> str:
    """Return why the run numbers[k], numbers[k + 1] is invalid."""
    start, length = numbers[k : k + 2]
    run = f"run '{start} {length}' (token {k + 1} of the RLE)"
    previous = f"the previous run '{numbers[k - 2]} {numbers[k - 1]}'" if k else ""
    if k and start < numbers[k - 2]:
        return f"{run} begins before {previous}; sort the runs"
    if k and start < numbers[k - 2] + numbers[k - 1]:
        return f"{run} overlaps {previous}"
    if start + length - 1 > shape[0] * shape[1]:
        return f"{run} ends past the last pixel, {shape[0] * shape[1]}, of a tile of {shape[0]} x {shape[1]}"
    return f"{run} is adjacent to {previous}; expected one run"


def decode(rle: str, shape: tuple[int, int] = (101, 101)) -> np.ndarray:
    """Decode RLE text as a mask, (h, w) bool; adjacent runs are accepted. Raises RleError as `parse` does."""
    height, width = shape
    column_major = np.zeros(height * width, np.bool_)
    for start, length in parse(rle, shape).tolist():
        column_major[start - 1 : start - 1 + length] = True
    return np.ascontiguousarray(column_major.reshape(width, height).T)
