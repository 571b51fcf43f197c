"""Turn out-of-memory errors, of the GPU or the machine, into a UserError with a remedy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

from tgs_salt.errors import UserError

# torch.OutOfMemoryError covers only torch's own CUDA allocator; other errors are recognized by their messages.
GPU_OOM_MESSAGES = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
CPU_OOM_MESSAGE = "can't allocate memory"


def explain_job_oom(remedy: str) -> AbstractContextManager[None]:
    """Return the context for a job of the workflow: apply `remedy`, or run fewer jobs at once."""
    return explain_oom(f"{remedy}, or runtime.jobs_per_gpu", f"{remedy}, or run fewer jobs at once (--cores)")


@contextmanager
def explain_oom(gpu_remedy: str, cpu_remedy: str) -> Iterator[None]:
    """Convert out-of-memory errors in the body; other errors pass unchanged.

    Raises:
        UserError: Memory ran out; the message ends with the remedy.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as problem:
        message = str(problem)
        if isinstance(problem, torch.OutOfMemoryError) or any(text in message for text in GPU_OOM_MESSAGES):
            raise UserError(f"out of GPU memory; {gpu_remedy}.") from None
        if isinstance(problem, MemoryError) or CPU_OOM_MESSAGE in message:
            raise UserError(f"out of memory; {cpu_remedy}.") from None
        raise
