"""Mixed precision on GPUs that this machine may not have, simulated with mocks and fake tensors."""

from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode

from tgs_salt.compute.amp import amp_dtype, autocast, grad_scaler

CUDA = torch.device("cuda")


def test_float32_on_a_cpu() -> None:
    device = torch.device("cpu")
    assert amp_dtype(device) is None
    assert not grad_scaler(device).is_enabled()
    with autocast(device):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


@pytest.mark.parametrize(("major", "dtype"), [(7, torch.float16), (8, torch.bfloat16), (9, torch.bfloat16)])
def test_dtype_of_a_gpu(major: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    # torch reports bfloat16 as supported on a T4 (compute capability 7.5), which only emulates it.
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "_check_bf16_tensor_supported", lambda _: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: mock.Mock(major=major))
    assert torch.cuda.is_bf16_supported()
    assert amp_dtype(CUDA) is dtype
    with mock.patch("torch.cuda.amp.common.amp_definitely_not_available", lambda: False):
        assert grad_scaler(CUDA).is_enabled() == (dtype is torch.float16)
        assert autocast(CUDA).fast_dtype is dtype


def test_decoder_blocks_upsample_in_the_dtype_of_the_features(monkeypatch: pytest.MonkeyPatch) -> None:
    from tgs_salt.models.unet import _upsample

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with mock.patch("torch.cuda.amp.common.amp_definitely_not_available", lambda: False), FakeTensorMode():
        features = torch.empty(1, 3, 4, 4, device=CUDA, dtype=torch.float16)
        with torch.autocast("cuda", dtype=torch.float16):
            assert F.interpolate(features, size=(8, 8)).dtype == torch.float32, "torch's default"
            upsampled = _upsample(features, torch.Size((8, 8)))
    assert upsampled.dtype == torch.float16
    assert upsampled.shape == (1, 3, 8, 8)
