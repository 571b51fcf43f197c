"""Valid configurations load; invalid ones raise a UserError of one sentence."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from tgs_salt.errors import UserError
from tgs_salt.settings import Data, Folds, Model, Runtime, Settings, load, load_files, parse_loss, parse_section

MODELS: dict[str, Any] = {"models": {"a": {}}}


def model(**keys: Any) -> dict[str, Any]:
    return {"models": {"a": keys}}


def snakemake_config_value(value: str) -> Any:
    """Parse a mapping as Snakemake does in `--config key=value`: every scalar stays a string."""
    return yaml.load(value, Loader=yaml.BaseLoader)


# --- strings


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("epochs", "4", 4),
        ("epochs", " 4 ", 4),
        ("learning_rate", "1e-3", 0.001),
        ("learning_rate", ".5", 0.5),
        ("learning_rate", 1, 1.0),
        ("ema_decay", "0.5", 0.5),
        ("input_size", "128", 128),
        ("input_size", "null", None),
        ("input_size", "None", None),
        ("input_size", "~", None),
        ("init_from", "null", None),
        ("loss", " lovasz ", "lovasz"),
        ("decoder_channels", ["64", "48", "32", "24", "16"], [64, 48, 32, 24, 16]),
        ("seed", "0", 0),
        ("epochs", 5.0, 5),
    ],
)
def test_strings_are_converted_to_the_declared_type(key: str, text: Any, value: Any) -> None:
    result = getattr(load(model(**{key: text})).models["a"], key)
    assert result == value and type(result) is type(value)


def test_nested_config_values_from_snakemake_are_converted() -> None:
    config = {
        "name": "x",
        "folds": snakemake_config_value("{n_splits: 3, selected: [0, 2], seed: '4'}"),
        "models": snakemake_config_value(
            "{a: {epochs: 2, learning_rate: 1e-3, input_size: null, augment: {hflip: 0}},"
            " b: {extends: a, init_from: a}}"
        ),
        "ensemble": snakemake_config_value("{models: null, weights: {b: 2}}"),
        "threshold": snakemake_config_value("{value: 128, min_area: search}"),
        "data": snakemake_config_value("{source: synthetic, train_tiles: null, test_tiles: 7}"),
    }
    assert config["folds"] == {"n_splits": "3", "selected": ["0", "2"], "seed": "4"}
    settings = load(config)
    assert (settings.folds.n_splits, settings.folds.selected, settings.folds.seed) == (3, [0, 2], 4)
    assert (settings.models["b"].epochs, settings.models["b"].learning_rate) == (2, 0.001)
    assert settings.models["b"].augment.hflip == 0 and settings.models["b"].input_size is None
    assert settings.ensemble.models is None and settings.ensemble.weights == {"b": 2}
    assert (settings.threshold.value, settings.threshold.min_area) == (128, "search")
    assert (settings.data.train_tiles, settings.data.test_tiles) == (600, 7)
    assert load(json.loads(json.dumps(settings.model_dump()))) == settings, "printed settings can be read back"


def test_settings_are_frozen_and_the_given_mapping_is_not_modified() -> None:
    config = {"models": {"a": {"epochs": 3}, "b": {"extends": "a"}}}
    before = json.dumps(config)
    settings = load(config)
    assert json.dumps(config) == before
    with pytest.raises(ValidationError, match="frozen"):
        settings.models["a"].epochs = 4


def test_an_empty_model_has_all_defaults() -> None:
    assert load({"models": {"a": None}}).models["a"] == Model()


# --- extends


def test_extends_can_be_chained() -> None:
    models = {
        "c": {"extends": "b", "seed": 9},
        "b": {"extends": "a", "epochs": 7, "augment": {"hflip": 0.25}},
        "a": {"epochs": 3, "batch_size": 5, "loss": "lovasz", "augment": {"contrast": 0.3}, "init_from": "z"},
        "z": {},
    }
    c = load({"models": models}).models["c"]
    assert (c.extends, c.seed, c.epochs, c.batch_size, c.loss, c.init_from) == ("b", 9, 7, 5, "lovasz", "z")
    assert (c.augment.hflip, c.augment.contrast) == (0.25, 0.1), "nested sections are replaced as a whole"


def test_extends_with_integer_model_names() -> None:
    models = load({"models": {1: {"epochs": 2}, 2: {"extends": "1"}}}).models
    assert models["2"].epochs == 2


def test_inherited_keys_can_be_overridden() -> None:
    models = {"z": {}, "a": {"init_from": "z", "input_size": 128}, "b": {"extends": "a", "init_from": None}}
    b = load({"models": models}).models["b"]
    assert b.init_from is None and b.input_size == 128


@pytest.mark.parametrize("null", [None, "null", "None", "~"])
def test_extends_null(null: str | None) -> None:
    assert load(model(extends=null, epochs=2)).models["a"].epochs == 2


# --- error messages

NAMES = "letters, digits, '_', '-' and '.', starting with a letter or digit"
LOSS = "expected a sum of bce, dice, focal, lovasz, symmetric_lovasz such as '0.2*bce + lovasz'"
INVALID: list[tuple[dict[str, Any], str]] = [
    # Unknown keys: the dotted name, and the closest valid key or all valid keys.
    ({**MODELS, "fold": {}}, "fold: unknown key, did you mean folds?"),
    ({**MODELS, "zzz": 1}, "zzz: unknown key; valid keys of the top level: name, data, folds, models, predict,"
     " ensemble, threshold, runtime."),
    ({**MODELS, "folds": {"n_spilts": 3}}, "folds.n_spilts: unknown key, did you mean folds.n_splits?"),
    ({**MODELS, "folds": {"zzz": 3}}, "folds.zzz: unknown key; valid keys of folds: n_splits, selected, seed."),
    (model(epoch=3), "models.a.epoch: unknown key, did you mean models.a.epochs?"),
    (model(lr=3, learning_rat=3),
     f"models.a.lr: unknown key; valid keys of models.a: {', '.join(Model.model_fields)}."),
    (model(augment={"flipp": 1}), "models.a.augment.flipp: unknown key, did you mean models.a.augment.hflip?"),
    (model(augment={"vertical": 1}),
     "models.a.augment.vertical: unknown key; valid keys of models.a.augment: hflip, shift, scale, rotate, crop,"
     " brightness, contrast, gauss_noise, cutout."),
    ({"model": {"a": {}}}, "model: unknown key, did you mean models?"),
    ({**MODELS, 3: 4}, "3: expected a string as key, found 3; quote or remove it."),
    ({**MODELS, "folds": {True: 4}}, "folds.True: expected a string as key, found True; quote or remove it."),
    # Invalid values: the accepted ones.
    ({**MODELS, "name": "a b"}, f"name: expected {NAMES}, found 'a b'."),
    ({**MODELS, "name": "../x"}, f"name: expected {NAMES}, found '../x'."),
    ({**MODELS, "name": 123}, f"name: expected {NAMES}, found 123."),
    ({**MODELS, "data": {"source": "kagle"}},
     "data.source: expected one of kaggle, directory, synthetic, found 'kagle'."),
    ({**MODELS, "data": {"tile_size": 8}},
     "data.tile_size: expected an integer, at least 16, at most 4096, found 8."),
    ({**MODELS, "data": {"train_tiles": 0}},
     "data.train_tiles: expected an integer, at least 1 or null, found 0."),
    ({**MODELS, "data": {"seed": "-1"}}, "data.seed: expected an integer, at least 0, found '-1'."),
    ({**MODELS, "data": []}, "data: expected a mapping, found []."),
    ({**MODELS, "folds": None}, "folds: expected a mapping, found None."),
    ({**MODELS, "folds": {"n_splits": 1}}, "folds.n_splits: expected an integer, at least 2, at most 1000, found 1."),
    ({**MODELS, "folds": {"n_splits": "three"}},
     "folds.n_splits: expected an integer, at least 2, at most 1000, found 'three'."),
    ({**MODELS,
     "folds": {"n_splits": 2.5}}, "folds.n_splits: expected an integer, at least 2, at most 1000, found 2.5."),
    ({**MODELS, "folds": {"n_splits": True}}, "folds.n_splits: expected a number, found True."),
    ({**MODELS, "folds": {"selected": 0}}, "folds.selected: expected a list or null, found 0."),
    ({**MODELS, "folds": {"selected": [0, "x"]}}, "folds.selected.1: expected an integer, at least 0, found 'x'."),
    (model(architecture="resnet"),
     "models.a.architecture: expected one of unet, article, article-described, found 'resnet'."),
    (model(encoder=34), "models.a.encoder: expected a string, found 34."),
    (model(resize_mode="crop"), "models.a.resize_mode: expected one of pad, resize, found 'crop'."),
    (model(decoder_channels=[64, 32]), "models.a.decoder_channels: expected four or five numbers of channels,"
     " found [64, 32]."),
    (model(input_size=112), "models.a.input_size: expected a multiple of 32, found 112; change or remove it."),
    (model(architecture="article", input_size=112),
     "models.a.input_size: expected a multiple of 32, found 112; change or remove it."),
    (model(decoder_channels=[64, 48, 0, 24, 16]),
     "models.a.decoder_channels.2: expected an integer, at least 1, at most 4096, found 0."),
    (model(decoder_channels="64"), "models.a.decoder_channels: expected a list, found '64'."),
    (model(input_size=100),
     "models.a.input_size: expected an integer, at least 32, at most 8192, a multiple of 16 or null, found"
     " 100."),
    (model(loss="jaccard"), f"models.a.loss: {LOSS}, found 'jaccard'."),
    (model(loss="bce + bce"), f"models.a.loss: {LOSS}, found 'bce + bce'."),
    (model(loss="0*bce"), f"models.a.loss: {LOSS}, found '0*bce'."),
    (model(loss="1e999*bce"), f"models.a.loss: {LOSS}, found '1e999*bce'."),
    (model(loss="1.2.3*bce"), f"models.a.loss: {LOSS}, found '1.2.3*bce'."),
    (model(loss="-1*bce"), f"models.a.loss: {LOSS}, found '-1*bce'."),
    (model(depth_channels=2), "models.a.depth_channels: expected true or false, found 2."),
    (model(channels=3), "models.a.channels: unknown key, did you mean models.a.depth_channels?"),
    (model(decoder_attention="se"), "models.a.decoder_attention: expected one of none, scse, found 'se'."),
    (model(epochs=0), "models.a.epochs: expected an integer, at least 1, found 0."),
    (model(epochs="null"), "models.a.epochs: expected an integer, at least 1, found None."),
    (model(learning_rate=0), "models.a.learning_rate: expected a number, above 0, found 0."),
    (model(learning_rate="nan"), "models.a.learning_rate: expected a number, above 0, found 'nan'."),
    (model(learning_rate=float("inf")), "models.a.learning_rate: expected a number, above 0, found inf."),
    (model(weight_decay=-1), "models.a.weight_decay: expected a number, at least 0, found -1."),
    (model(ema_decay=1), "models.a.ema_decay: expected a number, above 0, below 1, found 1."),
    (model(weight_averaging=0.9), "models.a.weight_averaging: expected one of ema, swa, none, found 0.9."),
    (model(augment={"hflip": 1.5}), "models.a.augment.hflip: expected a number, at least 0, at most 1, found 1.5."),
    (model(augment={"hflip": True}), "models.a.augment.hflip: expected a number, found True."),
    (model(augment={"rotate": 90}),
     "models.a.augment.rotate: expected a number, at least 0, at most 45, found 90."),
    (model(augment={"crop": 1}), "models.a.augment.crop: expected a number, at least 0, below 1, found 1."),
    (model(keep_weights="first"), "models.a.keep_weights: expected one of last, best_score, best_loss, found 'first'."),
    ({"models": {"float": {"epochs": 0}}}, "models.float.epochs: expected an integer, at least 1, found 0."),
    ({**MODELS, "predict": {"tta": "vertical"}}, "predict.tta: expected one of none, hflip, found 'vertical'."),
    ({**MODELS, "ensemble": {"weights": {"a": 0.5}}},
     "ensemble.weights.a: expected an integer, at least 1, found 0.5."),
    ({"models": {"int": {}}, "ensemble": {"weights": {"int": 0}}},
     "ensemble.weights.int: expected an integer, at least 1, found 0."),
    ({**MODELS, "ensemble": {"weights": "serch"}},
     "ensemble.weights: expected a mapping or search, found 'serch'."),
    ({**MODELS, "threshold": {"value": "best"}},
     "threshold.value: expected search or an integer, at least 0, at most 255, found 'best'."),
    ({**MODELS, "threshold": {"value": 256}},
     "threshold.value: expected search or an integer, at least 0, at most 255, found 256."),
    ({**MODELS, "threshold": {"value": True}},
     "threshold.value: expected search or an integer, at least 0, at most 255, found True."),
    ({**MODELS, "threshold": {"min_area": -1}},
     "threshold.min_area: expected search or an integer, at least 0, found -1."),
    ({**MODELS, "runtime": {"log_level": "loud"}},
     "runtime.log_level: expected one of debug, info, warning, found 'loud'."),
    # Models.
    ({}, "models: required key is missing; add it to the configuration."),
    ({"models": {}}, "models: expected at least one model."),
    ({"models": ["a"]}, "models: expected a mapping, found ['a']."),
    ({"models": {"a": 3}}, "models.a: expected a mapping, found 3."),
    ({"models": {"a b": {}}}, f"models.a b: expected a name made of {NAMES}, found 'a b'."),
    ({"models": {"a": {"extends": "b"}}}, "models.a.extends: unknown model 'b'; available models: a."),
    ({"models": {"a": {"extends": ["a"]}}}, "models.a.extends: unknown model ['a']; available models: a."),
    ({"models": {"a": {"extends": "b"}, "b": {"extends": "c"}, "c": {}, "d": {"extends": "e"}}},
     "models.d.extends: unknown model 'e'; available models: a, b, c, d."),
    ({"models": {1: {}, 2: {"extends": 3}}}, "models.2.extends: unknown model 3; available models: 1, 2."),
    ({"models": {"a": {"extends": "b"}, "b": {"extends": "a"}}},
     "models.a.extends: a -> b -> a is circular; remove one `extends`."),
    (model(extends="a"), "models.a.extends: a -> a is circular; remove one `extends`."),
    ({"models": {"a": {"extends": "b"}, "b": 3}}, "models.b: expected a mapping, found 3."),
    # Constraints between keys.
    (model(decoder_attention="scse", decoder_channels=[64, 48, 32, 16, 8]),
     "models.a.decoder_channels: scse requires at least 16 channels in each block, found"
     " [64, 48, 32, 16, 8]."),
    (model(architecture="article", hypercolumn=True),
     "models.a.hypercolumn: True requires architecture: unet, found architecture: article; remove one of them."),
    ({"models": {"a": {"depth_channels": True}, "b": {"extends": "a", "architecture": "article-described"}}},
     "models.b.depth_channels: True requires architecture: unet,"
     " found architecture: article-described; remove one of them."),
    (model(init_from="b"), "models.a.init_from: unknown model 'b'; available models: a."),
    (model(teacher="b"), "models.a.teacher: unknown model 'b'; available models: a."),
    (model(init_from="a"), "models: a -> a is circular; remove one init_from or teacher."),
    ({"models": {"a": {"init_from": "b"}, "b": {"teacher": "c"}, "c": {"init_from": "a"}}},
     "models: a -> b -> c -> a is circular; remove one init_from or teacher."),
    ({**MODELS, "folds": {"selected": [5]}},
     "folds.selected: expected distinct folds from 0 to 4 (folds.n_splits is 5), found [5]."),
    ({**MODELS, "folds": {"n_splits": 3, "selected": [0, 3]}},
     "folds.selected: expected distinct folds from 0 to 2 (folds.n_splits is 3), found [0, 3]."),
    ({**MODELS, "folds": {"selected": []}},
     "folds.selected: expected distinct folds from 0 to 4 (folds.n_splits is 5), found []."),
    ({**MODELS, "folds": {"selected": [1, 1]}},
     "folds.selected: expected distinct folds from 0 to 4 (folds.n_splits is 5), found [1, 1]."),
    ({**MODELS, "data": {"source": "directory"}},
     "data.directory: set the folder or zip of the dataset (required by data.source: directory)."),
    ({**MODELS, "data": {"source": "directory", "directory": ""}},
     "data.directory: set the folder or zip of the dataset (required by data.source: directory)."),
    ({**MODELS, "ensemble": {"models": ["b"]}}, "ensemble.models: unknown model 'b'; available models: a."),
    ({**MODELS, "ensemble": {"models": []}},
     "ensemble.models: expected distinct models, at least one; to weight them, use ensemble.weights."),
    ({**MODELS, "ensemble": {"models": ["a", "a"]}},
     "ensemble.models: expected distinct models, at least one; to weight them, use ensemble.weights."),
    ({**MODELS, "ensemble": {"weights": {"b": 2}}}, "ensemble.weights: unknown model 'b'; available models: a."),
]  # fmt: skip


@pytest.mark.parametrize(
    ("config", "message"), [pytest.param(*case, id=f"{k}-{case[1][:30]}") for k, case in enumerate(INVALID)]
)
def test_error_message_is_one_sentence(config: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(message)}") as caught:
        load(config)
    error = str(caught.value)
    assert error == message or not message.endswith("."), error
    assert "\n" not in error and error.endswith((".", "?"))


def test_models_that_are_not_required_are_validated_too() -> None:
    with pytest.raises(UserError, match=r"models\.b\.epochs"):
        load({"models": {"a": {}, "b": {"epochs": 0}}, "ensemble": {"models": ["a"]}})


def test_unknown_keys_are_reported_before_missing_keys() -> None:
    with pytest.raises(UserError, match=r"^modles: unknown key, did you mean models\?$"):
        load({"modles": {"a": {}}})


# --- ensemble and required models


def test_required_models_follow_init_from_and_teacher() -> None:
    models = {
        "student": {"teacher": "base", "init_from": "warm"},
        "unused": {"init_from": "base"},
        "warm": {"init_from": "start"},
        "start": {},
        "base": {},
        "other": {},
    }
    settings = load({"models": models, "ensemble": {"models": ["student"]}})
    assert settings.ensemble_models == ["student"]
    assert settings.required_models == ["student", "warm", "start", "base"]
    everything = load({"models": models})
    assert everything.ensemble_models == everything.required_models == list(models)
    reordered = load({"models": models, "ensemble": {"models": ["other", "start"]}})
    assert reordered.ensemble_models == ["other", "start"], "in the order of ensemble.models"
    assert reordered.required_models == ["start", "other"], "in the order of models"


@st.composite
def graphs(draw: st.DrawFn) -> tuple[dict[str, dict[str, str | None]], list[str]]:
    count = draw(st.integers(1, 7))
    models: dict[str, dict[str, str | None]] = {}
    for k in range(count):
        earlier = st.sampled_from([None, *models])
        models[f"m{k}"] = {"init_from": draw(earlier), "teacher": draw(earlier)}
    order = draw(st.permutations(list(models)))
    ensemble = draw(st.lists(st.sampled_from(order), min_size=1, unique=True))
    return {name: models[name] for name in order}, ensemble


@given(graphs())
def test_required_models_are_the_closure_of_the_ensemble(
    graph: tuple[dict[str, dict[str, str | None]], list[str]],
) -> None:
    models, ensemble = graph
    settings = load({"models": models, "ensemble": {"models": ensemble}})
    required = set(ensemble)
    for _ in models:
        required |= {source for name in required for source in models[name].values() if source}
    assert settings.required_models == [name for name in models if name in required]


def test_selected_folds() -> None:
    assert load({**MODELS}).folds.selected_folds == [0, 1, 2, 3, 4]
    assert load({**MODELS, "folds": {"n_splits": 3, "selected": [2, 0]}}).folds.selected_folds == [0, 2]


# --- tile counts


@pytest.mark.parametrize(
    ("dataset", "counts"),
    [
        ({}, (4000, 18000)),
        ({"source": "kaggle", "train_tiles": 3, "test_tiles": None}, (3, 18000)),
        ({"source": "synthetic"}, (600, 300)),
        ({"source": "synthetic", "test_tiles": "12"}, (600, 12)),
        ({"source": "directory", "directory": "x"}, (None, None)),
        ({"source": "directory", "directory": "x", "train_tiles": 5}, (5, None)),
    ],
)
def test_default_tile_counts_of_each_source(dataset: dict[str, Any], counts: tuple[int | None, int | None]) -> None:
    data = load({**MODELS, "data": dataset}).data
    assert (data.train_tiles, data.test_tiles) == counts


# --- sections and files


def test_parse_section() -> None:
    text = json.dumps({"folds": {"n_splits": 3}, "other": 1})
    assert parse_section(text, "folds", Folds) == Folds(n_splits=3)
    assert parse_section('{"runtime": {}}', "runtime", Runtime) == Runtime()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"--settings: invalid JSON \(.+\)\."),
        ("[]", r"--settings: expected a JSON object of sections\."),
        ('{"survy": {}}', r"--settings: section 'data' is missing, found survy\."),
        ('{"data": {"sead": 1}}', r"data\.sead: unknown key, did you mean data\.seed\?"),
        ('{"data": {"tile_size": 1}}', r"data\.tile_size: expected an integer, at least 16.*, found 1\."),
        ('{"data": 5}', r"data: expected a mapping, found 5\."),
        ('{"data": {"source": "directory"}}', r"data\.directory: set the folder or zip.*\."),
    ],
)
def test_parse_section_errors(text: str, message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}$"):
        parse_section(text, "data", Data)


def test_later_files_override_earlier_ones(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("name: one\nfolds: {n_splits: 3, seed: 1}\nmodels:\n  a: {epochs: 2, seed: 5}\n")
    (tmp_path / "b.yaml").write_text("folds: {n_splits: 4}\nmodels:\n  a: {epochs: 9}\n  b: {extends: a}\n")
    (tmp_path / "c.yaml").write_text("# only a comment\n")
    settings = load_files(tmp_path / "a.yaml", tmp_path / "b.yaml", tmp_path / "c.yaml")
    assert (settings.name, settings.folds.n_splits, settings.folds.seed) == ("one", 4, 1)
    assert [(m.epochs, m.seed) for m in settings.models.values()] == [(9, 5), (9, 5)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [", "invalid YAML: while parsing a flow node"),
        (b"\xff\xfe\xff", "invalid YAML: "),
        (b"name: 2020-13-45", "invalid YAML: month must be in 1..12"),
        (b"- a", "expected top-level keys such as `name:` and `models:`."),
        (None, "cannot be read (No such file or directory); name a configuration file."),
    ],
)
def test_invalid_files(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "c.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=f"^{re.escape(f'{path}: {message}')}"):
        load_files(path)


# --- losses


@given(
    st.dictionaries(
        st.sampled_from(["bce", "dice", "lovasz"]), st.sampled_from([None, "0.2", "1e-3", "3", "2.50"]), min_size=1
    ),
    st.sampled_from(["+", " + ", "  +"]),
    st.sampled_from(["*", " * "]),
)
def test_parse_loss(terms: dict[str, str | None], plus: str, times: str) -> None:
    text = plus.join(name if factor is None else f"{factor}{times}{name}" for name, factor in terms.items())
    assert parse_loss(text) == {name: float(factor or 1) for name, factor in terms.items()}


# --- arbitrary values

keys = st.one_of(
    st.sampled_from(sorted({*Settings.model_fields, *Data.model_fields, *Folds.model_fields, *Model.model_fields})),
    st.sampled_from(
        ["a", "b", "models", "value", "min_area", "inner_splits", "weights", "float", "int", "tta", "hflip"]
    ),
    st.text(max_size=4),
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=6),
    st.sampled_from(["a", "b", "null", "search", "synthetic", "directory", "0.2*bce + lovasz", "1e-3", "4", 10**400]),
)
anything = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=4)),
    max_leaves=8,
)
some_model = st.one_of(st.dictionaries(st.sampled_from([*Model.model_fields, "modle"]), anything, max_size=4), anything)
some_models = st.one_of(
    st.dictionaries(st.one_of(st.sampled_from(["a", "b", "c"]), keys), some_model, max_size=3), anything
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            **{name: anything for name in Settings.model_fields if name != "models"},
            "models": some_models,
            "other": anything,
        },
    )
)
@example({"models": {"a": {"extends": []}}})
@example({"models": {"a": {"extends": {"b": 1}}}})
@example({"models": {"a": {}}, "ensemble": {"weights": {"a": "1" * 5000}}})
def test_arbitrary_values_load_or_raise_one_sentence(config: dict[str, Any]) -> None:
    try:
        settings = load(config)
    except UserError as error:
        assert str(error).rstrip().endswith((".", "?"))
    else:
        assert set(settings.required_models) <= set(settings.models) and settings.ensemble_models
        assert load(settings.model_dump()) == settings


@given(st.dictionaries(st.one_of(keys, st.integers(), st.none(), st.booleans()), anything, max_size=4))
def test_arbitrary_keys_load_or_raise_one_sentence(config: dict[Any, Any]) -> None:
    try:
        settings = load(config)
    except UserError as error:
        assert str(error).rstrip().endswith((".", "?"))
    else:
        assert settings.models
