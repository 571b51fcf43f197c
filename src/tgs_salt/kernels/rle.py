"""Run-length text of masks, as Kaggle reads it: `start length` pairs, pixels counted from 1, down and then right.

The text that `encode` writes is canonical: runs in order, none touching the next, single spaces, nothing else.
An empty mask is the empty text.
"""

from collections.abc import Sequence
from functools import partial
from operator import index

import numpy as np

from tgs_salt.errors import UserError
from tgs_salt.kernels import rle_kernels
from tgs_salt.kernels.jit import as_byte, as_stack, frozen, map_chunks

PIECE = 8 << 20  # bytes of tiles that a thread takes at a time
BUFFER = 1 << 20  # bytes of text that it collects before they are copied out


class RleError(UserError, ValueError):
    """Text that is not the run-length encoding of a mask; the message is one sentence naming the token."""


def encode(masks: np.ndarray, threads: int = 1) -> list[str]:
    """Encode masks, (n, h, w) bool or uint8 with nonzero = salt, as n canonical texts.

    Raises ValueError on another array, or on tiles of more than 99,999,999 pixels.
    """
    masks = as_stack(masks, "masks")
    rows = _write(masks, b"", np.zeros(len(masks) + 1, np.int64), np.uint8(1), 0, threads)
    return rows.decode("ascii").split("\n")[:-1]


def encode_table(
    probabilities: np.ndarray, ids: Sequence[str] | np.ndarray, threshold: int, min_area: int = 0, threads: int = 1
) -> bytes:
    """Rows `id,runs` of a CSV file, each ending in a newline, without a header, straight from probabilities.

    probabilities: (n, h, w) uint8. A pixel is salt where its byte reaches `threshold` (0..255; 0 makes all of them
    salt). A tile with fewer than `min_area` salt pixels is empty. ids: n texts, or an (n,) array of them.
    Raises ValueError on other shapes, types or thresholds, and UserError on an id that would need quoting in CSV.
    """
    stack = as_stack(probabilities, "probabilities")
    names, starts = _names(ids)
    if len(starts) != len(stack) + 1:
        raise ValueError(f"there are {len(starts) - 1} ids for {len(stack)} tiles")
    return _write(stack, names, starts, as_byte(threshold, "threshold"), index(min_area), threads)


