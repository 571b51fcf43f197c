"""The networks and losses of every preset train for a few steps."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from tgs_salt.settings import Model, load_files
from tgs_salt.signals import StopRequest
from tgs_salt.training.checkpoints import CheckpointManager
from tgs_salt.training.fit import Trainer
from tgs_salt.training.fold_data import FoldData

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")


def presets() -> list[object]:
    """Return the distinct models of config.yaml and the presets, changed so that they train fast."""
    params: dict[str, object] = {}
    for preset in (None, *sorted((ROOT / "workflow" / "presets").glob("*.yaml"))):
        settings = load_files(*filter(None, [ROOT / "config.yaml", preset]))
        for name in settings.required_models:
            # Other tests cover compiled networks and input sizes; pretrained weights would be downloaded.
            fast = {
                "resize_mode": "resize",
                "input_size": 64,
                "epochs": 1,
                "batch_size": 2,
                "threads": 1,
                "encoder_weights": "none",
                "compile": False,
            }
            model = settings.models[name].model_copy(
                update={**fast, "extends": None, "init_from": None, "teacher": None}
            )
            source = preset.stem if preset else "config"
            # Variants and later stages of networks that other parameters cover.
            is_variant = source == "ablations" or (source == "winner" and settings.models[name].init_from is not None)
            marks = [pytest.mark.slow] if is_variant else []
            key = model.model_dump_json()
            if key not in params or not marks:
                params[key] = pytest.param(model, id=f"{source}-{name}", marks=marks)
    return list(params.values())


@pytest.mark.parametrize("model", presets())
def test_preset_trains(model: Model, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tiles = torch.from_numpy(rng.integers(0, 256, (4, 101, 101), dtype=np.uint8))
    masks = (tiles > 128).to(torch.uint8)
    depths = torch.tensor([50.0, 300.0, 600.0, 950.0])
    data = FoldData(tiles, masks * 255, depths, tiles[:2], depths[:2], masks[:2].numpy(), "folds", "data")
    trainer = Trainer("m", 0, model, data, CPU, None)
    before = {name: tensor.clone() for name, tensor in trainer.network.named_parameters()}
    trainer.run(CheckpointManager(tmp_path, trainer.fingerprint, 10, StopRequest()))
    assert [row["epoch"] for row in trainer.history.rows] == [1]
    assert all(math.isfinite(row["loss"]) for row in trainer.history.rows)
    # All parameters are trained, except the attention of SMP's last block (it has no skip) and dead ReLUs in cSE.
    unchanged = [name for name, tensor in trainer.network.named_parameters() if torch.equal(tensor, before[name])]
    unused = f"decoder.blocks.{len(model.decoder_channels) - 1}.attention1"
    assert [name for name in unchanged if unused not in name and "cSE" not in name] == []
