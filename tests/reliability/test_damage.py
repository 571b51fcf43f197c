"""Every file that a command reads, damaged: one sentence that names the file, and nothing good is overwritten."""

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
from reliability.contents import contents
from reliability.lines import SIDE, command_lines

from tgs_salt import cli

Damage = Callable[[Path], object]

# What talks to Kaggle has tests of its own; what is in brackets, and a shard, repeats another line.
LINES = {name: words for name, words in command_lines().items() if not name.startswith(("download", "submit"))}
FOLD = "models/m/fold0"
TABLES = ("data/tiles.csv", "folds.csv")
COUNTED = (*TABLES, "scores.csv")
# What these commands find by themselves in the folder that they are given.
FOUND = {
    "report": (*TABLES, "data/train_images.npy", "data/train_masks.npy", "ensemble/oof.npy", "ensemble/test.npy",
               "threshold.json", "scores.csv", f"{FOLD}/history.csv"),
    "show": (*TABLES, "data/train_images.npy", "data/train_masks.npy", "ensemble/oof.npy", "threshold.json"),
    "export": ("threshold.json", "ensemble/weights.json", f"{FOLD}/model.pt"),
}  # fmt: skip


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2 - 1])


def flipped(path: Path) -> None:
    """One bit."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def noise(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(1000))


def shorter(path: Path) -> None:
    """A tile less."""
    if path.suffix == ".npy":
        np.save(path, np.load(path)[:-1])
    else:
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join([lines[0], *lines[2:]]))


def narrower(path: Path) -> None:
    """A column less."""
    if path.suffix == ".npy":
        np.save(path, np.load(path)[..., :-1])
    else:
        path.write_text("\n".join(line.partition(",")[2] for line in path.read_text().splitlines()))


def floats(path: Path) -> None:
    np.save(path, np.load(path).astype(np.float32))


def other(path: Path) -> None:
    """JSON, but not what is looked for."""
    path.write_text("[1, 2]")


def bare(path: Path) -> None:
    path.write_text("{}")


def missing(path: Path) -> None:
    path.unlink()


# The first of each kind is tried in the fast tests as well.
DAMAGES: dict[str, tuple[Damage, ...]] = {
    ".npy": (cut, empty, noise, shorter, narrower, floats, missing),
    ".csv": (cut, empty, noise, shorter, narrower, missing),
    ".json": (bare, cut, empty, noise, other, missing),
    ".pt": (flipped, cut, empty, noise, missing),
    ".zip": (flipped, cut, empty, noise, missing),
}


def files_read(name: str) -> tuple[str, ...]:
    """The files that a command line names as inputs, and those that it finds."""
    words = LINES[name]
    named = (file for option, file in itertools.pairwise(words) if option != "--output")
    return tuple(dict.fromkeys([*(f for f in named if Path(f).suffix in DAMAGES), *FOUND.get(name, ())]))


def unnoticed(name: str, file: str, damage: Damage) -> bool:
    """What nobody can tell from a whole file."""
    place = Path(file).name
    return (
        # Pages are made of whatever is there.
        (name in ("report", "show") and damage is missing)
        # A picture may have any size; the ensemble's bytes are the only ones here that know the tiles' sides.
        or (damage is narrower and (place == "section.npy" or name == "submission") and place.endswith(".npy"))
        # Nothing says how many rows these have; of the parts of a prediction, whoever reads them put together will.
        or (damage is shorter and file.endswith((".csv", "section.npy", "-of-2.npy")) and file not in COUNTED)
        # The last number has fewer digits.
        or (damage is cut and place == "history.csv")
    )


CASES = [
    pytest.param(
        name, file, damage,
        id=f"{name}: {file} {damage.__name__}", marks=[pytest.mark.slow] if damage is not damages[0] else [],
    )
    for name in LINES if not name.startswith(("(", "predict, a shard"))
    for file in files_read(name)
    for damages in [DAMAGES[Path(file).suffix]]
    for damage in damages if not unnoticed(name, file, damage)
]  # fmt: skip


def type_in(folder: Path, words: list[str]) -> int:
    """Type a command in `folder`; its exit code."""
    before = Path.cwd(), sys.argv
    os.chdir(folder)
    sys.argv = ["tgs-salt", *words]
    try:
        with pytest.raises(SystemExit) as ended:
            cli.main()
    finally:
        os.chdir(before[0])
        sys.argv = before[1]
    return int(ended.value.code or 0)


@pytest.fixture(scope="module", autouse=True)
def allocator() -> Iterator[None]:
    """Where it is not set, a command sets it and replaces its process by itself: here that of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=0")
        yield


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every command has run."""
    folder = tmp_path_factory.mktemp("done")
    np.save(folder / "section.npy", np.random.default_rng(0).integers(0, 256, (SIDE, 2 * SIDE), dtype=np.uint8))
    for name, words in LINES.items():
        assert type_in(folder, filled(words, folder)) == 0, name
    return folder


def filled(words: list[str], folder: Path) -> list[str]:
    """With a tile's id in its place."""
    if "TILE" not in words:
        return words
    tile = (folder / "data/tiles.csv").read_text().split()[1].partition(",")[0]
    return [tile if word == "TILE" else word for word in words]


@pytest.mark.parametrize(("name", "file", "damage"), CASES)
def test_a_damaged_file_is_named_and_nothing_is_overwritten(
    done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, file: str, damage: Damage
) -> None:
    folder = Path(shutil.copytree(done, tmp_path / "experiment"))
    damage(folder / file)
    before = contents(folder)
    code = type_in(folder, filled(LINES[name], done))
    said = capsys.readouterr().err
    assert code == 1 and "Traceback" not in said, said
    # Where two arrays differ in their sides, either may be the wrong one.
    named = r"\S+\.npy" if damage is narrower and file.endswith(".npy") else re.escape(file)
    assert re.match(rf"error: .*{named}", said.splitlines()[-1]), said
    after = {path: seen for path, seen in contents(folder).items() if "checkpoints" not in Path(path).parts}
    assert after == before
