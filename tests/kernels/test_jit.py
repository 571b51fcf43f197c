"""Compiling without a cache, and sharing work among threads."""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

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


SCORE = (
    "import numpy as np; from tgs_salt.kernels import iou_score; print(iou_score.score(*np.ones((2, 1, 3, 3), bool)))"
)


def test_where_compiled_code_is_kept(tmp_path: Path) -> None:
    """Nowhere, if neither the package nor the home can be written (files in their way stop even root); else in
    NUMBA_CACHE_DIR."""
    package = tmp_path / "site" / "tgs_salt"
    shutil.copytree(Path(jit.__file__).parents[1], package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "kernels" / "__pycache__").touch()
    (tmp_path / "home").touch()
    changed = {"PYTHONPATH": package.parent, "HOME": tmp_path / "home", "XDG_CACHE_HOME": tmp_path / "home"}
    environment = {name: text for name, text in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    environment |= {name: str(path) for name, path in changed.items()}

    def run(**more: str) -> str:
        return subprocess.check_output([sys.executable, "-c", SCORE], text=True, env=environment | more, cwd=tmp_path)

    assert run() == "[1.]\n"
    assert not list(tmp_path.rglob("*.nb?")), "nothing was kept, and nothing failed"
    assert run(NUMBA_CACHE_DIR=str(tmp_path / "cache")) == "[1.]\n"
    kept = list((tmp_path / "cache").rglob("iou_score.*.nbc"))
    assert kept
    before = [path.stat().st_mtime_ns for path in kept]
    assert run(NUMBA_CACHE_DIR=str(tmp_path / "cache")) == "[1.]\n"
    assert [path.stat().st_mtime_ns for path in kept] == before, "compiled once"
    assert list(tmp_path.rglob("*.nbc")) == kept


@pytest.mark.parametrize(("count", "threads", "grain"), [(0, 1, 5), (1, 4, 5), (10, 1, 3), (10, 2, 3), (10, 9, 1)])
def test_pieces_cover_the_range_in_order(count: int, threads: int, grain: int) -> None:
    pieces = jit.map_chunks(lambda first, last: list(range(first, last)), count, threads, grain)
    assert [place for piece in pieces for place in piece] == list(range(count))
    assert all(1 <= len(piece) <= grain for piece in pieces)


def test_one_thread_is_the_callers() -> None:
    assert set(jit.map_chunks(lambda *_: threading.get_ident(), 9, 1, 2)) == {threading.get_ident()}


def test_failure_in_a_thread_reaches_the_caller() -> None:
    with pytest.raises(ZeroDivisionError):
        jit.map_chunks(lambda first, last: first // (first - 4), 9, 2, 2)


def test_stack_is_a_view_where_it_can_be() -> None:
    stack = np.zeros((2, 3, 4), bool)
    view = jit.as_stack(stack, "masks")
    assert np.shares_memory(stack, view)
    assert not view.flags.writeable
    assert stack.flags.writeable
