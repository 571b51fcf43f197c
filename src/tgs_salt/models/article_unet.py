"""The U-Net of the Medium article that this project started from, in both of its readings.

As its code ran, each block had one convolution: both convolutions were fed the block's input, so the first was dead
(1,177,649 trainable parameters). As its text describes it, each block has two (2,161,361).
Keras' initialisation, dropout and batch-norm settings are kept, so that the two frameworks train alike.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tgs_salt.models.dropout import Dropout

FILTERS = 16
DROPOUT = 0.05  # of single features, not of whole channels


class Block(nn.Sequential):
    """3 x 3 convolutions, each followed by batch normalisation and ReLU."""

    def __init__(self, channels_in: int, channels_out: int, convolutions: int) -> None:
        layers: list[nn.Module] = []
        for index in range(convolutions):
            layers += [
                nn.Conv2d(channels_in if index == 0 else channels_out, channels_out, 3, padding=1),
                # Keras: epsilon 1e-3, and a momentum of 0.99 is 0.01 in torch's counting.
                nn.BatchNorm2d(channels_out, eps=1e-3, momentum=0.01),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*layers)


class Up(nn.Module):
    """Transposed convolution to twice the size, joined with the encoder's features, then a block."""

    def __init__(self, channels_in: int, channels_out: int, convolutions: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(channels_in, channels_out, 3, stride=2)
        self.dropout = Dropout(DROPOUT)
        self.block = Block(2 * channels_out, channels_out, convolutions)

    def forward(self, features: Tensor, skip: Tensor) -> Tensor:
        # Keras' "same" transposed convolution is torch's without padding, cut at the far end.
        up = self.up(features)[..., : skip.shape[-2], : skip.shape[-1]]
        return self.block(self.dropout(torch.cat([up, skip], dim=1)))


class ArticleUNet(nn.Module):
    """(n, 1, h, w) pixels in 0..1 to (n, 1, h, w) logits; h and w multiples of 16 (the article: 128).

    `convolutions` per block: 1 as the code ran, 2 as the text has it.
    """

    def __init__(self, convolutions: int) -> None:
        super().__init__()
        widths = [FILTERS * 2**level for level in range(5)]
        self.down = nn.ModuleList(
            Block(channels_in, channels_out, convolutions)
            for channels_in, channels_out in zip([1, *widths[:-1]], widths, strict=True)
        )
        self.pool = nn.MaxPool2d(2)
        self.dropout = Dropout(DROPOUT)
        self.up = nn.ModuleList(
            Up(channels_in, channels_out, convolutions)
            for channels_in, channels_out in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.head = nn.Conv2d(FILTERS, 1, 1)
        self.apply(_keras_initialisation)

    def forward(self, pixels: Tensor) -> Tensor:
        features, skips = pixels, []
        for level, block in enumerate(self.down):
            if level:
                skips.append(features)
                features = self.dropout(self.pool(features))
            features = block(features)
        for up, skip in zip(self.up, reversed(skips), strict=True):
            features = up(features, skip)
        return self.head(features)


def _keras_initialisation(layer: nn.Module) -> None:
    """he_normal for the 3 x 3 convolutions (He et al. 2015, truncated), glorot_uniform elsewhere, biases 0."""
    if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3):
        fan_in = layer.in_channels * 9
        # Cutting a normal distribution at two sigma leaves 0.8796 of its deviation, which Keras makes up for.
        sigma = (2 / fan_in) ** 0.5 / 0.87962566103423978
        nn.init.trunc_normal_(layer.weight, std=sigma, a=-2 * sigma, b=2 * sigma)
    elif isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.xavier_uniform_(layer.weight)
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and layer.bias is not None:
        nn.init.zeros_(layer.bias)
