"""Atomic file writes, and validated reads.

A file is written under a temporary name in the same folder, flushed to disk, and renamed into place, so that a reader
never sees a partial file. A file whose bytes would not change keeps its modification time: to Snakemake a touched
array is new data, which would trigger retraining.
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

RECREATE_HINT = "delete this file and run snakemake again"
DISK_FULL = {
    errno.ENOSPC: "no space left on device",
    errno.EDQUOT: "disk quota exceeded",
    errno.EFBIG: "file too large",
}
NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def atomic_write(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; rename it to `path` on success, delete it on failure.

    Raises:
        UserError: The disk is full or the folder is not writable.
    """
    path = Path(path)
    tmp_path = path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale_tmp_files(path)
        yield tmp_path
        if path.is_file() and filecmp.cmp(tmp_path, path, shallow=False):
            return
        with open(tmp_path, "rb+") as written:
            os.fsync(written.fileno())
        os.replace(tmp_path, path)
        _fsync_folder(path.parent)
    except OSError as problem:
        if disk_full := disk_full_error(problem, path):
            raise disk_full from None
        # The caller's own reads can fail with the same codes; report only errors in the folder of `path`.
        if problem.errno in NOT_WRITABLE and str(problem.filename).startswith(str(path.parent)):
            raise UserError(
                f"{path}: cannot be written ({problem.strerror}); make its folder writable, or work in another one."
            ) from None
        raise
    finally:
        with suppress(OSError):  # an error with the folder was reported above
            tmp_path.unlink(missing_ok=True)


def disk_full_error(problem: OSError, path: Path | str | None = None) -> UserError | None:
    """Return the UserError for a full disk, quota or file size limit; None if `problem` is something else.

    `path` is the file that was written (default: the one that `problem` names).
    """
    if problem.errno not in DISK_FULL:
        return None
    name = path or problem.filename or "a file"
    return UserError(
        f"{name}: cannot be written ({DISK_FULL[problem.errno]}); free some space and run the same command again."
    )


def _remove_stale_tmp_files(path: Path) -> None:
    """Remove temporary files of `path` whose writers were killed on this machine."""
    pattern = re.compile(rf"\.{re.escape(path.name)}\.{re.escape(platform.node())}\.(\d+)\.part")
    for file in path.parent.iterdir():
        match = pattern.fullmatch(file.name)
        if match and not is_running(int(match[1])):
            file.unlink(missing_ok=True)


def is_running(pid: int) -> bool:
    """Return whether process `pid` exists on this machine; always True where that cannot be checked."""
    if os.name != "posix":
        return True  # signal 0, the usual check, does not exist on Windows
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _fsync_folder(folder: Path) -> None:
    """Make a rename survive a power failure: on POSIX, file names are part of the folder's data."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path | str, content: bytes) -> None:
    """Write `content` atomically."""
    with atomic_write(path) as tmp_path:
        tmp_path.write_bytes(content)


def write_text(path: Path | str, text: str) -> None:
    """Write `text` atomically, as UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` atomically as indented JSON; keys keep their order."""
    write_text(path, json.dumps(value, indent=2, sort_keys=False) + "\n")


def write_array(path: Path | str, array: np.ndarray) -> None:
    """Write `array` atomically as a .npy file."""
    with atomic_write(path) as tmp_path, open(tmp_path, "wb") as stream:
        # np.save passes a real file to C code, whose errors do not give the reason.
        np.lib.format.write_array(_WriteOnly(stream), array, allow_pickle=False)


class _WriteOnly:
    """A stream that numpy does not recognize as a file, so that it calls `write` on chunks."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.write = stream.write


@contextmanager
def create_memmap(path: Path | str, shape: tuple[int, ...], dtype: Any = np.uint8) -> Iterator[np.ndarray]:
    """Yield a writable, zero-filled memory map that becomes the .npy file `path` on success.

    The array may be larger than memory.
    """
    with atomic_write(path) as tmp_path:
        array = np.lib.format.open_memmap(tmp_path, mode="w+", dtype=dtype, shape=shape)
        _allocate_blocks(tmp_path)
        yield array
        array.flush()
        del array


def _allocate_blocks(path: Path) -> None:
    """Allocate the disk blocks of a sparse file.

    If the disk filled up later, under the memory map, SIGBUS would kill the process without a message.
    """
    if hasattr(os, "posix_fallocate"):
        with open(path, "rb+") as stream:
            os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)


def read_array(
    path: Path | str, shape: tuple[int | None, ...] | None = None, dtype: Any = np.uint8, hint: str = RECREATE_HINT
) -> np.ndarray:
    """Return the .npy file `path` as a read-only memory map.

    Args:
        path: File to open.
        shape: Expected shape; None in place of a length accepts any.
        dtype: Expected dtype.
        hint: What the user can do if the file is invalid; ends the error message.

    Raises:
        UserError: The file is missing, is not a valid .npy file, or has another shape or dtype.
    """
    path = Path(path)
    try:
        # Not np.load: it also opens zip files and pickles.
        array = np.lib.format.open_memmap(path, mode="r")
    except OSError as problem:
        raise read_error(path, problem) from None
    except Exception as problem:  # numpy evaluates the header, which can raise anything
        reason = str(problem).partition("\n")[0][:100] or type(problem).__name__
        raise UserError(f"{path}: not a valid .npy file ({reason}); {hint}.") from None
    matches = shape is None or (
        array.ndim == len(shape)
        and all(expected in (None, actual) for expected, actual in zip(shape, array.shape, strict=True))
    )
    if not matches or array.dtype != np.dtype(dtype):
        expected_shape = "x".join("n" if length is None else str(length) for length in shape or ())
        actual_shape = "x".join(map(str, array.shape))
        raise UserError(
            f"{path}: expected {np.dtype(dtype)} {expected_shape}, found {array.dtype} {actual_shape}; {hint}."
        )
    return array


def release_pages(*arrays: np.ndarray) -> None:
    """Drop the resident pages of memory maps, to keep the process small; the data stays in the files.

    Arrays that are not memory maps are left as they are.
    """
    for array in arrays:
        mapped = getattr(array, "_mmap", None)
        if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)


def read_json(path: Path | str) -> Any:
    """Return the content of the JSON file `path`.

    Raises:
        UserError: The file cannot be read or is not valid JSON.
    """
    try:
        return json.loads(Path(path).read_text())
    except OSError as problem:
        raise read_error(path, problem) from None
    except (ValueError, RecursionError) as problem:
        raise UserError(f"{path}: not valid JSON ({problem}); {RECREATE_HINT}.") from None


def read_error(path: Path | str, problem: OSError) -> UserError:
    """Return the UserError for a file that cannot be opened and that another step creates."""
    if isinstance(problem, FileNotFoundError):
        return UserError(f"{path}: no such file; run the step that creates it.")
    return UserError(f"{path}: cannot be read ({problem.strerror}); fix this and run the same command again.")


def digest(*values: bytes | str | np.ndarray) -> str:
    """Return the SHA-256 of `values` in hexadecimal; for an array, dtype and shape count as well."""
    sha256 = hashlib.sha256()
    for value in values:
        if isinstance(value, np.ndarray):
            sha256.update(f"{value.dtype}{value.shape}".encode())
            sha256.update(np.ascontiguousarray(value).data)
        else:
            sha256.update(value.encode() if isinstance(value, str) else value)
    return sha256.hexdigest()
