"""Recognise Kaggle's layouts by content: an outer zip, train.zip and test.zip, or unpacked folders.

Nothing is unpacked to disk: a `Source` opens members straight out of the archives. Only what is named like a part
of a dataset is ever read; flamingo.zip, notes and what macOS adds are not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from tgs_salt.data.archive import LARGEST, MIB, Read, is_noise, members
from tgs_salt.errors import UserError

TABLES = ("train.csv", "depths.csv", "sample_submission.csv")
KINDS = ("train images", "train masks", "test images")
_PICTURE = re.compile(r"(?:^|.*/)(images|masks)/([^/]+)\.png$", re.IGNORECASE)


@dataclass
class DatasetSource:
    """Where the parts of a dataset are: per kind of picture, and per table, what reads its bytes."""

    origin: Path
    where: str = ""
    pictures: dict[str, dict[str, Read]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    tables: dict[str, Read] = field(default_factory=dict)
    repeated: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.origin}: {self.contents}; {self.listed_tables}"

    @property
    def contents(self) -> str:
        counts = ", ".join(f"{len(self.pictures[kind]):,} {kind}" for kind in KINDS)
        return f"{counts} in {self.where}"

    @property
    def listed_tables(self) -> str:
        return ", ".join(sorted(self.tables)) or "no csv"

    def fits(self, counts: tuple[int | None, ...]) -> bool:
        """Whether there are as many pictures of each kind as expected (None: one or more)."""
        found = [len(self.pictures[kind]) for kind in KINDS]
        return all(have if want is None else have == want for have, want in zip(found, counts, strict=True))


def detect_layout(origin: Path, train_tiles: int | None = None, test_tiles: int | None = None) -> DatasetSource:
    """Find a dataset in a folder or in one zip, of so many tiles (None: any number).

    train.zip with test.zip come first, then competition_data.zip, then loose folders; sources are never mixed.
    Raises UserError if there is no such place, or if not all parts of a dataset are found there.
    """
    everything = _members(origin)
    counts = (train_tiles, train_tiles, test_tiles)
    tried: list[DatasetSource] = []
    for where, pictures in _candidates(origin, everything):
        tried.append(_source(origin, where, pictures, everything))
        if tried[-1].fits(counts):
            break
    else:
        raise _not_found(origin, tried, counts)
    best = tried[-1]
    missing = [table for table in TABLES if table not in best.tables]
    if missing:
        raise UserError(f"{origin}: no {' and no '.join(missing)} found; a dataset has {', '.join(TABLES)}.")
    if best.repeated:
        raise UserError(f"{origin}: {best.repeated[0]} is there twice; leave one of the two.")
    return best


def _not_found(origin: Path, tried: list[DatasetSource], counts: tuple[int | None, ...]) -> UserError:
    holding = [source for source in tried if any(source.pictures.values())] or tried[-1:]
    found = f"{origin}: {', '.join(source.contents for source in holding)}"
    if any(source.fits((None, None, None)) for source in tried):
        images, masks, tests = ("any number of" if count is None else f"{count:,}" for count in counts)
        return UserError(
            f"{found}; expected {images} train images, {masks} train masks and {tests} test images: mend it, fetch the "
            "dataset again, or set data.train_tiles and data.test_tiles to what is right for it."
        )
    return UserError(
        f"{found}; {holding[0].listed_tables}; expected train/images, train/masks and test/images with .png files, "
        "in train.zip and test.zip, in competition_data.zip, or in folders of these names."
    )


def _members(origin: Path) -> dict[str, Read]:
    """Every file below `origin` by its path, with what reads it."""
    if origin.is_dir():
        paths = sorted(path for path in origin.rglob("*") if path.is_file())
        named = {path.relative_to(origin).as_posix(): path for path in paths}
        return {name: _file_reader(path) for name, path in named.items() if not is_noise(name)}
    if not origin.exists():
        raise UserError(f"{origin}: no such folder or zip; set data.directory (relative to the working folder).")
    return members(origin, str(origin))


def _file_reader(path: Path) -> Read:
    def read() -> bytes:
        largest = LARGEST.get(path.suffix.lower())
        if largest is not None and path.stat().st_size > largest:
            raise UserError(f"{path}: larger than {largest // MIB:,} MiB, which no part of a dataset is; replace it.")
        return path.read_bytes()

    return read


def _candidates(origin: Path, everything: dict[str, Read]) -> Iterable[tuple[str, dict[str, Read]]]:
    """The places where a dataset's pictures may be, the best first: what it is called, and the files in it."""
    names = sorted(everything, key=_depth)
    folders = [PurePosixPath(name).parent for name in names if PurePosixPath(name).name == "train.zip"]
    pairs = [[str(folder / "train.zip"), str(folder / "test.zip")] for folder in folders]
    singles = [[name] for name in names if PurePosixPath(name).name == "competition_data.zip"]
    # The shallowest of its kind: a second one deeper down is a copy.
    for archives in ([p for p in pairs if p[1] in everything][:1], singles[:1]):
        for parts in archives:
            inner: dict[str, Read] = {}
            for part in parts:
                stem = PurePosixPath(part).stem
                found = members(everything[part](), f"{origin}/{part}")
                inner |= {f"{stem}/{member}": read for member, read in found.items()}
            yield " and ".join(PurePosixPath(part).name for part in parts), inner
    yield "loose folders", everything


def _source(origin: Path, where: str, pictures: dict[str, Read], everything: dict[str, Read]) -> DatasetSource:
    source = DatasetSource(origin, where)
    for name, read in pictures.items():
        match = _PICTURE.match(name)
        if not match:
            continue
        split = next((part for part in reversed(PurePosixPath(name).parts[:-2]) if part in ("train", "test")), None)
        kind = f"{split} {match[1].lower()}"
        if kind in source.pictures:
            if match[2] in source.pictures[kind]:
                source.repeated.append(f"{kind[:-1]} {match[2]}")
            source.pictures[kind][match[2]] = read
    # The shallowest table of a name counts; one may also lie beside the pictures, or be zipped by itself.
    tables = {**pictures, **everything}
    for name in sorted(tables, key=_depth, reverse=True):
        base = PurePosixPath(name).name
        if base in TABLES:
            source.tables[base] = tables[name]
        elif base.removesuffix(".zip") in TABLES:
            source.tables[base.removesuffix(".zip")] = _zipped_table(f"{origin}/{name}", tables[name])
    return source


def _zipped_table(name: str, read: Read) -> Read:
    """What reads the table in a zip of one table: x.csv in x.csv.zip."""
    table = PurePosixPath(name).stem

    def read_inner() -> bytes:
        found = members(read(), name).items()
        inner = next((read for key, read in found if PurePosixPath(key).name == table), None)
        if inner is None:
            raise UserError(f"{name}: holds no {table}; fetch it again.")
        return inner()

    return read_inner


def _depth(name: str) -> tuple[int, str]:
    return name.count("/"), name
