"""Compare all backends with eager PyTorch: to 1e-4, and to within one byte."""

import builtins
import logging

import numpy as np
import pytest
import torch
from torch import nn

from tgs_salt.errors import UserError
from tgs_salt.inference.backends import build_backend
from tgs_salt.inference.predict import predict_batches
from tgs_salt.models.tile_model import build_model
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
    return build_model(NETWORKS[request.param], 48).eval()


@pytest.mark.parametrize("backend", ["torchscript", pytest.param("openvino", marks=pytest.mark.slow)])
def test_backends_agree_with_eager_pytorch(network: nn.Module, backend: str) -> None:
    inputs = (torch.rand(8, 1, 48, 48), torch.rand(8) * 900)[: 2 if network.depth_channels else 1]
    with torch.inference_mode():
        predictor, expected = build_backend(network, backend, inputs), torch.sigmoid(network(*inputs))
        assert predictor is not network
        for count in (8, 3, 1):  # the last batch of a dataset is smaller
            actual = torch.sigmoid(predictor(*(tensor[:count] for tensor in inputs)))
            torch.testing.assert_close(actual, expected[:count], rtol=0, atol=1e-4)
    rng = np.random.default_rng(0)
    batches = [(rng.integers(0, 256, (4, 48, 48), dtype=np.uint8), np.float32([50, 500, 900, 1])) for _ in range(2)]
    eager, other = (
        np.concatenate(list(predict_batches(network, iter(batches), CPU, True, name))) for name in ("eager", backend)
    )
    assert np.abs(eager.astype(int) - other).max() <= 1


def test_untraceable_network_runs_eagerly(caplog: pytest.LogCaptureFixture) -> None:
    class Untraceable(nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            if torch.jit.is_tracing():
                raise RuntimeError("cannot be traced")
            return 2 * pixels

    network = Untraceable()
    logging.getLogger("tgs_salt").propagate = True
    predictor = build_backend(network, "torchscript", (torch.ones(1, 1, 2, 2),))
    assert predictor is network and "cannot trace this network (RuntimeError)" in caplog.text


def test_missing_openvino_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    original_import = builtins.__import__

    def import_without_openvino(name: str, *args: object) -> object:
        if name == "openvino":
            raise ImportError(name)
        return original_import(name, *args)

    monkeypatch.setattr(builtins, "__import__", import_without_openvino)
    with pytest.raises(UserError, match=r"predict\.backend: openvino is not installed; pip install openvino"):
        build_backend(nn.Identity(), "openvino", (torch.ones(1, 1, 2, 2),))
