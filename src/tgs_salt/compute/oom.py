"""What a user reads where memory runs out, a GPU's or the machine's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

from tgs_salt.errors import UserError

# torch has a class for its own allocator on a GPU alone; the rest is told by what it says.
OF_GPU = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
OF_MACHINE = "can't allocate memory"


def job_memory(lower: str) -> AbstractContextManager[None]:
    """The remedies of a job of the workflow: less at once in it, or fewer of its kind."""
    return explain_out_of_memory(f"{lower}, or runtime.jobs_per_gpu", f"{lower}, or run fewer jobs at once (--cores)")


@contextmanager
def explain_out_of_memory(on_gpu: str, on_cpu: str) -> Iterator[None]:
    """Raise a UserError with a remedy, `on_gpu` or `on_cpu`, for a lack of memory within; other errors pass."""
    try:
        yield
    except (MemoryError, RuntimeError) as problem:
        said = str(problem)
        if isinstance(problem, torch.OutOfMemoryError) or any(sign in said for sign in OF_GPU):
            raise UserError(f"out of GPU memory; {on_gpu}.") from None
        if isinstance(problem, MemoryError) or OF_MACHINE in said:
            raise UserError(f"out of memory; {on_cpu}.") from None
        raise
