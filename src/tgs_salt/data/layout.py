"""Detect the layout of a dataset by its content: one outer zip, train.zip and test.zip, or unpacked folders.

Nothing is unpacked to disk: a `DatasetSource` reads members directly from the archives.
Only files with the names of a dataset's files are read; other files and macOS metadata are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from tgs_salt.data.archive import MAX_BYTES, MIB, Reader, is_macos_metadata, member_readers
from tgs_salt.errors import UserError

TABLES = ("train.csv", "depths.csv", "sample_submission.csv")
KINDS = ("train images", "train masks", "test images")
_IMAGE = re.compile(r"(?:^|.*/)(images|masks)/([^/]+)\.png$", re.IGNORECASE)


@dataclass
class DatasetSource:
    """Readers of a dataset's images and tables.

    Attributes:
        path: The folder or zip file.
        location: Where in `path` the images are, such as "train.zip and test.zip".
        image_readers: Per kind of image, a reader of the PNG bytes by tile id.
        table_readers: A reader of the csv bytes by file name.
        duplicates: Images found more than once, such as "test image 0123456789".
    """

    path: Path
    location: str = ""
    image_readers: dict[str, dict[str, Reader]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    table_readers: dict[str, Reader] = field(default_factory=dict)
    duplicates: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.path}: {self.image_summary}; {self.table_summary}"

    @property
    def image_summary(self) -> str:
        """The number of images of each kind and their location."""
        counts = ", ".join(f"{len(self.image_readers[kind]):,} {kind}" for kind in KINDS)
        return f"{counts} in {self.location}"

    @property
    def table_summary(self) -> str:
        """The names of the csv files."""
        return ", ".join(sorted(self.table_readers)) or "no csv files"

    def matches(self, expected: tuple[int | None, ...]) -> bool:
        """Return whether each kind has the expected number of images (None: at least one)."""
        counts = [len(self.image_readers[kind]) for kind in KINDS]
        return all(have if want is None else have == want for have, want in zip(counts, expected, strict=True))


def detect_layout(path: Path, train_tiles: int | None = None, test_tiles: int | None = None) -> DatasetSource:
    """Find the dataset in a folder or zip file.

    train.zip with test.zip are preferred to competition_data.zip, and both to unpacked folders. Images are never
    combined from several of these locations.

    Args:
        path: Folder or zip file.
        train_tiles: Expected number of labeled tiles (None: any).
        test_tiles: Expected number of test tiles (None: any).

    Raises:
        UserError: `path` does not exist, or does not contain a complete dataset of that size.
    """
    readers = _file_readers(path)
    expected = (train_tiles, train_tiles, test_tiles)
    candidates: list[DatasetSource] = []
    for location, image_files in _image_locations(path, readers):
        candidates.append(_build_source(path, location, image_files, readers))
        if candidates[-1].matches(expected):
            break
    else:
        raise _no_match_error(path, candidates, expected)
    dataset = candidates[-1]
    missing = [table for table in TABLES if table not in dataset.table_readers]
    if missing:
        raise UserError(f"{path}: missing {', '.join(missing)}; a dataset has {', '.join(TABLES)}.")
    if dataset.duplicates:
        raise UserError(f"{path}: {dataset.duplicates[0]} appears twice; remove one of the two files.")
    return dataset


def _no_match_error(path: Path, candidates: list[DatasetSource], expected: tuple[int | None, ...]) -> UserError:
    with_images = [source for source in candidates if any(source.image_readers.values())] or candidates[-1:]
    found = f"{path}: found {', '.join(source.image_summary for source in with_images)}"
    if any(source.matches((None, None, None)) for source in candidates):
        images, masks, tests = ("any number of" if count is None else f"{count:,}" for count in expected)
        return UserError(
            f"{found}; expected {images} train images, {masks} train masks and {tests} test images. "
            "Download the dataset again, or set data.train_tiles and data.test_tiles to the actual number of tiles."
        )
    return UserError(
        f"{found}; {with_images[0].table_summary}; expected train/images, train/masks and test/images with .png files, "
        "in train.zip and test.zip, in competition_data.zip, or in folders with these names."
    )


def _file_readers(path: Path) -> dict[str, Reader]:
    """Return a reader for each file in a folder or zip, by relative path."""
    if path.is_dir():
        file_paths = sorted(file_path for file_path in path.rglob("*") if file_path.is_file())
        named = {file_path.relative_to(path).as_posix(): file_path for file_path in file_paths}
        return {name: _file_reader(file_path) for name, file_path in named.items() if not is_macos_metadata(name)}
    if not path.exists():
        raise UserError(f"{path}: no such folder or zip; set data.directory (relative to the working directory).")
    return member_readers(path, str(path))


def _file_reader(path: Path) -> Reader:
    def read() -> bytes:
        limit = MAX_BYTES.get(path.suffix.lower())
        if limit is not None and path.stat().st_size > limit:
            raise UserError(
                f"{path}: larger than the limit of {limit // MIB:,} MiB; replace it with the original file."
            )
        return path.read_bytes()

    return read


def _image_locations(path: Path, readers: dict[str, Reader]) -> Iterable[tuple[str, dict[str, Reader]]]:
    """Yield the possible locations of the images in order of preference: a description and the readers there."""
    names = sorted(readers, key=_nesting_key)
    folders = [PurePosixPath(name).parent for name in names if PurePosixPath(name).name == "train.zip"]
    pairs = [[str(folder / "train.zip"), str(folder / "test.zip")] for folder in folders]
    singles = [[name] for name in names if PurePosixPath(name).name == "competition_data.zip"]
    # Only the least nested one of each type; others are copies.
    for groups in ([pair for pair in pairs if pair[1] in readers][:1], singles[:1]):
        for archives in groups:
            members: dict[str, Reader] = {}
            for archive in archives:
                stem = PurePosixPath(archive).stem
                nested = member_readers(readers[archive](), f"{path}/{archive}")
                members |= {f"{stem}/{member}": read for member, read in nested.items()}
            yield " and ".join(PurePosixPath(archive).name for archive in archives), members
    yield "unpacked folders", readers


def _build_source(
    path: Path, location: str, image_files: dict[str, Reader], readers: dict[str, Reader]
) -> DatasetSource:
    source = DatasetSource(path, location)
    for name, read in image_files.items():
        match = _IMAGE.match(name)
        if not match:
            continue
        folders = reversed(PurePosixPath(name).parts[:-2])
        split = next((folder for folder in folders if folder in ("train", "test")), None)
        kind = f"{split} {match[1].lower()}"
        if kind in source.image_readers:
            if match[2] in source.image_readers[kind]:
                source.duplicates.append(f"{kind[:-1]} {match[2]}")
            source.image_readers[kind][match[2]] = read
    # The least nested table of a name is used; it can be next to the images or in a zip of its own.
    tables = {**image_files, **readers}
    for name in sorted(tables, key=_nesting_key, reverse=True):
        base = PurePosixPath(name).name
        if base in TABLES:
            source.table_readers[base] = tables[name]
        elif base.removesuffix(".zip") in TABLES:
            source.table_readers[base.removesuffix(".zip")] = _zipped_table_reader(f"{path}/{name}", tables[name])
    return source


def _zipped_table_reader(name: str, read: Reader) -> Reader:
    """Return a reader for x.csv in x.csv.zip."""
    table = PurePosixPath(name).stem

    def read_member() -> bytes:
        members = member_readers(read(), name).items()
        member = next((read for key, read in members if PurePosixPath(key).name == table), None)
        if member is None:
            raise UserError(f"{name}: does not contain {table}; download it again.")
        return member()

    return read_member


def _nesting_key(name: str) -> tuple[int, str]:
    return name.count("/"), name
