"""The moving average of weights and batch-norm statistics equals its definition, also after a resume."""

import copy
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from tgs_salt.models.article_unet import ArticleUNet
from tgs_salt.models.tile_model import TileModel
from tgs_salt.settings import Model
from tgs_salt.training.weight_averaging import WeightAverager

DECAY = 0.8


def small_model() -> TileModel:
    return TileModel(ArticleUNet(convolutions=1), 32, 32, "resize", standardize=False)


def random_updates(network: TileModel, count: int) -> Iterator[dict[str, np.ndarray]]:
    """Change all weights and statistics in place, as an optimizer does; yield their new values."""
    for _ in range(count):
        with torch.no_grad():
            for tensor in network.state_dict().values():
                tensor.add_(torch.randn_like(tensor) if tensor.is_floating_point() else 1)
        yield {name: tensor.double().numpy().copy() for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize("resume_at", [None, 0, 1, 3])
def test_ema_equals_the_recurrence_in_float64(resume_at: int | None) -> None:
    torch.manual_seed(0)
    network, settings = small_model(), Model(architecture="article", ema_decay=DECAY)
    averager = WeightAverager(network, settings)
    expected: dict[str, np.ndarray] = {}
    for step, weights in enumerate(random_updates(network, 6)):
        if step == resume_at:
            state = copy.deepcopy(averager.state_dict())
            averager = WeightAverager(network, settings)
            averager.load_state_dict(state)
        averager.after_step()
        expected = weights if step == 0 else {k: DECAY * expected[k] + (1 - DECAY) * weights[k] for k in weights}
    names = [name for name, tensor in network.state_dict().items() if tensor.is_floating_point()]
    assert any("running_var" in name for name in names)
    for name in names:
        np.testing.assert_allclose(
            averager.eval_network.state_dict()[name].numpy(), expected[name], rtol=1e-5, atol=1e-5
        )
    assert int(averager.averaged_model.n_averaged) == 6
    assert averager.eval_network is not network


def test_without_averaging_the_trained_network_is_evaluated() -> None:
    network = small_model()
    averager = WeightAverager(network, Model(architecture="article", weight_averaging="none"))
    averager.after_step()
    assert averager.eval_network is network
