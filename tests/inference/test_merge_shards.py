"""Tests of `merge_shards`."""

from pathlib import Path

import numpy as np
import pytest

from tgs_salt.errors import UserError
from tgs_salt.inference import merge_shards as module
from tgs_salt.inference.merge_shards import merge_shards


def test_shards_are_concatenated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_ROWS", 4)
    rows = np.random.default_rng(0).integers(0, 256, (21, 5, 5), dtype=np.uint8)
    bounds = [0, 0, 9, 10, 21, 21]
    paths = [tmp_path / f"{k}.npy" for k in range(5)]
    for path, start, stop in zip(paths, bounds[:-1], bounds[1:], strict=True):
        np.save(path, rows[start:stop])
    merge_shards(paths, tmp_path / "all.npy")
    np.save(tmp_path / "expected.npy", rows)
    assert (tmp_path / "all.npy").read_bytes() == (tmp_path / "expected.npy").read_bytes()


def test_shards_of_different_sides_raise(tmp_path: Path) -> None:
    for side in (5, 6):
        np.save(tmp_path / f"{side}.npy", np.zeros((2, side, side), np.uint8))
    with pytest.raises(UserError, match=r"6\.npy: expected uint8 nx5x5, found uint8 2x6x6"):
        merge_shards([tmp_path / "5.npy", tmp_path / "6.npy"], tmp_path / "all.npy")
    assert not (tmp_path / "all.npy").exists()
