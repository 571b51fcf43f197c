"""All engines give what torch as it is gives, to 1e-4 and to within one byte."""

import builtins
import logging

import numpy as np
import pytest
import torch
from torch import nn

from tgs_salt.errors import UserError
from tgs_salt.inference.backends import build_backend
from tgs_salt.inference.predict import probability_bytes
from tgs_salt.models.tile_model import build
from tgs_salt.settings import Model

NETWORKS = {
    "unet": Model(
        architecture="unet",
        encoder_weights="none",
        decoder_channels=[16, 16, 16, 8, 8],
        resize_mode="resize",
        input_size=64,
    ),
    "heads": Model(
        architecture="unet",
        encoder_weights="none",
        decoder_channels=[16] * 5,
        decoder_attention="scse",
        hypercolumn=True,
        empty_head=True,
        depth_channels=True,
    ),
    "article": Model(architecture="article"),
}
CPU = torch.device("cpu")


@pytest.fixture(
    scope="module", params=["article", *(pytest.param(name, marks=pytest.mark.slow) for name in ("unet", "heads"))]
)
def network(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    return build(NETWORKS[request.param], 48).eval()


@pytest.mark.parametrize("engine", ["torchscript", pytest.param("openvino", marks=pytest.mark.slow)])
def test_an_engine_agrees_with_torch(network: nn.Module, engine: str) -> None:
    inputs = (torch.rand(8, 1, 48, 48), torch.rand(8) * 900)[: 2 if network.depth_channels else 1]
    with torch.inference_mode():
        run, expected = build_backend(network, engine, inputs), torch.sigmoid(network(*inputs))
        assert run is not network
        for count in (8, 3, 1):  # the last batch of a dataset is a smaller one
            found = torch.sigmoid(run(*(part[:count] for part in inputs)))
            torch.testing.assert_close(found, expected[:count], rtol=0, atol=1e-4)
    numbers = np.random.default_rng(0)
    tiles = [(numbers.integers(0, 256, (4, 48, 48), dtype=np.uint8), np.float32([50, 500, 900, 1])) for _ in range(2)]
    one, other = (
        np.concatenate(list(probability_bytes(network, iter(tiles), CPU, True, name))) for name in ("eager", engine)
    )
    assert np.abs(one.astype(int) - other).max() <= 1


def test_what_cannot_be_frozen_is_computed_without(caplog: pytest.LogCaptureFixture) -> None:
    class Stubborn(nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            if torch.jit.is_tracing():
                raise RuntimeError("not me")
            return 2 * pixels

    network = Stubborn()
    logging.getLogger("tgs_salt").propagate = True
    run = build_backend(network, "torchscript", (torch.ones(1, 1, 2, 2),))
    assert run is network and "cannot be frozen (RuntimeError)" in caplog.text


def test_openvino_that_is_not_there_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: object) -> object:
        if name == "openvino":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"predict\.backend: openvino is not installed; pip install openvino"):
        build_backend(nn.Identity(), "openvino", (torch.ones(1, 1, 2, 2),))
