"""Read settings from YAML files, Snakemake's config or a JSON literal; invalid ones raise a one-sentence UserError."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from tgs_salt.errors import UserError
from tgs_salt.settings.schema import Settings
from tgs_salt.settings.types import ConfigModel

SettingsT = TypeVar("SettingsT", bound=BaseModel)
MAX_VALUES = 100_000
MAX_QUOTED = 200  # characters of a value in an error message
NAME_RULE = "letters, digits, '_', '-' and '.', starting with a letter or digit"


def load(config: Mapping[str, Any]) -> Settings:
    """Return the validated settings of a whole configuration, with defaults filled in.

    Raises UserError with the full dotted name of the first invalid key, the accepted values, and the closest valid key.
    """
    _check_size(config)
    config = dict(config)
    if isinstance(config.get("models"), Mapping):
        models = {str(name): keys for name, keys in config["models"].items()}
        config["models"] = {name: _inherit(name, models) for name in models}
    return validate(Settings, config)


def load_files(*paths: Path) -> Settings:
    """Return the settings of YAML files; later files override earlier ones, as with Snakemake's --configfile."""
    config: dict[str, Any] = {}
    for path in paths:
        _merge(config, read_yaml(path))
    return load(config)


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the keys of one configuration file. Raises UserError for invalid YAML and duplicate keys."""
    try:
        keys = yaml.load(path.read_text(), UniqueKeyLoader) or {}
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); name a configuration file.") from None
    # ValueError: not UTF-8, or a date such as 2020-13-45
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: invalid YAML: {' '.join(str(error).split())[:MAX_QUOTED]}") from None
    if not isinstance(keys, dict):
        raise UserError(f"{path}: expected top-level keys such as `name:` and `models:`.")
    _check_size(keys)
    return keys


def parse_section(text: str, name: str, model_cls: type[SettingsT]) -> SettingsT:
    """Return the section `name` of a JSON object of sections, the form in which rules pass settings."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"--settings: invalid JSON ({error}).") from None
    if not isinstance(data, dict):
        raise UserError("--settings: expected a JSON object of sections.")
    if name not in data:
        raise UserError(f"--settings: section {name!r} is missing, found {', '.join(data) or 'none'}.")
    return validate(model_cls, data[name], prefix=name)


def validate(model_cls: type[SettingsT], data: Any, prefix: str = "") -> SettingsT:
    """Return `data` as a `model_cls`; UserError with one sentence about the first error (`prefix` precedes its key)."""
    try:
        return model_cls.model_validate(data)
    except ValidationError as error:
        # A misspelled key is reported first: it is often the cause of a missing key.
        details = sorted(error.errors(), key=lambda detail: detail["type"] != "extra_forbidden")
        raise UserError(_format_error(model_cls, details[0], prefix)) from None


def json_schema() -> dict[str, Any]:
    """Return the JSON schema with which editors complete and validate config.yaml."""
    schema = Settings.model_json_schema()
    # A --configfile overlay contains only the keys that it changes.
    schema.pop("required", None)
    return {**schema, "$schema": "https://json-schema.org/draft/2020-12/schema", "title": "TGS salt experiment"}


class UniqueKeyLoader(yaml.SafeLoader):
    """YAML loader that rejects duplicate keys; PyYAML silently keeps the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping of a YAML node. Raises ConstructorError for duplicate keys."""
        seen: set[Any] = set()
        for key, _ in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) and not key.tag.endswith(":merge") else key
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {name!r}", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)


def _check_size(config: Any) -> None:
    """Raise UserError for more than MAX_VALUES values: a few nested YAML aliases expand to billions."""
    remaining, pending = MAX_VALUES, [config]
    while pending:
        value = pending.pop()
        remaining -= 1
        if remaining < 0:
            raise UserError(f"configuration: more than {MAX_VALUES:,} values; remove nested aliases (*).")
        if isinstance(value, Mapping):
            pending += value.values()
        elif isinstance(value, list):
            pending += value


def _merge(base: dict[str, Any], overlay: Mapping[str, Any]) -> None:
    """Merge `overlay` into `base` in place, recursively; values of `overlay` win."""
    for key, value in overlay.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = value


def _inherit(name: str, models: Mapping[str, Any], path: tuple[str, ...] = ()) -> Any:
    """Return the keys of a model, merged over those of the model that it `extends`."""
    own = models[name] if models[name] is not None else {}
    if not isinstance(own, Mapping) or own.get("extends") in (None, "null", "None", "~"):
        return own
    source = own["extends"]
    if source not in list(models):
        raise UserError(f"models.{name}.extends: unknown model {source!r}; available models: {', '.join(models)}.")
    if name in path:
        raise UserError(f"models.{name}.extends: {' -> '.join((*path, name))} is circular; remove one `extends`.")
    inherited = _inherit(source, models, (*path, name))
    return {**inherited, **own} if isinstance(inherited, Mapping) else own


