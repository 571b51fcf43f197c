"""Half floats of GPUs that this machine need not have: torch's own rules, on tensors without memory."""

from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode

from tgs_salt.compute.amp import amp_dtype, autocast, grad_scaler

CUDA = torch.device("cuda")


def test_a_cpu_computes_in_float32() -> None:
    where = torch.device("cpu")
    assert amp_dtype(where) is None
    assert not grad_scaler(where).is_enabled()
    with autocast(where):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


@pytest.mark.parametrize(("major", "dtype"), [(7, torch.float16), (8, torch.bfloat16), (9, torch.bfloat16)])
def test_a_gpu_computes_in_the_half_floats_that_it_has(
    major: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A T4 (7.5) emulates bfloat16; torch says that it "supports" it.
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


def test_decoder_blocks_enlarge_in_the_precision_of_what_lies_below(monkeypatch: pytest.MonkeyPatch) -> None:
    from tgs_salt.models.unet import _enlarged

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with mock.patch("torch.cuda.amp.common.amp_definitely_not_available", lambda: False), FakeTensorMode():
        below = torch.empty(1, 3, 4, 4, device=CUDA, dtype=torch.float16)
        with torch.autocast("cuda", dtype=torch.float16):
            assert F.interpolate(below, size=(8, 8)).dtype == torch.float32, "what torch does by itself"
            enlarged = _enlarged(below, torch.Size((8, 8)))
    assert enlarged.dtype == torch.float16
    assert enlarged.shape == (1, 3, 8, 8)
