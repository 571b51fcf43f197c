"""Compilation without a cache, and chunks in threads."""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from tgs_salt.kernels import jit


def test_kernel_compiles_without_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []

    def njit_without_cache(function: object, cache: bool = False, **options: bool) -> object:
        if cache:
            raise RuntimeError("cannot cache function 'f': no locator available for file 'f.py'")
        compiled.append(options)
        return function

    monkeypatch.setattr(jit, "njit", njit_without_cache)
    jit.kernel(len)
    assert compiled == [{"nogil": True}]


SCORE = (
    "import numpy as np; from tgs_salt.kernels import iou_score; print(iou_score.score(*np.ones((2, 1, 3, 3), bool)))"
)


def test_cache_folder_of_compiled_kernels(tmp_path: Path) -> None:
    """Nothing is cached if neither the package nor the home is writable; NUMBA_CACHE_DIR is used if it is set.

    Files in place of the cache folders make them unwritable even for root.
    """
    package = tmp_path / "site" / "tgs_salt"
    shutil.copytree(Path(jit.__file__).parents[1], package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "kernels" / "__pycache__").touch()
    (tmp_path / "home").touch()
    variables = {"PYTHONPATH": package.parent, "HOME": tmp_path / "home", "XDG_CACHE_HOME": tmp_path / "home"}
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    environment |= {name: str(path) for name, path in variables.items()}

    def run(**more: str) -> str:
        return subprocess.check_output([sys.executable, "-c", SCORE], text=True, env=environment | more, cwd=tmp_path)

    assert run() == "[1.]\n"
    assert not list(tmp_path.rglob("*.nb?")), "nothing is cached"
    assert run(NUMBA_CACHE_DIR=str(tmp_path / "cache")) == "[1.]\n"
    cached = list((tmp_path / "cache").rglob("iou_score.*.nbc"))
    assert cached
    before = [path.stat().st_mtime_ns for path in cached]
    assert run(NUMBA_CACHE_DIR=str(tmp_path / "cache")) == "[1.]\n"
    assert [path.stat().st_mtime_ns for path in cached] == before, "the cache is used"
    assert list(tmp_path.rglob("*.nbc")) == cached


@pytest.mark.parametrize(("count", "threads", "chunk_size"), [(0, 1, 5), (1, 4, 5), (10, 1, 3), (10, 2, 3), (10, 9, 1)])
def test_chunks_cover_the_range_in_order(count: int, threads: int, chunk_size: int) -> None:
    chunks = jit.map_chunks(lambda start, stop: list(range(start, stop)), count, threads, chunk_size)
    assert [index for chunk in chunks for index in chunk] == list(range(count))
    assert all(1 <= len(chunk) <= chunk_size for chunk in chunks)


def test_one_thread_is_that_of_the_caller() -> None:
    assert set(jit.map_chunks(lambda *_: threading.get_ident(), 9, 1, 2)) == {threading.get_ident()}


def test_exception_in_a_thread_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        jit.map_chunks(lambda start, stop: start // (start - 4), 9, 2, 2)


def test_as_stack_returns_a_read_only_view() -> None:
    stack = np.zeros((2, 3, 4), bool)
    view = jit.as_stack(stack, "masks")
    assert np.shares_memory(stack, view)
    assert not view.flags.writeable
    assert stack.flags.writeable
