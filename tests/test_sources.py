"""Digests of the code that a rule's bytes come from: all of that code, and nothing of where or when it was written."""

from __future__ import annotations

import ast
import os
import shutil
from pathlib import Path

import pytest

from tgs_salt import sources
from tgs_salt.sources import MADE_BY, PACKAGE, code_digest

COMMANDS = {
    "train": "learning/train.py",
    "predict": "learning/predict.py",
    "ensemble": "decision/ensemble.py",
    "threshold": "decision/threshold.py",
    "submission": "submission/table.py",
    "report": "report/page.py",
    "export": "learning/bundle.py",
}
# How a command speaks, stops, takes its place and reads its settings, whom it asks at Kaggle, and what it writes with.
ASIDE = (
    "errors.py",
    "log.py",
    "records.py",
    "signals.py",
    "sources.py",
    "settings/",
    "survey/kaggle.py",
    "survey/credentials.py",
)
ASIDE_IN_LEARNING = ("learning/device.py", "learning/memory.py", "learning/resume.py")
# A night's training is not called old for how files are read and written, or for what computes predictions alone.
ASIDE_IN_TRAINING = ("files.py", "survey/", "learning/engine.py")


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
    paths = [path for part in MADE_BY[rule] for path in sources._sources(PACKAGE / part)]
    return {path.relative_to(PACKAGE).as_posix() for path in paths}


@pytest.mark.parametrize("rule", MADE_BY)
def test_what_a_rule_imports_is_in_its_digest(rule: str) -> None:
    aside = (*ASIDE, *ASIDE_IN_LEARNING, *(ASIDE_IN_TRAINING if rule == "train" else ()))
    wanted = {path for path in imports(COMMANDS[rule]) if not path.startswith(aside)}
    assert wanted and wanted <= digested(rule)
    assert all((PACKAGE / path).exists() for path in digested(rule))


def test_training_is_called_old_for_nothing_that_it_does_not_import() -> None:
    assert digested("train") <= imports("learning/train.py")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package, elsewhere and of another time."""
    folder = shutil.copytree(PACKAGE, tmp_path / "elsewhere" / "tgs_salt", ignore=shutil.ignore_patterns("__pycache__"))
    for path in folder.rglob("*.py"):
        os.utime(path, (1e9, 1e9))
    return folder


def test_place_time_comments_and_compiled_code_are_of_no_account(package: Path) -> None:
    (package / "decision/__pycache__").mkdir()
    (package / "decision/__pycache__/votes.cpython-399.pyc").write_bytes(b"compiled")
    votes = package / "decision/votes.py"
    votes.write_text("# A remark.\n\n" + votes.read_text().replace("\n\n", "\n\n\n"))
    for parts in MADE_BY.values():
        assert code_digest(*parts, package=package) == code_digest(*parts)


@pytest.mark.parametrize(
    ("module", "rules"),
    [
        ("decision/votes.py", {"ensemble", "threshold", "report"}),
        ("kernels/rle.py", {"ensemble", "threshold", "submission", "report"}),
        ("submission/table.py", {"submission", "report"}),
        ("report/page.html.j2", {"report"}),
        ("learning/engine.py", {"predict"}),
        ("learning/losses.py", {"train", "report"}),
        ("learning/network.py", {"train", "predict", "export", "report"}),
        ("learning/segment.py", set()),
        ("log.py", set()),
        ("survey/download.py", set()),
    ],
)
def test_changed_code_changes_these_digests_alone(package: Path, module: str, rules: set[str]) -> None:
    with (package / module).open("a") as stream:
        stream.write("\nCHANGED = True\n")
    assert {rule for rule, parts in MADE_BY.items() if code_digest(*parts, package=package) != code_digest(*parts)} == (
        rules
    )
