"""A folder with one of everything that a command reads, built once and copied for each test."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers.datasets import make_dataset
from helpers.experiments import make_experiment

from tgs_salt import files
from tgs_salt.inference.bundle import export
from tgs_salt.models.model_file import save_model
from tgs_salt.models.tile_model import build
from tgs_salt.settings import Model, Predict

SIDE = 24
MODEL = Model(architecture="article", threads=1, epochs=1)


@pytest.fixture(scope="session")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment with a model that was never trained, its bundle, pictures, and a dataset in Kaggle's layout."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("everything") / "experiment"
    make_experiment(folder, train=30, test=10, side=SIDE, models=["only"])
    ids = [line.split(",")[0] for line in (folder / "folds.csv").read_text().splitlines()[1:]]
    fold_of = np.loadtxt(folder / "folds.csv", delimiter=",", skiprows=1, usecols=3, dtype=int)
    torch.manual_seed(0)
    held_out = [tile for tile, fold in zip(ids, fold_of, strict=True) if fold == 0]
    fold_hash = files.digest("\n".join(held_out))[:16]
    save_model(folder / "models/only/fold0/model.pt", build(MODEL, SIDE).state_dict(), MODEL, SIDE, 0, fold_hash)
    # One network has to do: each test copies it.
    (folder / "ensemble/weights.json").write_text(json.dumps({"weights": {"only": 1}, "folds": [0]}))
    export(folder, Predict(), folder / "bundle.zip")
    rows = (folder / "submission.csv").read_text().splitlines()[1:]
    (folder / "sample.csv").write_text("id,rle_mask\n" + "".join(f"{row.split(',')[0]},1 1\n" for row in rows))
    section = np.random.default_rng(0).integers(0, 256, (SIDE, 2 * SIDE), dtype=np.uint8)
    for name in ("section.png", "section.jpg"):
        cv2.imwrite(str(folder / name), section)
    np.save(folder / "section.npy", section)
    make_dataset(folder / "kaggle", tile_size=32)
    with zipfile.ZipFile(folder / "kaggle.zip", "w") as outer:
        for path in sorted((folder / "kaggle").iterdir()):
            outer.write(path, path.name)
    (folder / "mine.yaml").write_text("name: mine\nmodels:\n  a: {epochs: 3}\n")
    (folder / "settings.json").write_text(json.dumps({}))
    return folder


@pytest.fixture
def place(everything: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of it all, and the working folder, for one test."""
    folder = shutil.copytree(everything, tmp_path / "place")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GLIBC_TUNABLES", "")  # else a command for a CPU replaces its process
    yield folder
    monkeypatch.undo()  # out of the folder
    shutil.rmtree(folder)
