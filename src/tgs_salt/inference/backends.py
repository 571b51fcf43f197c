"""Backends that run a trained network: eager PyTorch, TorchScript or OpenVINO. Their results agree to 1e-4.

On a CPU, TorchScript (batch norms folded into convolutions, no Python between layers) is about 1.5 times as fast as
eager PyTorch. OpenVINO, an optional dependency, is faster still. On a GPU, PyTorch runs eagerly in mixed precision.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from tgs_salt.errors import UserError
from tgs_salt.log import logger

Predictor = Callable[..., Tensor]


def build_backend(network: nn.Module, backend: str, example_inputs: tuple[Tensor, ...]) -> Predictor:
    """Return a function that computes what `network` computes in eval mode, for any number of tiles.

    Args:
        network: the network; it is set to eval mode.
        backend: eager, torchscript or openvino.
        example_inputs: inputs on the device that computes; later inputs have these shapes except for the first axis.

    Raises UserError if OpenVINO is not installed.
    """
    network = network.eval()
    if example_inputs[0].device.type != "cpu" or backend == "eager":
        return network
    if backend == "openvino":
        return _compile_openvino(network, example_inputs)
    try:
        return _freeze(network, example_inputs)
    except Exception as problem:  # the tracer raises many types; eager mode returns the same numbers
        logger.warning(f"TorchScript cannot trace this network ({type(problem).__name__}); running eagerly")
        return network


def _freeze(network: nn.Module, example_inputs: tuple[Tensor, ...]) -> Predictor:
    with warnings.catch_warnings(), torch.inference_mode():
        # torch.jit.trace is deprecated, but torch.compile takes longer to compile than it saves.
        warnings.simplefilter("ignore")
        frozen: Predictor = torch.jit.freeze(torch.jit.trace(network, example_inputs, check_trace=False))
        frozen(*example_inputs)
    return frozen


def _compile_openvino(network: nn.Module, example_inputs: tuple[Tensor, ...]) -> Predictor:
    try:
        import openvino
    except ImportError:
        raise UserError(
            "predict.backend: openvino is not installed; pip install openvino, or set predict.backend: torchscript."
        ) from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        converted = openvino.convert_model(network, example_input=example_inputs)
    options = {
        "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }  # fmt: skip
    compiled = openvino.compile_model(converted, "CPU", options)
    return lambda *inputs: torch.from_numpy(compiled([tensor.numpy() for tensor in inputs])[0])
