"""Every preset's networks and losses take a few steps, so that no recipe rots."""

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


def recipes() -> list[object]:
    """Each kind of training that config.yaml and the presets hold, once: stages share networks, and tests time."""
    found: dict[str, object] = {}
    for preset in (None, *sorted((ROOT / "workflow" / "presets").glob("*.yaml"))):
        settings = load_files(*filter(None, [ROOT / "config.yaml", preset]))
        for name in settings.needed:
            # Weights from a hub cannot be fetched here; a compiled network is another test's, and so is the input size.
            quick = {
                "resize_mode": "resize",
                "input_size": 64,
                "epochs": 1,
                "batch_size": 2,
                "threads": 1,
                "encoder_weights": "none",
                "compile": False,
            }
            model = settings.models[name].model_copy(
                update={**quick, "extends": None, "init_from": None, "teacher": None}
            )
            recipe = preset.stem if preset else "config"
            # Variants and later stages of networks that are trained in any case.
            again = recipe == "ablations" or (recipe == "winner" and settings.models[name].init_from is not None)
            marks = [pytest.mark.slow] if again else []
            key = model.model_dump_json()
            if key not in found or not marks:
                found[key] = pytest.param(model, id=f"{recipe}-{name}", marks=marks)
    return list(found.values())


@pytest.mark.parametrize("model", recipes())
def test_a_recipe_trains(model: Model, tmp_path: Path) -> None:
    numbers = np.random.default_rng(0)
    tiles = torch.from_numpy(numbers.integers(0, 256, (4, 101, 101), dtype=np.uint8))
    masks = (tiles > 128).to(torch.uint8)
    depths = torch.tensor([50.0, 300.0, 600.0, 950.0])
    data = FoldData(tiles, masks * 255, depths, tiles[:2], depths[:2], masks[:2].numpy(), "folds", "data")
    trainer = Trainer("m", 0, model, data, CPU, None)
    before = {name: tensor.clone() for name, tensor in trainer.network.named_parameters()}
    trainer.run(CheckpointManager(tmp_path, trainer.fingerprint, 10, StopRequest()))
    assert [row["epoch"] for row in trainer.history.rows] == [1]
    assert all(math.isfinite(row["loss"]) for row in trainer.history.rows)
    # Nothing in the network stands aside. (SMP's last block has no skip to attend to, and a squeezed ReLU may be dead.)
    still = [name for name, tensor in trainer.network.named_parameters() if torch.equal(tensor, before[name])]
    last = f"decoder.blocks.{len(model.decoder_channels) - 1}.attention1"
    assert [name for name in still if last not in name and "cSE" not in name] == []
