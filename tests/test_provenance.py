"""Rule digests: they cover all code behind the outputs, and are independent of location and modification time."""

from __future__ import annotations

import ast
import os
import shutil
from pathlib import Path

import pytest

from tgs_salt import provenance
from tgs_salt.provenance import PACKAGE, RULE_SOURCES, code_digest

COMMANDS = {
    "train": "training/fit.py",
    "predict": "inference/predict.py",
    "ensemble": "postprocessing/ensemble.py",
    "threshold": "postprocessing/threshold.py",
    "submission": "postprocessing/submission.py",
    "report": "report/page.py",
    "export": "inference/bundle.py",
}
# Logging, signals, errors, settings and the Kaggle client do not affect output bytes.
EXCLUDED = (
    "errors.py",
    "log.py",
    "records.py",
    "signals.py",
    "provenance.py",
    "settings/",
    "kaggle/client.py",
    "kaggle/credentials.py",
)
EXCLUDED_WITH_TORCH = ("compute/device.py", "compute/oom.py", "training/checkpoints.py")
# A change in file access or in prediction alone does not make a trained model outdated.
EXCLUDED_IN_TRAIN = ("files.py", "data/", "inference/backends.py")


def imported_modules(module: str) -> set[str]:
    """Paths of the modules of this package that a module imports, directly or not; found by parsing."""
    paths: set[str] = set()
    queue = [module]
    while queue:
        path = queue.pop()
        if path in paths:
            continue
        paths.add(path)
        for node in ast.walk(ast.parse((PACKAGE / path).read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tgs_salt"):
                names = [node.module, *(f"{node.module}.{name.name}" for name in node.names)]
                candidates = [str(name).replace(".", "/").removeprefix("tgs_salt/") for name in names]
                queue += [f"{name}.py" for name in candidates if (PACKAGE / f"{name}.py").exists()]
    return paths


def digest_sources(rule: str) -> set[str]:
    paths = [path for source in RULE_SOURCES[rule] for path in provenance._source_files(PACKAGE / source)]
    return {path.relative_to(PACKAGE).as_posix() for path in paths}


@pytest.mark.parametrize("rule", RULE_SOURCES)
def test_digest_covers_all_imports(rule: str) -> None:
    excluded = (*EXCLUDED, *EXCLUDED_WITH_TORCH, *(EXCLUDED_IN_TRAIN if rule == "train" else ()))
    expected = {path for path in imported_modules(COMMANDS[rule]) if not path.startswith(excluded)}
    assert expected and expected <= digest_sources(rule)
    assert all((PACKAGE / path).exists() for path in digest_sources(rule))


def test_train_digest_covers_only_imports() -> None:
    assert digest_sources("train") <= imported_modules("training/fit.py")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package in another folder, with other modification times."""
    folder = shutil.copytree(PACKAGE, tmp_path / "copy" / "tgs_salt", ignore=shutil.ignore_patterns("__pycache__"))
    for path in folder.rglob("*.py"):
        os.utime(path, (1e9, 1e9))
    return folder


def test_digest_ignores_location_time_comments_and_compiled_files(package: Path) -> None:
    (package / "postprocessing/__pycache__").mkdir()
    (package / "postprocessing/__pycache__/ensemble.cpython-399.pyc").write_bytes(b"compiled")
    module = package / "postprocessing/ensemble_selection.py"
    module.write_text("# A comment.\n\n" + module.read_text().replace("\n\n", "\n\n\n"))
    for sources in RULE_SOURCES.values():
        assert code_digest(*sources, package=package) == code_digest(*sources)


@pytest.mark.parametrize(
    ("module", "rules"),
    [
        ("postprocessing/ensemble_selection.py", {"ensemble", "threshold", "report"}),
        ("kernels/rle.py", {"ensemble", "threshold", "submission", "report"}),
        ("postprocessing/submission.py", {"submission", "report"}),
        ("report/page.html.j2", {"report"}),
        ("inference/backends.py", {"predict"}),
        ("training/losses.py", {"train", "report"}),
        ("models/tile_model.py", {"train", "predict", "export", "report"}),
        ("inference/segment.py", set()),
        ("log.py", set()),
        ("kaggle/download.py", set()),
    ],
)
def test_code_change_changes_the_digests_of_these_rules(package: Path, module: str, rules: set[str]) -> None:
    with (package / module).open("a") as stream:
        stream.write("\nCHANGED = True\n")
    assert {
        rule
        for rule, sources in RULE_SOURCES.items()
        if code_digest(*sources, package=package) != code_digest(*sources)
    } == (rules)
