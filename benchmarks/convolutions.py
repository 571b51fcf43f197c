"""Convolutions as a CPU learns them beside the packages' own: `python -m benchmarks.convolutions`.

Values and gradients of single layers of the cpu preset's net with its batch of 16, then a whole step of it.
"""

import argparse
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.machine import machine
from benchmarks.nets import NETS, SIDE, random_tiles
from benchmarks.timing import Case, interleave, table
from tgs_salt.compute import cpu_env
from tgs_salt.inference.predict import to_float
from tgs_salt.models.cpu_speedups import WideDepthwise, enlarged_convolution
from tgs_salt.models.tile_model import TileNetwork, build, disable_inplace_activations, use_cpu_kernels
from tgs_salt.training.losses import build_loss
from tgs_salt.training.optim import build_optimizer

BATCH = 16
DEPTHWISE = [(240, 16), (480, 8), (672, 8), (1152, 4)]  # channels and side of EfficientNet-Lite0's 5 x 5 layers
BLOCKS = [(48, 24, 32, 16), (32, 16, 24, 32), (24, 0, 16, 64)]  # channels below, of the skip and given; side below


def random(channels: int, side: int) -> Tensor:
    drawn = torch.randn(BATCH, channels, side, side)
    return drawn.contiguous(memory_format=torch.channels_last).requires_grad_()


def learnt(layer: Callable[[], Tensor], learns: list[Tensor]) -> Callable[[], object]:
    above = torch.randn_like(layer())
    return lambda: torch.autograd.grad(layer(), learns, above)


def depthwise(channels: int, side: int) -> tuple[str, Callable[[], object], Callable[[], object]]:
    features = random(channels, side)
    conv = nn.Conv2d(channels, channels, 5, padding=2, groups=channels, bias=False)
    conv = conv.to(memory_format=torch.channels_last)
    spread, learns = WideDepthwise(conv), [features, conv.weight]
    return (
        f"depthwise 5 x 5, {channels} channels of {side} x {side}",
        learnt(lambda: conv(features), learns),
        learnt(lambda: spread(features), learns),
    )


def block(below: int, beside: int, out: int, side: int) -> tuple[str, Callable[[], object], Callable[[], object]]:
    features = random(below, side)
    skip = random(beside, 2 * side) if beside else None
    conv = nn.Conv2d(below + beside, out, 3, padding=1, bias=False).to(memory_format=torch.channels_last)
    learns = [features, conv.weight, *([] if skip is None else [skip])]

    def plain() -> Tensor:
        large = F.interpolate(features, scale_factor=2, mode="nearest")
        return conv(large if skip is None else torch.cat([large, skip], dim=1))

    return (
        f"a block's first convolution, {below} + {beside} channels to {out} of {2 * side} x {2 * side}",
        learnt(plain, learns),
        learnt(lambda: enlarged_convolution(features, skip, conv), learns),
    )


def steps() -> tuple[str, Callable[[], object], Callable[[], object]]:
    settings, about = NETS["light"]
    networks = [build(settings, SIDE).train() for _ in range(2)]
    for network in networks:
        disable_inplace_activations(network)
    use_cpu_kernels(networks[1])
    pictures, masks = map(torch.from_numpy, random_tiles(settings.batch_size))
    pixels, targets = to_float(pictures), masks.unsqueeze(1).float()

    def step_of(network: TileNetwork) -> Callable[[], object]:
        optimizer, loss = build_optimizer(network, settings), build_loss(settings.loss)

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss(network(pixels), targets))
            optimizer.step()

        return step

    return f"a step of {about}", step_of(networks[0]), step_of(networks[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    cpu_env.prepare("0", "benchmarks.convolutions")
    torch.set_num_threads(options.threads)
    print(f"# Convolutions\n\n{machine()}\n\nThreads: {options.threads}.")
    pairs = [*(depthwise(*shape) for shape in DEPTHWISE), *(block(*shape) for shape in BLOCKS), steps()]
    for name, plain, uses_cpu_kernels in pairs:
        cases = [Case("as the packages have it", plain), Case("**as it is learnt here**", uses_cpu_kernels)]
        interleave(cases, options.rounds)
        print(f"\n## {name}\n\n{table(cases, [('as the packages have it', cases[0])])}", flush=True)


if __name__ == "__main__":
    main()
