"""Files that are whole or absent: written beside their name, flushed to disk, renamed into place.

A reader never sees half a file, and a file whose bytes would not change is left alone,
because a touched array looks like new data to Snakemake and would retrain a night.
"""

from __future__ import annotations

import filecmp
import hashlib
import json
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tgs_salt.errors import UserError


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes the place of `path`, on failure it goes."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield aside
        if path.is_file() and filecmp.cmp(aside, path, shallow=False):
            return
        with open(aside, "rb+") as written:
            os.fsync(written.fileno())
        os.replace(aside, path)
        _flush_folder(path.parent)
    finally:
        aside.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """Make a rename survive a power cut (POSIX keeps names in the folder, not in the file)."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path | str, content: bytes) -> None:
    with replacing(path) as aside:
        aside.write_bytes(content)


def write_text(path: Path | str, text: str) -> None:
    write_bytes(path, text.encode())


def write_json(path: Path | str, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, sort_keys=False) + "\n")


def write_array(path: Path | str, array: np.ndarray) -> None:
    with replacing(path) as aside, open(aside, "wb") as stream:
        np.save(stream, array, allow_pickle=False)


@contextmanager
def filling_array(path: Path | str, shape: tuple[int, ...], dtype: Any = np.uint8) -> Iterator[np.ndarray]:
    """Yield a writable memory map of `shape` that becomes `path` on success; it may be larger than memory."""
    with replacing(path) as aside:
        array = np.lib.format.open_memmap(aside, mode="w+", dtype=dtype, shape=shape)
        yield array
        array.flush()
        del array


def read_array(path: Path | str, shape: tuple[int | None, ...] | None = None, dtype: Any = np.uint8) -> np.ndarray:
    """Open `path` as a read-only memory map, checked against `shape` (None: any length) and `dtype`.

    Raises UserError if the file is missing, is not a `.npy` file, is cut short, or holds something else.
    """
    path = Path(path)
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run the step that makes it.") from None
    except (ValueError, OSError, EOFError) as problem:
        raise UserError(f"{path}: not a whole .npy array ({problem}); delete it and run snakemake again.") from None
    fits = shape is None or (
        array.ndim == len(shape) and all(want in (None, have) for want, have in zip(shape, array.shape, strict=True))
    )
    if not fits or array.dtype != np.dtype(dtype):
        wanted = "x".join("n" if side is None else str(side) for side in shape or ())
        found = "x".join(map(str, array.shape))
        raise UserError(
            f"{path}: expected {np.dtype(dtype)} {wanted}, found {array.dtype} {found}; "
            "delete it and run snakemake again."
        )
    return array


def forget(*arrays: np.ndarray) -> None:
    """Let go of the pages of memory maps that were read or written so far, so that a process stays small.

    Nothing is lost: what was written is the file's. Arrays that are no memory maps stay as they are.
    """
    for array in arrays:
        mapped = getattr(array, "_mmap", None)
        if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)


def read_json(path: Path | str) -> Any:
    try:
        return json.loads(Path(path).read_text())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run the step that makes it.") from None
    except ValueError as problem:
        raise UserError(f"{path}: not JSON ({problem}); delete it and run snakemake again.") from None


def digest(*parts: bytes | str | np.ndarray) -> str:
    """The sha256 of `parts`, in hexadecimal."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            total.update(f"{part.dtype}{part.shape}".encode())
            total.update(np.ascontiguousarray(part).data)
        else:
            total.update(part.encode() if isinstance(part, str) else part)
    return total.hexdigest()
