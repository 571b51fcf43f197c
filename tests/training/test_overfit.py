"""Every network and every loss overfits 16 tiles; one with a wiring error does not reach the required score."""

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from tgs_salt.kernels import iou_score
from tgs_salt.models.tile_model import build_model
from tgs_salt.settings import Model
from tgs_salt.settings.loss import LOSSES
from tgs_salt.synthetic.synthesize import generate_tiles
from tgs_salt.training.losses import build_loss

SIDE, EMPTY, SALT = 32, 5, 11
UNET = {
    "encoder": "tu-tf_mobilenetv3_small_minimal_100", "encoder_weights": "none",
    "decoder_channels": [32, 32, 32, 16, 16],
}  # fmt: skip
NETWORKS = {
    "article": {"architecture": "article"},
    "article-described": {"architecture": "article-described"},
    "unet": {},
    "resized": {"resize_mode": "resize", "input_size": 64},
    "four blocks": {"decoder_channels": [32, 32, 16, 16]},
    "bundled": {"encoder": "tu-tf_efficientnet_lite0", "encoder_weights": "bundled"},
    "scse": {"decoder_attention": "scse"},
    "hypercolumn": {"hypercolumn": True},
    "deep supervision": {"deep_supervision": True},
    "empty head": {"empty_head": True},
    "depth channels": {"depth_channels": True},
    "everything": {
        "decoder_attention": "scse", "hypercolumn": True, "deep_supervision": True, "empty_head": True,
        "depth_channels": True,
    },
}  # fmt: skip
SLOW_NETWORKS = {  # "everything" covers most of them in the quick tests
    "article-described",
    "resized",
    "four blocks",
    "bundled",
    "scse",
    "hypercolumn",
    "deep supervision",
    "empty head",
    "depth channels",
}


@pytest.fixture(scope="module")
def tiles() -> tuple[np.ndarray, np.ndarray]:
    """Return 16 synthetic tiles and their masks, uint8; the first five have no salt, the others more than 15 %."""

    def decode(png: bytes) -> np.ndarray:
        return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE)

    generated = generate_tiles(0, [80], SIDE)[0]
    images, masks = (np.stack([decode(getattr(tile, kind)) for tile in generated]) for kind in ("image", "mask"))
    masks = (masks > 0).astype(np.uint8)
    coverage = masks.mean(axis=(1, 2))
    rows = [*np.flatnonzero(coverage == 0)[:EMPTY], *np.flatnonzero(coverage > 0.15)[:SALT]]
    return images[rows], masks[rows]


def overfit(images: np.ndarray, masks: np.ndarray, settings: Model, steps: int) -> float:
    """Train on all tiles at each step and return the score on them."""
    torch.manual_seed(0)
    network, loss = build_model(settings, SIDE).train(), build_loss(settings.loss)
    pixels, targets = (torch.from_numpy(array).unsqueeze(1).float() for array in (images, masks))
    pixels, depth = pixels / 255, torch.linspace(100, 900, len(images))
    optimizer = torch.optim.AdamW(network.parameters(), 1e-2, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps, pct_start=0.2)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(network(pixels, depth), targets).backward()
        optimizer.step()
        schedule.step()
    # Recompute batch-norm statistics for the last weights; running ones lag behind after so few steps.
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None
    with torch.no_grad():
        network(pixels, depth)
        probabilities = torch.sigmoid(network.eval()(pixels, depth))[:, 0]
    probability_bytes = (probabilities * 256).clamp(max=255).byte().numpy()
    return float(iou_score.score_bytes(probability_bytes, masks, iou_score.BYTE_HALF).mean())


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW_NETWORKS else ()) for name in NETWORKS]
)
def test_network_overfits_tiles(name: str, tiles: tuple[np.ndarray, np.ndarray]) -> None:
    assert overfit(*tiles, Model(**{**UNET, **NETWORKS[name]}), steps=50) > 0.95


@pytest.mark.parametrize(
    "loss",
    [
        "0.2*bce + lovasz",
        *(pytest.param(name, marks=() if name == "lovasz" else pytest.mark.slow) for name in LOSSES),
    ],
)
def test_loss_overfits_tiles(loss: str, tiles: tuple[np.ndarray, np.ndarray]) -> None:
    images, masks = tiles
    if loss == "dice":  # its gradient for an empty tile predicted as full is only 1 / area^2
        images, masks = images[EMPTY:], masks[EMPTY:]
    assert overfit(images, masks, Model(**UNET, loss=loss), steps=60) > 0.95
