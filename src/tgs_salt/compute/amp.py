"""Mixed precision, on CUDA only: which half floats a GPU computes in.

bfloat16 on a CPU without it is ten times slower than float32.
"""

from __future__ import annotations

import torch


def amp_dtype(device: torch.device) -> torch.dtype | None:
    """bfloat16 where the GPU has it (Ampere and later), float16 on an older one, None on a CPU.

    torch would emulate bfloat16 on a T4.
    """
    if device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def autocast(device: torch.device) -> torch.autocast:
    """Forward passes within compute in half floats on a GPU, in float32 on a CPU."""
    dtype = amp_dtype(device)
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)


def grad_scaler(device: torch.device) -> torch.amp.GradScaler:
    """Scales the loss where its gradients would underflow: in float16 alone."""
    return torch.amp.GradScaler(device.type, enabled=amp_dtype(device) is torch.float16)