def _names(ids: Sequence[str] | np.ndarray) -> tuple[bytes, np.ndarray]:
    """All ids, a comma after each, and the n + 1 offsets at which they begin."""
    texts = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
    names = b",".join([*texts, b""]) if isinstance(next(iter(texts), ""), bytes) else ",".join([*texts, ""]).encode()
    commas = np.flatnonzero(np.frombuffer(names, np.uint8) == ord(","))
    starts = np.concatenate([[0], commas + 1])
    if len(commas) != len(texts) or (np.diff(starts) == 1).any() or any(quote in names for quote in b'"\r\n'):
        bad = next(text for text in texts if not text or set(_text(text)) & set(',"\r\n'))
        raise UserError(f"id {_text(bad)!r} is empty or holds a comma, a quote or a line break; rename that tile")
    return names, starts


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _write(
    stack: np.ndarray, names: bytes, starts: np.ndarray, threshold: np.uint8, min_area: int, threads: int
) -> bytes:
    """The rows of all tiles: see `rle_kernels.write_rows`."""
    count, height, width = stack.shape
    pixels = height * width
    if pixels > rle_kernels.MAX_PIXELS:
        raise ValueError(f"tiles have {pixels} pixels; expected at most {rle_kernels.MAX_PIXELS}")
    prefix = np.frombuffer(names, np.uint8)
    longest = (pixels + 1) // 2 * 2 * (len(str(pixels)) + 1) + 1 + rle_kernels.SPARE
    room = max(BUFFER, longest + int(np.diff(starts).max(initial=0)))

    def rows(source: np.ndarray, starts: np.ndarray, first: int, last: int) -> bytes:
        out = np.empty(room, np.uint8)  # only the pages that get written take memory
        parts = []
        while first < last:
            first, used = rle_kernels.write_rows(
                source, height, width, threshold, min_area, prefix, starts, longest, first, last, out
            )
            parts.append(out[:used].tobytes())
        return b"".join(parts)

    # The kernel reads a little beyond each tile, so the last ones are handed over in a copy with room behind it.
    source = stack.reshape(-1)
    body = max(0, count - (rle_kernels.reach(height, width) - 1) // pixels)
    tail = np.zeros((count - body) * pixels + rle_kernels.reach(height, width), np.uint8)
    tail[: (count - body) * pixels] = source[body * pixels :]
    pieces = map_chunks(partial(rows, source, starts), body, threads, max(1, PIECE // pixels))
    return b"".join([*pieces, rows(frozen(tail), starts[body:], 0, count - body)])


def parse(rle: str, shape: tuple[int, int] = (101, 101), canonical: bool = False) -> np.ndarray:
    """The runs of a text as (k, 2) int64: start (from 1) and length, for a tile of `shape` (height, width).

    Raises RleError unless the numbers are plain digits, in pairs, positive, sorted, without overlap and inside the
    tile: what Kaggle demands. `canonical` demands what `encode` writes besides: no run that touches the one before,
    single spaces, no leading zeros.
    """
    if not rle.isascii():
        bad = next(character for character in rle if not character.isascii())
        raise RleError(f"run-length text has the character {bad!r} (U+{ord(bad):04X}); expected digits and spaces")
    tokens = rle.split()
    if len(tokens) % 2:
        last = f"has {len(tokens)} numbers, the last {_short(tokens[-1])}"
        raise RleError(f"run-length text {last}; expected pairs of start and length")
    if canonical and rle != " ".join(tokens):
        raise RleError("run-length text has a space at an end, or something other than one space between two numbers")
    numbers = [_number(token, place, canonical) for place, token in enumerate(tokens, 1)]
    pixels = shape[0] * shape[1]
    free = 1  # first pixel after the run before
    for k in range(0, len(numbers), 2):
        start, length = numbers[k], numbers[k + 1]
        if start < free or start + length - 1 > pixels or (canonical and start == free and k):
            raise RleError(_misplaced(numbers, k, shape))
        free = start + length
    return np.array(numbers, np.int64).reshape(-1, 2)


def _number(token: str, place: int, canonical: bool) -> int:
    """A positive number from the token at `place` (from 1)."""
    what = "length" if place % 2 == 0 else "start"
    if not token.isdigit():
        hint = "it must be positive" if token[0] == "-" and token[1:].isdigit() else "expected plain digits"
        raise RleError(f"token {place} of run-length text, {_short(token)}, is not a {what}: {hint}")
    if len(token) > 18 and len(token.lstrip("0")) > 18:
        raise RleError(f"token {place} of run-length text, {_short(token)}, is a {what} beyond any tile")
    number = int(token.lstrip("0") or "0")
    if not number:
        raise RleError(f"token {place} of run-length text, {_short(token)}, is not a {what}: it must be positive")
    if canonical and token[0] == "0":
        raise RleError(f"token {place} of run-length text, {_short(token)}, has a leading zero")
    return number


def _short(token: str) -> str:
    return repr(token if len(token) <= 24 else token[:21] + "...")


def _misplaced(numbers: list[int], k: int, shape: tuple[int, int]) -> str:
    """Why the run numbers[k], numbers[k + 1] cannot stand where it does."""
    start, length = numbers[k : k + 2]
    run = f"run '{start} {length}' (token {k + 1} of run-length text)"
    if k and start < numbers[k - 2]:
        return f"{run} begins before the run '{numbers[k - 2]} {numbers[k - 1]}' that it follows; sort the runs"
    if k and start < numbers[k - 2] + numbers[k - 1]:
        return f"{run} overlaps the run '{numbers[k - 2]} {numbers[k - 1]}' that it follows"
    if start + length - 1 > shape[0] * shape[1]:
        return f"{run} ends past the last pixel, {shape[0] * shape[1]}, of a tile of {shape[0]} x {shape[1]}"
    return f"{run} touches the run '{numbers[k - 2]} {numbers[k - 1]}' that it follows; expected one run"


def decode(rle: str, shape: tuple[int, int] = (101, 101)) -> np.ndarray:
    """The mask of a text as (h, w) bool. RleError as `parse` raises it; touching runs are accepted."""
    height, width = shape
    columns = np.zeros(height * width, np.bool_)
    for start, length in parse(rle, shape).tolist():
        columns[start - 1 : start - 1 + length] = True
    return np.ascontiguousarray(columns.reshape(width, height).T)
