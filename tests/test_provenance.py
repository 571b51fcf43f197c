"""Digests of the code that a rule's bytes come from: all of that code, and nothing of where or when it was written."""

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
# How a command speaks, stops, takes its place and reads its settings, whom it asks at Kaggle, and what it writes with.
ASIDE = (
    "errors.py",
    "log.py",
    "records.py",
    "signals.py",
    "provenance.py",
    "settings/",
    "kaggle/client.py",
    "kaggle/credentials.py",
)
ASIDE_IN_LEARNING = ("compute/device.py", "compute/oom.py", "training/checkpoints.py")
# A night's training is not called old for how files are read and written, or for what computes predictions alone.
ASIDE_IN_TRAINING = ("files.py", "data/", "inference/backends.py")


def imports(module: str) -> set[str]:
    """Modules of ours that a module imports, and those that these import, by path; read off their text."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        for node in ast.walk(ast.parse((PACKAGE / path).read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tgs_salt"):
                names = [node.module, *(f"{node.module}.{name.name}" for name in node.names)]
                places = [str(name).replace(".", "/").removeprefix("tgs_salt/") for name in names]
                waiting += [f"{place}.py" for place in places if (PACKAGE / f"{place}.py").exists()]
    return found


def digested(rule: str) -> set[str]:
    paths = [path for part in RULE_SOURCES[rule] for path in provenance._sources(PACKAGE / part)]
    return {path.relative_to(PACKAGE).as_posix() for path in paths}


@pytest.mark.parametrize("rule", RULE_SOURCES)
def test_what_a_rule_imports_is_in_its_digest(rule: str) -> None:
    aside = (*ASIDE, *ASIDE_IN_LEARNING, *(ASIDE_IN_TRAINING if rule == "train" else ()))
    wanted = {path for path in imports(COMMANDS[rule]) if not path.startswith(aside)}
    assert wanted and wanted <= digested(rule)
    assert all((PACKAGE / path).exists() for path in digested(rule))


def test_training_is_called_old_for_nothing_that_it_does_not_import() -> None:
    assert digested("train") <= imports("training/fit.py")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package, elsewhere and of another time."""
    folder = shutil.copytree(PACKAGE, tmp_path / "elsewhere" / "tgs_salt", ignore=shutil.ignore_patterns("__pycache__"))
    for path in folder.rglob("*.py"):
        os.utime(path, (1e9, 1e9))
    return folder


def test_place_time_comments_and_compiled_code_are_of_no_account(package: Path) -> None:
    (package / "postprocessing/__pycache__").mkdir()
    (package / "postprocessing/__pycache__/votes.cpython-399.pyc").write_bytes(b"compiled")
    votes = package / "postprocessing/ensemble_selection.py"
    votes.write_text("# A remark.\n\n" + votes.read_text().replace("\n\n", "\n\n\n"))
    for parts in RULE_SOURCES.values():
        assert code_digest(*parts, package=package) == code_digest(*parts)


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
def test_changed_code_changes_these_digests_alone(package: Path, module: str, rules: set[str]) -> None:
    with (package / module).open("a") as stream:
        stream.write("\nCHANGED = True\n")
    assert {
        rule for rule, parts in RULE_SOURCES.items() if code_digest(*parts, package=package) != code_digest(*parts)
    } == (rules)
