"""Zip files made by somebody else: their list of members is doubted before anything is read, and nothing is unpacked.

A member is read into memory, never written to the disk, and only by who asks for its name. What a zip announces
is held against it: no more bytes are ever unpacked, and the checksum has to fit them.
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

Read = Callable[[], bytes]

MIB = 1 << 20
LARGEST = {".png": 16 * MIB, ".csv": 64 * MIB}
"""Bytes that a member of this kind may unpack to, far above what the competition has (30 kB and 1 MB)."""
MAX_TABLE_BYTES = 1024 * MIB
MAX_TOTAL_BYTES = 4096 * MIB

_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError, ValueError)
_PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the others cannot be unpacked piece by piece
_IGNORED = re.compile(r"(^|/)(__MACOSX/|\._|\.DS_Store)")


def is_noise(name: str) -> bool:
    """Whether macOS left this file: resource forks look like the pictures that they belong to."""
    return bool(_IGNORED.search(name))


def open_zip(file: Path | IO[bytes], name: str) -> zipfile.ZipFile:
    """Open a zip of which every member may be read; `name` is what messages call it.

    Raises UserError if it is no whole zip (what is cut off in the middle of a zip in it looks like one, but does not
    begin with its first member), or if a member leads out of the archive, is a link, is there twice,
    is encrypted, is compressed in an unusual way, or would be too large.
    """
    try:
        opened = zipfile.ZipFile(file)
    except _BROKEN as problem:
        raise UserError(f"{name}: not a whole zip ({problem}); fetch it again.") from None
    try:
        _check_members(opened, name)
    except UserError:
        opened.close()
        raise
    return opened


def members(file: Path | bytes, name: str) -> dict[str, Read]:
    """The files in a zip by their path, with what reads each; several threads may read. Raises as `open_zip` does."""
    opened = open_zip(io.BytesIO(file) if isinstance(file, bytes) else file, name)
    listed = (member for member in opened.infolist() if not member.is_dir())
    return {member.filename: _reader(opened, member, name) for member in listed if not is_noise(member.filename)}


def check_zip(file: Path | IO[bytes], name: str, inner: Callable[[list[str]], list[str]] | None = None) -> None:
    """Read a zip through to its last byte against its checksums, in pieces.

    `inner` picks those members that are zips to be checked as well. Raises UserError for what `open_zip` refuses,
    for an empty zip, and for a member whose bytes are not those that the zip announces.
    """
    with open_zip(file, name) as opened:
        # In the order of their bytes: inside a compressed member, a step back means to begin again.
        listed = sorted(opened.infolist(), key=lambda member: member.header_offset)
        if not listed:
            raise UserError(f"{name}: the zip file is empty.")
        picked = inner([member.filename for member in listed if not is_noise(member.filename)]) if inner else []
        try:
            for member in listed:
                with opened.open(member) as stream:
                    while stream.read(MIB):
                        pass
                if member.filename in picked:
                    with opened.open(member) as stream:
                        check_zip(stream, f"{name}/{member.filename}")
        except _BROKEN as problem:
            raise UserError(f"{name}: damaged ({problem}).") from None


def _reader(opened: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> Read:
    def read() -> bytes:
        try:
            with opened.open(member) as stream:
                # A limit, because without one a member that lies about its size is unpacked before it is cut.
                return stream.read(member.file_size + 1)
        except _BROKEN as problem:
            raise UserError(f"{name}: {member.filename} cannot be read ({problem}); fetch the archive again.") from None

    return read


def _check_members(opened: zipfile.ZipFile, name: str) -> None:
    if opened.infolist() and min(member.header_offset for member in opened.infolist()) != 0:
        raise UserError(f"{name}: not a whole zip (cut short, or with something before it); fetch it again.")
    seen: set[PurePosixPath] = set()
    total = 0
    for member in opened.infolist():
        problem = _problem(member)
        path = PurePosixPath(member.filename)
        if not problem and path in seen and not member.is_dir():
            problem = "is there twice"
        seen.add(path)
        total += member.file_size
        if not problem and total > MAX_TOTAL_BYTES:
            problem = f"brings it to more than {MAX_TOTAL_BYTES // MIB:,} MiB unpacked"
        if problem:
            raise UserError(
                f"{name}: member {member.orig_filename!r} {problem}; "
                "the competition's archive has nothing like it, so none of it is used: get it from Kaggle."
            )


def _problem(member: zipfile.ZipInfo) -> str | None:
    """What is wrong with a member, as far as the zip's own list tells."""
    raw = member.orig_filename
    if raw.startswith("/") or ".." in raw.split("/") or re.search(r"[\\:\x00-\x1f]", raw):
        return "has a name that may lead out of the archive"
    # Unix keeps a file's type here; other systems leave it zero.
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device"
    if member.flag_bits & 0x1:
        return "is encrypted"
    if member.compress_type not in _PLAIN:
        return f"is compressed in an unusual way (method {member.compress_type})"
    largest = LARGEST.get(PurePosixPath(raw).suffix.lower(), MAX_TABLE_BYTES)
    if member.file_size > largest:
        return f"would be {member.file_size:,} bytes, more than the {largest // MIB:,} MiB that one may have"
    return None
