"""Averaged weights follow the decay step by step, batch-norm statistics with them, also after a stop."""

import copy
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from tgs_salt.models.article_unet import ArticleUNet
from tgs_salt.models.tile_model import TileNetwork
from tgs_salt.settings import Model
from tgs_salt.training.weight_averaging import WeightAverager

DECAY = 0.8


def small() -> TileNetwork:
    return TileNetwork(ArticleUNet(convolutions=1), 32, 32, "resize", standardize=False)


def steps(network: TileNetwork, count: int) -> Iterator[dict[str, np.ndarray]]:
    """Changes every weight and statistic in place, as an optimizer does, and tells what they are."""
    for _ in range(count):
        with torch.no_grad():
            for tensor in network.state_dict().values():
                tensor.add_(torch.randn_like(tensor) if tensor.is_floating_point() else 1)
        yield {name: tensor.double().numpy().copy() for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize("stop_after", [None, 0, 1, 3])
def test_the_average_is_the_recurrence_in_float64(stop_after: int | None) -> None:
    torch.manual_seed(0)
    network, settings = small(), Model(architecture="article", ema_decay=DECAY)
    average = WeightAverager(network, settings)
    expected: dict[str, np.ndarray] = {}
    for step, weights in enumerate(steps(network, 6)):
        if step == stop_after:
            state = copy.deepcopy(average.state_dict())
            average = WeightAverager(network, settings)
            average.load_state_dict(state)
        average.after_step()
        expected = weights if step == 0 else {k: DECAY * expected[k] + (1 - DECAY) * weights[k] for k in weights}
    names = [name for name, tensor in network.state_dict().items() if tensor.is_floating_point()]
    assert any("running_var" in name for name in names)
    for name in names:
        np.testing.assert_allclose(average.best.state_dict()[name].numpy(), expected[name], rtol=1e-5, atol=1e-5)
    assert int(average.model.n_averaged) == 6
    assert average.best is not network


def test_without_averaging_the_last_step_counts() -> None:
    network = small()
    average = WeightAverager(network, Model(architecture="article", weight_averaging="none"))
    average.after_step()
    assert average.best is network
