"""Atomic writes, unchanged files, and validated reads."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tgs_salt import files
from tgs_salt.errors import UserError


def list_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def file_state(path: Path) -> tuple[int, int, bytes]:
    """Modification time, inode and content."""
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_ino, path.read_bytes()


def test_failed_write_keeps_the_old_file_and_removes_the_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")
    before = file_state(path)
    with pytest.raises(RuntimeError, match="failed"), files.atomic_write(path) as tmp_file:
        tmp_file.write_text("incomplete")
        assert path.read_text() == "old", "a reader sees the old file while the new one is written"
        raise RuntimeError("failed")
    assert file_state(path) == before
    assert list_names(tmp_path) == ["table.csv"]


def test_failure_before_the_first_byte(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="failed"), files.atomic_write(tmp_path / "a" / "b" / "table.csv"):
        raise RuntimeError("failed")
    assert list_names(tmp_path / "a" / "b") == []


def test_write_after_a_killed_writer(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    child = os.fork()
    if child == 0:  # pragma: no cover
        with files.atomic_write(path) as tmp_file:
            tmp_file.write_text("partial")
            os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert not path.exists()
    files.write_text(path, "complete")
    assert path.read_text() == "complete"


def test_open_readers_keep_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")
    with open(path) as reader:
        files.write_text(path, "new")
        assert reader.read() == "old", "an open reader still sees the old file"
    assert path.read_text() == "new"
    assert list_names(tmp_path) == ["table.csv"]


def write_array(path: Path, fill: int) -> None:
    files.write_array(path, np.full((3, 4), fill, np.uint8))


def fill_array(path: Path, fill: int) -> None:
    with files.create_memmap(path, (3, 4)) as array:
        array[:] = fill


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda path, value: files.write_bytes(path, bytes([value])), id="bytes"),
        pytest.param(lambda path, value: files.write_text(path, f"{value}"), id="text"),
        pytest.param(lambda path, value: files.write_json(path, {"value": value}), id="json"),
        pytest.param(write_array, id="array"),
        pytest.param(fill_array, id="memmap"),
    ],
)
def test_identical_bytes_are_not_rewritten(tmp_path: Path, write: Callable[[Path, int], None]) -> None:
    path = tmp_path / "file"
    write(path, 1)
    os.utime(path, ns=(10**18, 10**18))
    before = file_state(path)
    write(path, 1)
    assert file_state(path) == before
    assert list_names(tmp_path) == ["file"]
    write(path, 2)
    after = file_state(path)
    assert after[0] != before[0] and after[2] != before[2]
    assert list_names(tmp_path) == ["file"]


def test_file_with_a_common_prefix_is_rewritten(tmp_path: Path) -> None:
    files.write_text(tmp_path / "file", "same")
    files.write_text(tmp_path / "file", "same and more")
    assert (tmp_path / "file").read_text() == "same and more"
    files.write_text(tmp_path / "file", "same")
    assert (tmp_path / "file").read_text() == "same"


def test_arrays_are_npy_files(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    files.write_array(tmp_path / "a.npy", array)
    with files.create_memmap(tmp_path / "b.npy", array.shape) as memmap:
        assert not memmap.any(), "zero-initialized"
        memmap[:] = array
    raw = (tmp_path / "a.npy").read_bytes()
    assert raw[:6] == b"\x93NUMPY" and raw[-array.size :] == array.tobytes()
    for name in ("a.npy", "b.npy"):
        assert np.array_equal(np.load(tmp_path / name, allow_pickle=False), array)


def test_failed_memmap_keeps_the_old_file(tmp_path: Path) -> None:
    files.write_array(tmp_path / "a.npy", np.arange(4, dtype=np.uint8))
    before = file_state(tmp_path / "a.npy")
    with pytest.raises(ZeroDivisionError), files.create_memmap(tmp_path / "a.npy", (4,)) as array:
        array[:2] = 9
        _ = 1 / 0
    assert file_state(tmp_path / "a.npy") == before
    assert list_names(tmp_path) == ["a.npy"]


def test_read_array_returns_a_read_only_memmap(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    files.write_array(tmp_path / "a.npy", array)
    read = files.read_array(tmp_path / "a.npy", (2, None, 4))
    assert isinstance(read, np.memmap) and not read.flags.writeable
    assert np.array_equal(read, array)
    assert np.array_equal(files.read_array(tmp_path / "a.npy"), array)


def save(array: np.ndarray) -> Callable[[Path], None]:
    return lambda path: np.save(path, array, allow_pickle=True)


def truncate(path: Path) -> None:
    np.save(path, np.zeros((9, 4, 4), np.uint8))
    path.write_bytes(path.read_bytes()[:-1])


def truncate_header(path: Path) -> None:
    np.save(path, np.zeros((9, 4, 4), np.uint8))
    path.write_bytes(path.read_bytes()[:40])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda path: None, "no such file; run the step that creates it.", id="missing"),
        pytest.param(
            truncate, r"not a valid .npy file \(.+\); delete this file and run snakemake again.", id="one byte short"
        ),
        pytest.param(truncate_header, r"not a valid .npy file \(.+\); delete this file and", id="truncated header"),
        pytest.param(lambda path: path.write_bytes(b""), r"not a valid .npy file \(.+\); delete this", id="empty"),
        pytest.param(
            lambda path: path.write_bytes(b"id,rle_mask\n"),
            r"not a valid .npy file \(.+\); delete this file",
            id="text",
        ),
        pytest.param(lambda path: path.mkdir(), r"cannot be read \(Is a directory\); fix this", id="folder"),
        pytest.param(
            save(np.array([{}, None])), r"not a valid .npy file \(.+\); delete this file and run", id="pickled objects"
        ),
        pytest.param(
            save(np.zeros((9, 4, 4), np.float32)),
            "expected uint8 9xnx4, found float32 9x4x4; delete this file and run snakemake again.",
            id="dtype",
        ),
        pytest.param(
            save(np.zeros((8, 4, 4), np.uint8)),
            "expected uint8 9xnx4, found uint8 8x4x4; delete this file",
            id="length",
        ),
        pytest.param(
            save(np.zeros((9, 16), np.uint8)),
            "expected uint8 9xnx4, found uint8 9x16; delete this file",
            id="dimensions",
        ),
    ],
)
def test_read_array_rejects(tmp_path: Path, make: Callable[[Path], object], message: str) -> None:
    path = tmp_path / "oof.npy"
    make(path)
    with pytest.raises(UserError, match=f"^{re.escape(str(path))}: {message}"):
        files.read_array(path, (9, None, 4))


def test_read_and_write_json(tmp_path: Path) -> None:
    value = {"score": 0.1 + 0.2, "threshold": 128, "folds": [0, 1], "nothing": None}
    files.write_json(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text) == value and text.endswith("}\n")
    assert files.read_json(tmp_path / "a.json") == value
    with pytest.raises(UserError, match=r"b\.json: no such file; run the step that creates it\.$"):
        files.read_json(tmp_path / "b.json")
    (tmp_path / "c.json").write_text(text[:-4])
    with pytest.raises(UserError, match=r"c\.json: not valid JSON \(.+\); delete this file and run snakemake again\.$"):
        files.read_json(tmp_path / "c.json")


@given(st.lists(st.one_of(st.binary(), st.text())))
def test_digest_is_the_sha256_of_the_concatenated_values(values: list[bytes | str]) -> None:
    joined = b"".join(value.encode() if isinstance(value, str) else value for value in values)
    assert files.digest(*values) == hashlib.sha256(joined).hexdigest()


def test_digest_includes_dtype_and_shape() -> None:
    array = np.arange(12, dtype=np.uint8)
    equal = [array, array.copy(), np.repeat(array, 2)[::2]]
    different = [array.reshape(3, 4), array.reshape(4, 3), array.view(np.int8), array[::-1], array[:11]]
    assert len({files.digest(one) for one in equal}) == 1
    assert len({files.digest(one) for one in [array, *different]}) == 1 + len(different)


def test_released_pages_are_still_in_the_file(tmp_path: Path) -> None:
    with files.create_memmap(tmp_path / "a.npy", (3, 5000)) as memmap:
        memmap[:] = 7
        files.release_pages(memmap, np.zeros(3))
        memmap[1] = 8
        files.release_pages(memmap[1:])
        assert (memmap[0] == 7).all() and (memmap[1] == 8).all()
    array = files.read_array(tmp_path / "a.npy")
    files.release_pages(array)
    assert array[:, 0].tolist() == [7, 8, 7]
