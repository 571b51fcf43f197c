"""What runs a trained network: torch as it is, a frozen graph, or OpenVINO. Behind one function, all alike to 1e-4.

On a CPU a frozen graph (batch norms folded into convolutions, no Python between layers) is half as fast again as
torch as it is; OpenVINO, an extra, is faster still. On a GPU torch runs as it is, in mixed precision.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from tgs_salt.errors import UserError
from tgs_salt.log import logger

Run = Callable[..., Tensor]


def build_backend(network: nn.Module, engine: str, example: tuple[Tensor, ...]) -> Run:
    """A function that gives what `network` gives in eval mode for inputs like those of `example`, any number of tiles.

    `engine` is eager, torchscript or openvino; the inputs lie on the device that computes.
    Raises UserError if OpenVINO is asked for and is not installed.
    """
    network = network.eval()
    if example[0].device.type != "cpu" or engine == "eager":
        return network
    if engine == "openvino":
        return _openvino(network, example)
    try:
        return _frozen(network, example)
    except Exception as problem:  # whatever the compiler dislikes, torch as it is gives the same numbers
        logger.warning(f"this network cannot be frozen ({type(problem).__name__}); computing without")
        return network


def _frozen(network: nn.Module, example: tuple[Tensor, ...]) -> Run:
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter(
            "ignore"
        )  # torch calls its own tracer deprecated; torch.compile takes longer than it saves
        frozen: Run = torch.jit.freeze(torch.jit.trace(network, example, check_trace=False))
        frozen(*example)
    return frozen


def _openvino(network: nn.Module, example: tuple[Tensor, ...]) -> Run:
    try:
        import openvino
    except ImportError:
        raise UserError(
            "predict.backend: openvino is not installed; pip install openvino, or set predict.backend: torchscript."
        ) from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = openvino.convert_model(network, example_input=example)
    options = {
        "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }  # fmt: skip
    compiled = openvino.compile_model(graph, "CPU", options)
    return lambda *inputs: torch.from_numpy(compiled([part.numpy() for part in inputs])[0])
