"""Recognise Kaggle's layouts by content: an outer zip, train.zip and test.zip, or unpacked folders.

Nothing is unpacked to disk: a `Source` opens members straight out of the archives.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from tgs_salt.errors import UserError

TABLES = ("train.csv", "depths.csv", "sample_submission.csv")
KINDS = ("train images", "train masks", "test images")
_PICTURE = re.compile(r"(?:^|.*/)(images|masks)/([^/]+)\.png$", re.IGNORECASE)
_IGNORED = re.compile(r"(^|/)(__MACOSX/|\._|\.DS_Store)")

Read = Callable[[], bytes]


@dataclass
class Source:
    """Where the parts of a survey are: per kind of picture, and per table, what reads its bytes."""

    origin: Path
    where: str = ""
    pictures: dict[str, dict[str, Read]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    tables: dict[str, Read] = field(default_factory=dict)
    repeated: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counts = ", ".join(f"{len(self.pictures[kind]):,} {kind}" for kind in KINDS)
        tables = ", ".join(sorted(self.tables)) or "no csv"
        return f"{self.origin}: {counts} in {self.where or 'no archive or folder'}; {tables}"

    @property
    def complete(self) -> bool:
        return all(self.pictures.values())


def recognise(origin: Path) -> Source:
    """Find a survey in a folder or in one zip.

    train.zip with test.zip come first, then competition_data.zip, then loose folders; sources are never mixed.
    Raises UserError if there is no such place, or if not all parts of a survey are found there.
    """
    members = _members(origin)
    archives = {PurePosixPath(name).name: name for name in sorted(members, key=_depth, reverse=True)}
    candidates: list[tuple[str, tuple[str, ...]]] = []
    if "train.zip" in archives and "test.zip" in archives:
        candidates.append(("train.zip and test.zip", ("train.zip", "test.zip")))
    if "competition_data.zip" in archives:
        candidates.append(("competition_data.zip", ("competition_data.zip",)))

    found = []
    for where, names in candidates:
        inner: dict[str, Read] = {}
        for name in names:
            stem = name.removesuffix(".zip")
            archive = _zip_members(f"{origin}/{archives[name]}", members[archives[name]])
            inner |= {f"{stem}/{member}": read for member, read in archive.items()}
        found.append(_source(origin, where, inner, members))
    found.append(_source(origin, "loose folders", members, members))
    best = next((source for source in found if source.complete), None)
    if best is None:
        closest = max(found, key=lambda source: sum(map(bool, source.pictures.values())))
        raise UserError(
            f"{closest}; expected train/images, train/masks and test/images with .png files, in train.zip and "
            "test.zip, in competition_data.zip, or in folders of these names."
        )
    missing = [table for table in TABLES if table not in best.tables]
    if missing:
        raise UserError(f"{origin}: no {' and no '.join(missing)} found; a survey has {', '.join(TABLES)}.")
    if best.repeated:
        raise UserError(f"{origin}: {best.repeated[0]} is there twice; leave one of the two.")
    return best


def _members(origin: Path) -> dict[str, Read]:
    """Every file below `origin` by its path, with what reads it."""
    if origin.is_dir():
        paths = sorted(path for path in origin.rglob("*") if path.is_file())
        return {path.relative_to(origin).as_posix(): path.read_bytes for path in paths}
    if not origin.exists():
        raise UserError(f"{origin}: no such folder or zip; set survey.directory (relative to the working folder).")
    return _zip_members(str(origin), None)


def _zip_members(name: str, read: Read | None) -> dict[str, Read]:
    """The files in a zip on disk (`read` is None) or in memory. Reading is safe from several threads."""
    try:
        archive = zipfile.ZipFile(Path(name) if read is None else io.BytesIO(read()))
    except (zipfile.BadZipFile, OSError, EOFError) as problem:
        raise UserError(f"{name}: not a whole zip ({problem}); fetch it again.") from None
    members: dict[str, Read] = {}
    for info in archive.infolist():
        if not info.is_dir():
            key = info.filename if info.filename not in members else f"{info.filename}\0again"
            members[key] = _reader(archive, info, name)
    return members


def _reader(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> Read:
    def read() -> bytes:
        try:
            return archive.read(info)
        except (
            zipfile.BadZipFile,
            RuntimeError,
            EOFError,
            OSError,
            NotImplementedError,
            zlib.error,
        ) as problem:
            raise UserError(f"{name}: {info.filename} cannot be read ({problem}); fetch the archive again.") from None

    return read


def _source(origin: Path, where: str, pictures: dict[str, Read], members: dict[str, Read]) -> Source:
    source = Source(origin, where)
    for name, read in pictures.items():
        plain = name.removesuffix("\0again")
        match = _PICTURE.match(plain)
        if not match or _IGNORED.search(plain):
            continue
        split = next((part for part in reversed(PurePosixPath(plain).parts[:-2]) if part in ("train", "test")), None)
        kind = f"{split} {match[1].lower()}"
        if kind in source.pictures:
            if match[2] in source.pictures[kind]:
                source.repeated.append(f"{kind[:-1]} {match[2]}")
            source.pictures[kind][match[2]] = read
    # The shallowest table of a name counts; one may also lie beside the pictures, or be zipped by itself.
    everything = {**pictures, **members}
    for name in sorted(everything, key=_depth, reverse=True):
        base = PurePosixPath(name).name
        if base in TABLES and not _IGNORED.search(name):
            source.tables[base] = everything[name]
        elif base.removesuffix(".zip") in TABLES:
            source.tables[base.removesuffix(".zip")] = _zipped_table(f"{origin}/{name}", everything[name])
    return source


def _zipped_table(name: str, read: Read) -> Read:
    """What reads the table in a zip of one table: x.csv in x.csv.zip."""
    table = PurePosixPath(name).stem

    def read_inner() -> bytes:
        members = _zip_members(name, read).items()
        inner = next((read for key, read in members if PurePosixPath(key).name == table), None)
        if inner is None:
            raise UserError(f"{name}: holds no {table}; fetch it again.")
        return inner()

    return read_inner


def _depth(name: str) -> tuple[int, str]:
    return name.count("/"), name
