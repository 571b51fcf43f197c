"""Encoders that can be trained here: `python -m benchmarks.encoders > docs/encoders.md` (about 15 minutes).

The smallest encoder of each family of SMP and of each timm module is tried with one training step of two tiles, on a
CPU. A dozen useful ones are timed. The slow tests compare the gradients of the ones that train with plain torch.
"""

import argparse
import warnings
from collections.abc import Iterator
from functools import partial

import segmentation_models_pytorch as smp
import timm
import torch
from torch import Tensor, nn

from benchmarks.machine import machine
from benchmarks.nets import SIDE, random_tiles
from benchmarks.timing import Case, interleave
from tgs_salt.compute import cpu_env
from tgs_salt.errors import UserError
from tgs_salt.inference.predict import to_float
from tgs_salt.models.tile_model import TileNetwork, build, disable_inplace_activations, try_step, use_cpu_kernels
from tgs_salt.settings import Model
from tgs_salt.training.losses import build_loss

BATCH = 16
LOSS = "bce + dice"
TIMED = (
    "tu-tf_efficientnet_lite0", "efficientnet-b0", "mobilenet_v2", "tu-mobilenetv3_large_100", "resnet18", "resnet34",
    "resnet50", "se_resnext50_32x4d", "tu-resnest26d", "tu-convnext_atto", "mit_b0", "tu-regnety_004",
)  # fmt: skip
HEAD = f"""# Encoders

`models.<name>.encoder` takes any encoder of segmentation-models-pytorch, and `tu-` with the name of a timm network.
The table has the smallest encoder of each family, with `weights: none` and tiles of {SIDE} x {SIDE} pixels
reflected to 128 x 128. *Trains* means that one training step on a CPU succeeded. `train` makes the same trial before
the first epoch, so an encoder that does not work ends in seconds, with the reason.

This page is written by `python -m benchmarks.encoders`.
"""


def families() -> Iterator[tuple[str, list[str]]]:
    """Yield each family's name and its encoders: SMP's classes, then timm's modules."""
    classes: dict[str, list[str]] = {}
    for name, entry in smp.encoders.encoders.items():
        classes.setdefault(f"SMP {entry['encoder'].__name__}", []).append(name)
    yield from classes.items()
    for module in timm.list_modules():
        if names := timm.list_models(module=module):
            yield f"timm {module}", [f"tu-{name}" for name in names]


def smallest(encoders: list[str]) -> tuple[str, int]:
    """Return the encoder with the fewest parameters, and their number (without a classifier's)."""
    return min(((name, _parameters(name)) for name in encoders), key=lambda found: found[1])


def _parameters(encoder: str) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with torch.device("meta"):
                network = _encoder(encoder)
        except (RuntimeError, NotImplementedError):  # it computes with its weights while it is built
            network = _encoder(encoder)
    return sum(weights.numel() for weights in network.parameters())


def _encoder(name: str) -> nn.Module:
    if name.startswith("tu-"):
        return timm.create_model(name.removeprefix("tu-"), pretrained=False, num_classes=0)
    entry = smp.encoders.encoders[name]
    return entry["encoder"](**entry["params"])


def as_trained(encoder: str) -> TileNetwork:
    """Return a small U-Net with random weights as a CPU trains it. Raises UserError if that cannot work."""
    network = build(Model(encoder=encoder, encoder_weights="none", decoder_channels=[16] * 5), SIDE)
    disable_inplace_activations(network)
    use_cpu_kernels(network)
    try_step(network, encoder, build_loss(LOSS))
    return network


def row(family: str, encoders: list[str]) -> str:
    name, parameters = smallest(encoders)
    try:
        as_trained(name)
        found = "trains"
    except UserError as problem:
        found = str(problem).removeprefix(f"models.*.encoder: {name} ")
    return f"| {family} | `{name}` | {parameters / 1e6:.1f} | {found} |"


def step(network: TileNetwork, pixels: Tensor, targets: Tensor) -> None:
    torch.autograd.backward(build_loss(LOSS)(network(pixels), targets))


def times(rounds: int) -> Iterator[str]:
    """Yield a line for each of `TIMED`: tiles a second of forward and backward passes, beside the first one's."""
    pictures, masks = map(torch.from_numpy, random_tiles(BATCH))
    pixels, targets = to_float(pictures), masks.unsqueeze(1).float()
    cases = []
    for encoder in TIMED:
        cases.append(Case(encoder, partial(step, as_trained(encoder), pixels, targets)))
    interleave(cases, rounds)
    for case in cases:
        yield f"| `{case.name}` | {BATCH / case.median:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    cpu_env.prepare("0", "benchmarks.encoders")
    torch.set_num_threads(2)
    print(HEAD)
    print("| family | smallest encoder | parameters (millions) | on a CPU |\n| --- | --- | ---: | --- |")
    for family, encoders in families():
        print(row(family, encoders), flush=True)
    print(f"\n## Speed\n\n{machine()} Two threads, batches of {BATCH}, forward and backward passes in float32.\n")
    print("| encoder | tiles/s |\n| --- | ---: |")
    for line in times(options.rounds):
        print(line, flush=True)


if __name__ == "__main__":
    main()
