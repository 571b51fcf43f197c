"""Damage each input file of each command: the error names the file, and nothing is overwritten."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from reliability.command_lines import SIDE, command_lines
from reliability.contents import file_digests

from tgs_salt import cli

Damage = Callable[[Path], object]

# Commands that use Kaggle have their own tests.
COMMANDS = {name: args for name, args in command_lines().items() if not name.startswith(("download", "submit"))}
FOLD = "models/m/fold0"
TABLES = ("data/tiles.csv", "folds.csv")
ROW_COUNT_KNOWN = (*TABLES, "scores.csv")
# Files that these commands read from the folder that is their argument.
IMPLICIT_INPUTS = {
    "report": (*TABLES, "data/train_images.npy", "data/train_masks.npy", "ensemble/oof.npy", "ensemble/test.npy",
               "threshold.json", "scores.csv", f"{FOLD}/history.csv"),
    "plot-tiles": (*TABLES, "data/train_images.npy", "data/train_masks.npy", "ensemble/oof.npy", "threshold.json"),
    "export": ("threshold.json", "ensemble/weights.json", f"{FOLD}/model.pt"),
}  # fmt: skip


def empty(path: Path) -> None:
    path.write_bytes(b"")


def truncate(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2 - 1])


def flip_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def noise(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(1000))


def drop_tile(path: Path) -> None:
    """Remove the last tile of an array, or the first of a table."""
    if path.suffix == ".npy":
        np.save(path, np.load(path)[:-1])
    else:
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join([lines[0], *lines[2:]]))


def drop_column(path: Path) -> None:
    """Remove the last column of an array, or the first of a table."""
    if path.suffix == ".npy":
        np.save(path, np.load(path)[..., :-1])
    else:
        path.write_text("\n".join(line.partition(",")[2] for line in path.read_text().splitlines()))


def to_float(path: Path) -> None:
    np.save(path, np.load(path).astype(np.float32))


def wrong_type(path: Path) -> None:
    path.write_text("[1, 2]")


def no_keys(path: Path) -> None:
    path.write_text("{}")


def remove(path: Path) -> None:
    path.unlink()


# The fast tests run the first of each row.
DAMAGES: dict[str, tuple[Damage, ...]] = {
    ".npy": (truncate, empty, noise, drop_tile, drop_column, to_float, remove),
    ".csv": (truncate, empty, noise, drop_tile, drop_column, remove),
    ".json": (no_keys, truncate, empty, noise, wrong_type, remove),
    ".pt": (flip_bit, truncate, empty, noise, remove),
    ".zip": (flip_bit, truncate, empty, noise, remove),
}


def input_files(name: str) -> tuple[str, ...]:
    """Return the input files of a command: those in its arguments, and implicit ones."""
    values = (value for option, value in itertools.pairwise(COMMANDS[name]) if option != "--output")
    return tuple(dict.fromkeys([*(f for f in values if Path(f).suffix in DAMAGES), *IMPLICIT_INPUTS.get(name, ())]))


def is_undetectable(name: str, file: str, damage: Damage) -> bool:
    """Return whether this damage cannot be detected."""
    file_name = Path(file).name
    return (
        # The report is written from the files that exist.
        (name in ("report", "plot-tiles") and damage is remove)
        # Images may have any size; the submission takes the tile size from the ensemble's array.
        or (
            damage is drop_column
            and (file_name == "section.npy" or name == "submission")
            and file_name.endswith(".npy")
        )
        # The number of rows is not known here; the readers of merged shards check it.
        or (damage is drop_tile and file.endswith((".csv", "section.npy", "-of-2.npy")) and file not in ROW_COUNT_KNOWN)
        # The last number only loses digits.
        or (damage is truncate and file_name == "history.csv")
    )


CASES = [
    pytest.param(
        name, file, damage,
        id=f"{name}: {file} {damage.__name__}", marks=[pytest.mark.slow] if damage is not damages[0] else [],
    )
    for name in COMMANDS if not name.startswith(("(", "predict, shard"))
    for file in input_files(name)
    for damages in [DAMAGES[Path(file).suffix]]
    for damage in damages if not is_undetectable(name, file, damage)
]  # fmt: skip


def run_command(folder: Path, arguments: list[str]) -> int:
    """Run a command in `folder`; return its exit code."""
    before = Path.cwd(), sys.argv
    os.chdir(folder)
    sys.argv = ["tgs-salt", *arguments]
    try:
        with pytest.raises(SystemExit) as exit_info:
            cli.main()
    finally:
        os.chdir(before[0])
        sys.argv = before[1]
    return int(exit_info.value.code or 0)


@pytest.fixture(scope="module", autouse=True)
def allocator_variable() -> Iterator[None]:
    """Set the allocator variable; otherwise a command would set it and re-execute its process, here pytest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=0")
        yield


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which every command has run."""
    folder = tmp_path_factory.mktemp("done")
    np.save(folder / "section.npy", np.random.default_rng(0).integers(0, 256, (SIDE, 2 * SIDE), dtype=np.uint8))
    for name, arguments in COMMANDS.items():
        assert run_command(folder, with_tile_id(arguments, folder)) == 0, name
    return folder


def with_tile_id(arguments: list[str], folder: Path) -> list[str]:
    """Return the arguments with the id of a tile instead of the placeholder TILE."""
    if "TILE" not in arguments:
        return arguments
    tile = (folder / "data/tiles.csv").read_text().split()[1].partition(",")[0]
    return [tile if argument == "TILE" else argument for argument in arguments]


@pytest.mark.parametrize(("name", "file", "damage"), CASES)
def test_error_names_the_damaged_file_and_nothing_is_overwritten(
    done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, file: str, damage: Damage
) -> None:
    folder = Path(shutil.copytree(done, tmp_path / "experiment"))
    damage(folder / file)
    before = file_digests(folder)
    code = run_command(folder, with_tile_id(COMMANDS[name], done))
    output = capsys.readouterr().err
    assert code == 1 and "Traceback" not in output, output
    # If the shapes of two arrays differ, the error may name either.
    pattern = r"\S+\.npy" if damage is drop_column and file.endswith(".npy") else re.escape(file)
    assert re.match(rf"error: .*{pattern}", output.splitlines()[-1]), output
    after = {path: digest for path, digest in file_digests(folder).items() if "checkpoints" not in Path(path).parts}
    assert after == before
