"""Compare the CPU kernels with the plain layers of torch and timm: `python -m benchmarks.convolutions`.

Times forward and backward passes of single layers of the cpu preset's network with a batch of 16, and a training step.
"""

import argparse
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.machine import describe_machine
from benchmarks.nets import NETWORKS, SIDE, random_tiles
from benchmarks.timing import Case, interleave, table
from tgs_salt.compute import cpu_env
from tgs_salt.inference.predict import to_float
from tgs_salt.models.cpu_speedups import WideDepthwise, upsample_concat_conv
from tgs_salt.models.tile_model import TileModel, build_model, disable_inplace_activations, use_cpu_kernels
from tgs_salt.training.losses import build_loss
from tgs_salt.training.optim import build_optimizer

BATCH = 16
DEPTHWISE = [(240, 16), (480, 8), (672, 8), (1152, 4)]  # channels and side of EfficientNet-Lite0's 5 x 5 layers
BLOCKS = [(48, 24, 32, 16), (32, 16, 24, 32), (24, 0, 16, 64)]  # channels in, of the skip and out; side of the input


Call = Callable[[], object]


def random_features(channels: int, side: int) -> Tensor:
    """Return (BATCH, channels, side, side) normal random numbers, channels-last, which require gradients."""
    return torch.randn(BATCH, channels, side, side).contiguous(memory_format=torch.channels_last).requires_grad_()


def forward_backward(layer: Callable[[], Tensor], inputs: list[Tensor]) -> Call:
    """Return a function that runs `layer` and computes the gradients of `inputs`."""
    grad_output = torch.randn_like(layer())
    return lambda: torch.autograd.grad(layer(), inputs, grad_output)


def depthwise(channels: int, side: int) -> tuple[str, Call, Call]:
    """Return a title, the plain call and the faster call of a 5 x 5 depthwise convolution."""
    features = random_features(channels, side)
    conv = nn.Conv2d(channels, channels, 5, padding=2, groups=channels, bias=False)
    conv = conv.to(memory_format=torch.channels_last)
    wide, inputs = WideDepthwise(conv), [features, conv.weight]
    return (
        f"depthwise 5 x 5, {channels} channels of {side} x {side}",
        forward_backward(lambda: conv(features), inputs),
        forward_backward(lambda: wide(features), inputs),
    )


def block(channels: int, skip_channels: int, out: int, side: int) -> tuple[str, Call, Call]:
    """Return a title, the plain call and the faster call of a decoder block's upsampling and first convolution."""
    features = random_features(channels, side)
    skip = random_features(skip_channels, 2 * side) if skip_channels else None
    conv = nn.Conv2d(channels + skip_channels, out, 3, padding=1, bias=False).to(memory_format=torch.channels_last)
    inputs = [features, conv.weight, *([] if skip is None else [skip])]

    def plain() -> Tensor:
        upsampled = F.interpolate(features, scale_factor=2, mode="nearest")
        return conv(upsampled if skip is None else torch.cat([upsampled, skip], dim=1))

    return (
        f"a block's first convolution, {channels} + {skip_channels} channels to {out} of {2 * side} x {2 * side}",
        forward_backward(plain, inputs),
        forward_backward(lambda: upsample_concat_conv(features, skip, conv), inputs),
    )


def training_step() -> tuple[str, Call, Call]:
    """Return a title, the plain call and the faster call of a training step of the cpu preset's network."""
    settings, description = NETWORKS["cpu"]
    networks = [build_model(settings, SIDE).train() for _ in range(2)]
    for network in networks:
        disable_inplace_activations(network)
    use_cpu_kernels(networks[1])
    images, masks = map(torch.from_numpy, random_tiles(settings.batch_size))
    pixels, targets = to_float(images), masks.unsqueeze(1).float()

    def build_step(network: TileModel) -> Call:
        optimizer, loss = build_optimizer(network, settings), build_loss(settings.loss)

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss(network(pixels), targets))
            optimizer.step()

        return step

    return f"a training step of {description}", build_step(networks[0]), build_step(networks[1])


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    cpu_env.prepare("0", "benchmarks.convolutions")
    torch.set_num_threads(options.threads)
    print(f"# Convolutions\n\n{describe_machine()}\n\nThreads: {options.threads}.")
    pairs = [*(depthwise(*shape) for shape in DEPTHWISE), *(block(*shape) for shape in BLOCKS), training_step()]
    for title, plain, fast in pairs:
        cases = [Case("plain layers", plain), Case("**CPU kernels**", fast)]
        interleave(cases, options.rounds)
        print(f"\n## {title}\n\n{table(cases, [('plain layers', cases[0])])}", flush=True)


if __name__ == "__main__":
    main()
