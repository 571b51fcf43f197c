"""Compiling without a cache, and sharing work among threads."""

import threading

import numpy as np
import pytest

from tgs_salt.kernels import jit


def test_kernel_does_without_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []

    def nowhere(function: object, cache: bool = False, **options: bool) -> object:
        if cache:
            raise RuntimeError("cannot cache function 'f': no locator available for file 'f.py'")
        compiled.append(options)
        return function

    monkeypatch.setattr(jit, "njit", nowhere)
    jit.kernel(len)
    assert compiled == [{"nogil": True}]


@pytest.mark.parametrize(("count", "threads", "grain"), [(0, 1, 5), (1, 4, 5), (10, 1, 3), (10, 2, 3), (10, 9, 1)])
def test_pieces_cover_the_range_in_order(count: int, threads: int, grain: int) -> None:
    pieces = jit.in_pieces(lambda first, last: list(range(first, last)), count, threads, grain)
    assert [place for piece in pieces for place in piece] == list(range(count))
    assert all(1 <= len(piece) <= grain for piece in pieces)


def test_one_thread_is_the_callers() -> None:
    assert set(jit.in_pieces(lambda *_: threading.get_ident(), 9, 1, 2)) == {threading.get_ident()}


def test_failure_in_a_thread_reaches_the_caller() -> None:
    with pytest.raises(ZeroDivisionError):
        jit.in_pieces(lambda first, last: first // (first - 4), 9, 2, 2)


def test_stack_is_a_view_where_it_can_be() -> None:
    stack = np.zeros((2, 3, 4), bool)
    view = jit.as_stack(stack, "masks")
    assert np.shares_memory(stack, view)
    assert not view.flags.writeable
    assert stack.flags.writeable
