"""Merged shards must equal a prediction without shards, byte for byte."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.command_line import error_message, tgs_salt
from hypothesis import given
from hypothesis import strategies as st

from tgs_salt.inference.merge_shards import merge_shards
from tgs_salt.inference.predict import _shard_slice, predict
from tgs_salt.models.model_file import save_model
from tgs_salt.models.tile_model import build_model
from tgs_salt.settings import Model, Predict

SIDE, TILES = 32, 23


@given(st.integers(0, 300), st.integers(1, 40), st.integers(1, 20))
def test_shards_contain_each_row_once_in_whole_batches(count: int, size: int, n: int) -> None:
    shards = [range(count)[_shard_slice(count, size, k, n)] for k in range(n)]
    assert [row for shard in shards for row in shard] == list(range(count))
    assert all(shard.start % size == 0 for shard in shards if shard)
    batches = [-(-len(shard) // size) for shard in shards]
    assert max(batches) - min(batches) <= 1


@pytest.mark.parametrize("n", [1, 3, 7])
def test_merged_shards_equal_the_prediction(tmp_path: Path, n: int) -> None:
    torch.manual_seed(0)
    settings = Model(architecture="article", threads=1)
    save_model(tmp_path / "model.pt", build_model(settings, SIDE).state_dict(), settings, SIDE, 0, "hash")
    np.save(tmp_path / "test.npy", np.random.default_rng(0).integers(0, 256, (TILES, SIDE, SIDE), dtype=np.uint8))
    ids = [f"{row:010x}" for row in range(TILES)]
    columns = {"id": ids, "split": "test", "row": range(TILES), "depth": 1.0, "coverage": np.nan, "blank": False}
    pd.DataFrame(columns).to_csv(tmp_path / "tiles.csv", index=False)

    def run_predict(name: str, shard: tuple[int, int]) -> Path:
        predict(
            "test", Predict(batch_size=5), model=tmp_path / "model.pt", images=tmp_path / "test.npy",
            tiles=tmp_path / "tiles.csv", folds=tmp_path / "folds.csv", output=tmp_path / name, gpus="0", shard=shard,
        )  # fmt: skip
        return tmp_path / name

    whole = run_predict("whole.npy", (0, 1))
    merge_shards([run_predict(f"{k}.npy", (k, n)) for k in range(n)], tmp_path / "merged.npy")
    assert (tmp_path / "merged.npy").read_bytes() == whole.read_bytes()
    assert np.load(whole).std() > 0


@pytest.mark.parametrize("shard", ["3/3", "1", "-1/2", "a/b"])
def test_invalid_shard_raises(shard: str) -> None:
    options = [word for name in ("model", "images", "tiles", "folds", "output") for word in (f"--{name}", "x")]
    message = error_message(
        tgs_salt("predict", "--settings", '{"predict": {}}', "--split", "test", "--shard", shard, *options)
    )
    assert message == f"--shard: expected k/n with k from 0 to n - 1, such as 0/4, found {shard!r}."
