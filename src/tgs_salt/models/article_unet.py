"""The U-Net of the Medium article that this project started from, as its code ran and as its text describes it.

The article's code fed the block's input to both convolutions of a block, so the first one had no effect: one
convolution per block, 1,177,649 trainable parameters. Its text describes two per block, 2,161,361 parameters.
Weight initialization, dropout and batch-norm settings are those of Keras, so that both frameworks train alike.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tgs_salt.models.dropout import Dropout

FILTERS = 16
DROPOUT = 0.05  # drops single elements, not whole channels


class ConvBlock(nn.Sequential):
    """3 x 3 convolutions, each followed by batch normalization and ReLU."""

    def __init__(self, in_channels: int, out_channels: int, convolutions: int) -> None:
        layers: list[nn.Module] = []
        for index in range(convolutions):
            layers += [
                nn.Conv2d(in_channels if index == 0 else out_channels, out_channels, 3, padding=1),
                # Keras: epsilon 1e-3; momentum 0.99, which is 0.01 in torch's convention.
                nn.BatchNorm2d(out_channels, eps=1e-3, momentum=0.01),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*layers)


class UpBlock(nn.Module):
    """A transposed convolution to twice the size, concatenation with the encoder's features, and a `ConvBlock`."""

    def __init__(self, in_channels: int, out_channels: int, convolutions: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(in_channels, out_channels, 3, stride=2)
        self.dropout = Dropout(DROPOUT)
        self.block = ConvBlock(2 * out_channels, out_channels, convolutions)

    def forward(self, features: Tensor, skip: Tensor) -> Tensor:
        """Return (n, out_channels, 2h, 2w), given (n, in_channels, h, w) and an (n, out_channels, 2h, 2w) skip."""
        # Keras' "same" transposed convolution is torch's without padding, cropped at the bottom and right.
        up = self.up(features)[..., : skip.shape[-2], : skip.shape[-1]]
        return self.block(self.dropout(torch.cat([up, skip], dim=1)))


class ArticleUNet(nn.Module):
    """The article's U-Net.

    Args:
        convolutions: convolutions per block: 1 as the article's code ran, 2 as its text describes.
    """

    def __init__(self, convolutions: int) -> None:
        super().__init__()
        widths = [FILTERS * 2**depth for depth in range(5)]
        self.down = nn.ModuleList(
            ConvBlock(in_channels, out_channels, convolutions)
            for in_channels, out_channels in zip([1, *widths[:-1]], widths, strict=True)
        )
        self.pool = nn.MaxPool2d(2)
        self.dropout = Dropout(DROPOUT)
        self.up = nn.ModuleList(
            UpBlock(in_channels, out_channels, convolutions)
            for in_channels, out_channels in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.head = nn.Conv2d(FILTERS, 1, 1)
        self.apply(_init_like_keras)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (n, 1, h, w) logits of (n, 1, h, w) pixels in 0..1; h and w are multiples of 16 (the article: 128)."""
        features, skips = pixels, []
        for index, block in enumerate(self.down):
            if index:
                skips.append(features)
                features = self.dropout(self.pool(features))
            features = block(features)
        for up_block, skip in zip(self.up, reversed(skips), strict=True):
            features = up_block(features, skip)
        return self.head(features)


def _init_like_keras(layer: nn.Module) -> None:
    """Initialize 3 x 3 convolutions with he_normal (He et al. 2015), other ones with glorot_uniform, biases with 0."""
    if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3):
        fan_in = layer.in_channels * 9
        # Truncation at two sigma reduces the standard deviation to 0.8796 sigma; Keras compensates for that.
        sigma = (2 / fan_in) ** 0.5 / 0.87962566103423978
        nn.init.trunc_normal_(layer.weight, std=sigma, a=-2 * sigma, b=2 * sigma)
    elif isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.xavier_uniform_(layer.weight)
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and layer.bias is not None:
        nn.init.zeros_(layer.bias)
