"""Validate and read zip files of unknown origin without unpacking them to disk.

The member list is checked before any member is read. A member is read into memory and only on request.
At most its declared size is unpacked, and its checksum is verified.
"""

from __future__ import annotations

import io
import re
import stat
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO

from tgs_salt.errors import UserError

Reader = Callable[[], bytes]

MIB = 1 << 20
MAX_BYTES = {".png": 16 * MIB, ".csv": 64 * MIB}
"""Size limit of an unpacked file by suffix, far above the competition's files (30 kB and 1 MB)."""
MAX_MEMBER_BYTES = 1024 * MIB  # other suffixes
MAX_TOTAL_BYTES = 4096 * MIB

_READ_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError, ValueError)
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # zipfile cannot limit the output of the other methods
_MACOS_METADATA = re.compile(r"(^|/)(__MACOSX/|\._|\.DS_Store)")


def is_macos_metadata(name: str) -> bool:
    """Return whether macOS created this file; resource forks have the names of the images they belong to."""
    return bool(_MACOS_METADATA.search(name))


def open_zip(file: Path | IO[bytes], name: str) -> zipfile.ZipFile:
    """Open a zip file whose members are all safe to read; error messages call it `name`.

    Raises:
        UserError: The file is not a complete zip, or a member has an unsafe path, is a link, appears twice,
            is encrypted, uses unsupported compression, or is too large.
    """
    try:
        archive = zipfile.ZipFile(file)
    except _READ_ERRORS as error:
        raise UserError(f"{name}: not a valid zip file ({error}); download it again.") from None
    try:
        _check_members(archive, name)
    except UserError:
        archive.close()
        raise
    return archive


def member_readers(file: Path | bytes, name: str) -> dict[str, Reader]:
    """Return a reader for each file in a zip, by member path; readers are thread-safe.

    Raises:
        UserError: As `open_zip` does.
    """
    archive = open_zip(io.BytesIO(file) if isinstance(file, bytes) else file, name)
    listed = (member for member in archive.infolist() if not member.is_dir())
    return {
        member.filename: _member_reader(archive, member, name)
        for member in listed
        if not is_macos_metadata(member.filename)
    }


def check_zip(file: Path | IO[bytes], name: str, select_nested: Callable[[list[str]], list[str]] | None = None) -> None:
    """Read every member of a zip in chunks and verify its checksum.

    Args:
        file: The zip file.
        name: Its name in error messages.
        select_nested: Returns those of the given member names that are zip files to check as well.

    Raises:
        UserError: `open_zip` rejects the file, it has no members, or a member is damaged.
    """
    with open_zip(file, name) as archive:
        # In file order, because seeking backwards in a compressed member restarts its decompression.
        listed = sorted(archive.infolist(), key=lambda member: member.header_offset)
        if not listed:
            raise UserError(f"{name}: the zip file is empty.")
        names = [member.filename for member in listed if not is_macos_metadata(member.filename)]
        nested = select_nested(names) if select_nested else []
        try:
            for member in listed:
                with archive.open(member) as stream:
                    while stream.read(MIB):
                        pass
                if member.filename in nested:
                    with archive.open(member) as stream:
                        check_zip(stream, f"{name}/{member.filename}")
        except _READ_ERRORS as error:
            raise UserError(f"{name}: damaged ({error}).") from None


def _member_reader(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> Reader:
    def read() -> bytes:
        try:
            with archive.open(member) as stream:
                # Without a limit, a member with a false size is unpacked completely before it is truncated.
                return stream.read(member.file_size + 1)
        except _READ_ERRORS as error:
            raise UserError(
                f"{name}: {member.filename} cannot be read ({error}); download the archive again."
            ) from None

    return read


def _check_members(archive: zipfile.ZipFile, name: str) -> None:
    # A zip truncated inside a nested zip can look valid, but it does not start with its first member.
    if archive.infolist() and min(member.header_offset for member in archive.infolist()) != 0:
        raise UserError(
            f"{name}: not a valid zip file (truncated, or data before the first member); download it again."
        )
    seen: set[PurePosixPath] = set()
    total = 0
    for member in archive.infolist():
        problem = _member_problem(member)
        path = PurePosixPath(member.filename)
        if not problem and path in seen and not member.is_dir():
            problem = "appears twice"
        seen.add(path)
        total += member.file_size
        if not problem and total > MAX_TOTAL_BYTES:
            problem = f"brings the unpacked size above the limit of {MAX_TOTAL_BYTES // MIB:,} MiB"
        if problem:
            raise UserError(
                f"{name}: member {member.orig_filename!r} {problem}; "
                "the competition's archive has no such member: download it from Kaggle."
            )


def _member_problem(member: zipfile.ZipInfo) -> str | None:
    """Return what is wrong with a member's directory entry, or None."""
    raw = member.orig_filename
    if raw.startswith("/") or ".." in raw.split("/") or re.search(r"[\\:\x00-\x1f]", raw):
        return "has an unsafe path"
    # Zip files made on Unix store the file type here, others store zero.
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device"
    if member.flag_bits & 0x1:
        return "is encrypted"
    if member.compress_type not in _METHODS:
        return f"uses unsupported compression (method {member.compress_type})"
    limit = MAX_BYTES.get(PurePosixPath(raw).suffix.lower(), MAX_MEMBER_BYTES)
    if member.file_size > limit:
        return f"unpacks to {member.file_size:,} bytes, above the limit of {limit // MIB:,} MiB"
    return None
