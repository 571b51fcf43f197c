"""Files that are whole or absent: written beside their name, flushed to disk, renamed into place.

A reader never sees half a file, and a file whose bytes would not change is left alone,
because a touched array looks like new data to Snakemake and would retrain a night.
"""

from __future__ import annotations

import errno
import filecmp
import hashlib
import json
import mmap
import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from tgs_salt.errors import UserError

AGAIN = "delete it and run snakemake again"
NO_ROOM = {errno.ENOSPC: "no space is left", errno.EDQUOT: "your quota is used up", errno.EFBIG: "it grows too large"}
NO_ENTRY = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def atomic_write(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes the place of `path`, on failure it goes.

    Raises UserError if the disk is full or the folder may not be written.
    """
    path = Path(path)
    tmp_path = path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_strays(path)
        yield tmp_path
        if path.is_file() and filecmp.cmp(tmp_path, path, shallow=False):
            return
        with open(tmp_path, "rb+") as written:
            os.fsync(written.fileno())
        os.replace(tmp_path, path)
        _flush_folder(path.parent)
    except OSError as problem:
        if lack := disk_full_error(problem, path):
            raise lack from None
        # What the caller reads may be forbidden as well; only what is written here is spoken of.
        if problem.errno in NO_ENTRY and str(problem.filename).startswith(str(path.parent)):
            raise UserError(
                f"{path}: cannot be written ({problem.strerror}); make its folder writable, or work in another one."
            ) from None
        raise
    finally:
        with suppress(OSError):  # what is wrong with the folder has been said
            tmp_path.unlink(missing_ok=True)


def disk_full_error(problem: OSError, path: Path | str | None = None) -> UserError | None:
    """What to tell the user if `problem` is that `path` (default: the file that it names) finds no room, else None."""
    if problem.errno not in NO_ROOM:
        return None
    where = path or problem.filename or "a file"
    return UserError(f"{where}: cannot be written, {NO_ROOM[problem.errno]}; make room and run the same command again.")


def _remove_strays(path: Path) -> None:
    """Remove what writers of `path` left that were killed on this machine."""
    ours = re.compile(rf"\.{re.escape(path.name)}\.{re.escape(platform.node())}\.(\d+)\.part")
    for found in path.parent.iterdir():
        match = ours.fullmatch(found.name)
        if match and not is_running(int(match[1])):
            found.unlink(missing_ok=True)


def is_running(process: int) -> bool:
    """Whether there is a process of this number on this machine."""
    if os.name != "posix":
        return True  # a signal to ask with does not exist there
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


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
    with atomic_write(path) as tmp_path:
        tmp_path.write_bytes(content)


def write_text(path: Path | str, text: str) -> None:
    write_bytes(path, text.encode())


def write_json(path: Path | str, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, sort_keys=False) + "\n")


def write_array(path: Path | str, array: np.ndarray) -> None:
    with atomic_write(path) as tmp_path, open(tmp_path, "wb") as stream:
        # np.save hands the file to C code, which does not say why it could not write.
        np.lib.format.write_array(_Plain(stream), array, allow_pickle=False)


class _Plain:
    """A file that numpy takes for none, and writes to in pieces."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.write = stream.write


@contextmanager
def create_memmap(path: Path | str, shape: tuple[int, ...], dtype: Any = np.uint8) -> Iterator[np.ndarray]:
    """Yield a writable memory map of `shape` that becomes `path` on success; it may be larger than memory."""
    with atomic_write(path) as tmp_path:
        array = np.lib.format.open_memmap(tmp_path, mode="w+", dtype=dtype, shape=shape)
        _reserve(tmp_path)
        yield array
        array.flush()
        del array


def _reserve(path: Path) -> None:
    """Give a sparse file its blocks now: a disk that fills up under a memory map kills the process without a word."""
    if hasattr(os, "posix_fallocate"):
        with open(path, "rb+") as stream:
            os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)


def read_array(
    path: Path | str, shape: tuple[int | None, ...] | None = None, dtype: Any = np.uint8, advice: str = AGAIN
) -> np.ndarray:
    """Open `path` as a read-only memory map, checked against `shape` (None: any length) and `dtype`.

    Raises UserError, which ends with `advice`, if the file is not a `.npy` file, is cut short, or holds something else;
    and if it is missing.
    """
    path = Path(path)
    try:
        # Not np.load, which takes a zip or a pickle for an array by its first bytes.
        array = np.lib.format.open_memmap(path, mode="r")
    except OSError as problem:
        raise unreadable(path, problem) from None
    except Exception as problem:  # numpy evaluates the header, and raises whatever that raises
        reason = str(problem).partition("\n")[0][:100] or type(problem).__name__
        raise UserError(f"{path}: not a whole .npy array ({reason}); {advice}.") from None
    fits = shape is None or (
        array.ndim == len(shape) and all(want in (None, have) for want, have in zip(shape, array.shape, strict=True))
    )
    if not fits or array.dtype != np.dtype(dtype):
        wanted = "x".join("n" if side is None else str(side) for side in shape or ())
        found = "x".join(map(str, array.shape))
        raise UserError(f"{path}: expected {np.dtype(dtype)} {wanted}, found {array.dtype} {found}; {advice}.")
    return array


def release_pages(*arrays: np.ndarray) -> None:
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
    except OSError as problem:
        raise unreadable(path, problem) from None
    except (ValueError, RecursionError) as problem:
        raise UserError(f"{path}: not JSON ({problem}); {AGAIN}.") from None


def unreadable(path: Path | str, problem: OSError) -> UserError:
    """The sentence about a file that another step makes, and that cannot be opened."""
    if isinstance(problem, FileNotFoundError):
        return UserError(f"{path}: no such file; run the step that makes it.")
    return UserError(f"{path}: cannot be read ({problem.strerror}); mend that and run the same command again.")


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
