"""These tests install packages and write system files. They run only in `make test-slurm`."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import cluster


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "slurm" not in config.option.markexpr:
        deselected = [item for item in items if item.get_closest_marker("slurm")]
        config.hook.pytest_deselected(items=deselected)
        items[:] = [item for item in items if item not in deselected]


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    reason = cluster.unavailable_reason()
    if reason:
        pytest.skip(reason)
    assert importlib.util.find_spec("snakemake_executor_plugin_slurm"), 'pip install "tgs-salt[slurm]"'
    cluster.install()
    with cluster.running(tmp_path_factory.mktemp("slurm")):
        yield
