"""Small datasets in Kaggle's layout, and functions that change their zips."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from tgs_salt.synthetic.synthesize import synthesize

_cache_dir = tempfile.TemporaryDirectory(prefix="tgs-datasets-")  # removed at interpreter exit


@cache
def _dataset(train_tiles: int, test_tiles: int, tile_size: int, seed: int) -> Path:
    folder = Path(_cache_dir.name) / f"{train_tiles}-{test_tiles}-{tile_size}-{seed}"
    synthesize(folder, seed=seed, train_tiles=train_tiles, test_tiles=test_tiles, tile_size=tile_size)
    return folder


def make_dataset(
    folder: Path, train_tiles: int = 24, test_tiles: int = 10, tile_size: int = 101, seed: int = 0
) -> Path:
    """Copy a synthetic dataset (csv files, train.zip and test.zip) into `folder`; it is generated once per session."""
    shutil.copytree(_dataset(train_tiles, test_tiles, tile_size, seed), folder, dirs_exist_ok=True)
    return folder


def read_zip(path: Path) -> dict[str, bytes]:
    """Return the contents of the members of a zip by name."""
    with zipfile.ZipFile(path) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist() if not info.is_dir()}


def rewrite_zip(path: Path, replace: Mapping[str, bytes | None] = {}, add: Mapping[str, bytes] = {}) -> None:
    """Replace members of a zip (None removes one) and add others, in place; raise KeyError for an unknown name."""
    members = read_zip(path)
    for name, content in replace.items():
        if name not in members:
            raise KeyError(f"{path}: no member {name}")
        if content is None:
            del members[name]
        else:
            members[name] = content
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in {**members, **add}.items():
            archive.writestr(name, content)


def extract_zips(folder: Path) -> Path:
    """Replace train.zip and test.zip of `folder` by folders: train/images, train/masks, test/images."""
    for split in ("train", "test"):
        with zipfile.ZipFile(folder / f"{split}.zip") as archive:
            archive.extractall(folder / split)
        (folder / f"{split}.zip").unlink()
    return folder


def make_outer_zip(folder: Path, path: Path) -> Path:
    """Write all files of `folder` to the zip `path`, the form in which Kaggle's client downloads a competition."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for member in sorted(folder.rglob("*")):
            if member.is_file():
                archive.write(member, member.relative_to(folder).as_posix())
    return path