def _format_error(model_cls: type[BaseModel], error: ErrorDetails, prefix: str) -> str:
    keys = [str(key) for key in error["loc"]]
    if error["type"] == "invalid_key":
        keys[-1] = str(error["input"])
    elif error["type"] != "extra_forbidden":
        keys = [key for parent, key in zip([prefix, *keys], keys, strict=False) if not _is_union_branch(parent, key)]
    dotted = ".".join([prefix, *keys] if prefix else keys)
    if error["type"] == "invalid_key":
        return f"{dotted}: expected a string as key, found {_quote(error['input'])}; quote or remove it."
    if error["type"] == "extra_forbidden":
        return _format_unknown_key(model_cls, keys, dotted)
    if error["type"] == "missing":
        return f"{dotted}: required key is missing; add it to the configuration."
    if error["loc"][-1:] == ("[key]",):
        return f"{dotted}: expected a name made of {NAME_RULE}, found {_quote(error['input'])}."
    if error["type"] == "value_error" and isinstance(error["input"], dict):
        # Validators across keys start their message with the key, relative to the section.
        return f"{dotted}{'.' if dotted else ''}{error['ctx']['error']}."
    detail = str(error["ctx"]["error"]) if error["type"] == "value_error" else ""
    expected = detail or _describe_expected(model_cls, keys)
    return f"{dotted}: {expected or error['msg']}, found {_quote(error['input'])}."


def _quote(value: Any) -> str:
    """Return repr(value), truncated to MAX_QUOTED characters."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to format integers of more than 4,300 digits
        text = "a number of thousands of digits"
    return text if len(text) <= MAX_QUOTED else f"{text[:MAX_QUOTED]}..."


def _is_union_branch(parent: str, key: str) -> bool:
    """Return whether one item of an error's location is a union branch (int, literal['search'], ...), not a key."""
    if key.startswith("dict["):
        return True
    is_user_key = parent == "models" or parent.startswith("dict[")  # any name is a valid key there
    return not is_user_key and (
        key in ("int", "str", "float", "[key]") or key.startswith(("literal[", "function-", "constrained-"))
    )


def _format_unknown_key(model_cls: type[BaseModel], keys: list[str], dotted: str) -> str:
    section = _section_at(model_cls, keys[:-1])
    valid = list(section.model_fields) if section else []
    matches = difflib.get_close_matches(keys[-1], valid, n=1, cutoff=0.5)
    parent = dotted.rpartition(".")[0]
    if matches:
        return f"{dotted}: unknown key, did you mean {'.'.join(filter(None, [parent, matches[0]]))}?"
    return f"{dotted}: unknown key; valid keys of {parent or 'the top level'}: {', '.join(valid)}."


def _section_at(model_cls: type[BaseModel], keys: list[str]) -> type[BaseModel] | None:
    """Return the section at a path of keys, or None; user-chosen keys, such as those of `models`, are skipped."""
    section: type[BaseModel] | None = model_cls
    for key in keys:
        field = section.model_fields.get(key) if section else None
        if field is None:
            continue
        types = [field.annotation, *getattr(field.annotation, "__args__", ())]
        section = next((t for t in types if isinstance(t, type) and issubclass(t, ConfigModel)), None)
    return section


def _describe_expected(model_cls: type[BaseModel], keys: list[str]) -> str:
    """Return "expected ..." for the key at a path, from its JSON schema."""
    schema: dict[str, Any] = model_cls.model_json_schema()
    node: dict[str, Any] = schema
    for key in keys:
        node = _resolve(node, schema)
        if key in node.get("properties", {}):
            node = node["properties"][key]
        elif mappings := [b for b in (node, *node.get("anyOf", ())) if isinstance(b.get("additionalProperties"), dict)]:
            node = mappings[0]["additionalProperties"]
        elif "patternProperties" in node:
            node = next(iter(node["patternProperties"].values()))
        elif "items" in node or any("items" in branch for branch in node.get("anyOf", ())):
            node = node.get("items") or next(branch["items"] for branch in node["anyOf"] if "items" in branch)
    description = _describe_type(_resolve(node, schema))
    return f"expected {description}" if description else ""


def _resolve(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    return node


def _describe_type(node: dict[str, Any]) -> str:
    """Return the type and bounds of a JSON schema node in words."""
    if "anyOf" in node:
        return " or ".join(filter(None, map(_describe_type, node["anyOf"])))
    if "enum" in node or "const" in node:
        return "one of " + ", ".join(map(str, node["enum"])) if "enum" in node else str(node["const"])
    types = {
        "integer": "an integer", "number": "a number", "string": "a string", "null": "null",
        "boolean": "true or false", "object": "a mapping", "array": "a list",
    }  # fmt: skip
    description = types.get(node.get("type", ""), "")
    for key, phrase in (
        ("minimum", "at least"), ("exclusiveMinimum", "above"), ("maximum", "at most"),
        ("exclusiveMaximum", "below"), ("multipleOf", "a multiple of"),
    ):  # fmt: skip
        if key in node:
            description += f", {phrase} {node[key]:g}"
    if "pattern" in node:
        description = NAME_RULE
    return description
