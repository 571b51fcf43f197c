"""workflow/config.schema.json is generated from the settings, and all configurations in the repository satisfy both."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.command_line import tgs_salt

from tgs_salt.errors import UserError
from tgs_salt.settings import Settings, json_schema, load, load_files

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "config.yaml"
SCHEMA = ROOT / "workflow" / "config.schema.json"
PRESETS = sorted((ROOT / "workflow" / "presets").glob("*.yaml"))


def load_yaml_1_2(path: Path) -> Any:
    """Load a file as editors do, by YAML 1.2, where 1e-3 is a number; in YAML 1.1 (PyYAML) it is a string."""

    def numbers(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: numbers(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [numbers(inner) for inner in value]
        return float(value) if isinstance(value, str) and re.fullmatch(r"[0-9.]+e-?[0-9]+", value) else value

    return numbers(yaml.safe_load(path.read_text()))


def validator() -> Any:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed; snakemake depends on it")
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_presets_exist() -> None:
    assert "demo" in [path.stem for path in PRESETS]


def test_schema_file_is_up_to_date() -> None:
    printed = tgs_salt("config", "--schema")
    assert printed.returncode == 0, printed.stderr
    assert printed.stdout == SCHEMA.read_text(), "workflow/config.schema.json is stale: run `make lock` and commit it"
    assert json.loads(printed.stdout) == json_schema()


@pytest.mark.parametrize("preset", [None, *PRESETS], ids=lambda path: path.stem if path else "config.yaml")
def test_configurations_load(preset: Path | None) -> None:
    settings = load_files(*filter(None, [CONFIG, preset]))
    assert settings.required_models
    if preset:
        preset_keys = yaml.safe_load(preset.read_text())
        assert set(settings.ensemble_models) <= set(preset_keys["models"]), (
            "a preset that does not list its models would train config.yaml's"
        )
        assert settings.name != load_files(CONFIG).name, "presets have their preset_keys results folders"


@pytest.mark.parametrize("path", [CONFIG, *PRESETS], ids=lambda path: path.stem)
def test_configurations_satisfy_the_schema(path: Path) -> None:
    problems = [f"{'.'.join(map(str, e.path))}: {e.message}" for e in validator().iter_errors(load_yaml_1_2(path))]
    assert problems == []


@pytest.mark.parametrize(
    "overlay",
    [
        {"fold": {}},
        {"folds": {"n_splits": 1}},
        {"models": {"a": {"architecture": "resnet"}}},
        {"models": {"a": {"epoch": 3}}},
        {"models": {"a": {"augment": {"flip": 2}}}},
        {"threshold": {"value": 256}},
        {"ensemble": {"weights": {"a": 0}}},
    ],
)
def test_schema_rejects_invalid_configurations(overlay: dict[str, Any]) -> None:
    assert not validator().is_valid(overlay)
    with pytest.raises(UserError):
        load({"models": {"a": {}}, **overlay})


def test_every_key_has_a_description() -> None:
    schema = json_schema()
    sections = {"": schema, **schema["$defs"]}
    undocumented = [
        f"{name}.{key}"
        for name, section in sections.items()
        for key, node in section["properties"].items()
        if not node.get("description")
    ]
    assert undocumented == []


def test_printed_settings_can_be_read_back(tmp_path: Path) -> None:
    printed = tgs_salt("config", CONFIG, *PRESETS[:1])
    assert printed.returncode == 0, printed.stderr
    (tmp_path / "whole.yaml").write_text(printed.stdout)
    assert load_files(tmp_path / "whole.yaml") == load_files(CONFIG, *PRESETS[:1])
    assert set(yaml.safe_load(printed.stdout)) == set(Settings.model_fields)
