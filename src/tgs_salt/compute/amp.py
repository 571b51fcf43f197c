"""Automatic mixed precision (AMP), on CUDA only.

bfloat16 on a CPU without native support is ten times slower than float32.
"""

from __future__ import annotations

import torch


def amp_dtype(device: torch.device) -> torch.dtype | None:
    """Return bfloat16 if the GPU supports it natively (Ampere and later), float16 on an older GPU, None on a CPU.

    Emulated bfloat16, which torch reports as supported on a T4, does not count.
    """
    if device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def autocast(device: torch.device) -> torch.autocast:
    """Return an autocast context: half precision on a GPU, float32 on a CPU."""
    dtype = amp_dtype(device)
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)


def grad_scaler(device: torch.device) -> torch.amp.GradScaler:
    """Return a gradient scaler, enabled for float16 only, where small gradients underflow."""
    return torch.amp.GradScaler(device.type, enabled=amp_dtype(device) is torch.float16)
