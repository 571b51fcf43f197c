"""A folder with every kind of input file, created once per session and copied for each test."""

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
from tgs_salt.models.tile_model import build_model
from tgs_salt.settings import Model, Predict

SIDE = 24
MODEL = Model(architecture="article", threads=1, epochs=1)


@pytest.fixture(scope="session")
def all_inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an experiment, an untrained model, its bundle, images, and a dataset in Kaggle's layout."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("inputs") / "experiment"
    make_experiment(folder, train=30, test=10, side=SIDE, models=["only"])
    ids = [line.split(",")[0] for line in (folder / "folds.csv").read_text().splitlines()[1:]]
    folds = np.loadtxt(folder / "folds.csv", delimiter=",", skiprows=1, usecols=3, dtype=int)
    torch.manual_seed(0)
    held_out = [tile for tile, fold in zip(ids, folds, strict=True) if fold == 0]
    fold_hash = files.digest("\n".join(held_out))[:16]
    save_model(folder / "models/only/fold0/model.pt", build_model(MODEL, SIDE).state_dict(), MODEL, SIDE, 0, fold_hash)
    # Only fold 0 has a model file, because each test copies the folder.
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
def workdir(all_inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Copy all inputs for one test and make the copy the working directory."""
    folder = shutil.copytree(all_inputs, tmp_path / "workdir")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GLIBC_TUNABLES", "")  # otherwise a CPU command re-executes its process, here pytest
    yield folder
    monkeypatch.undo()  # leaves the folder before it is removed
    shutil.rmtree(folder)
