# The settings, and what the rules ask of them: functions, no rules.

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

ROOT = Path(workflow.basedir).resolve()
sys.path.insert(0, str(ROOT / "src"))
# Jobs find the package without an installation, and the python that runs Snakemake, also in an unactivated environment.
os.environ.update(
    PYTHONPATH=os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")])),
    PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
)

from tgs_salt import files
from tgs_salt.errors import UserError
from tgs_salt.settings import load, read_yaml
from tgs_salt.provenance import rule_digest
from tgs_salt.kaggle import kaggle_input_dir
from tgs_salt.synthetic import SYNTHETIC_FILES, synthetic_folder


def checked_settings():
    try:
        for path in workflow.configfiles:
            read_yaml(Path(path))  # Snakemake takes the later of two equal keys without a word
        return load(config)
    except UserError as problem:
        raise WorkflowError(f"configuration: {problem}") from None


SETTINGS = checked_settings()
DATA = SETTINGS.data
# In a Kaggle notebook the competition lies there already; it is then read in place, like a directory.
MOUNT = kaggle_input_dir(DATA.competition) if DATA.source == "kaggle" else None
# What must never cause a rerun goes to the jobs by the environment: a parameter would be compared.
os.environ.update(TGS_SALT_RUNTIME=json.dumps({"runtime": SETTINGS.runtime.model_dump()}))
# A training that outlives this process leaves its checkpoint to the next one.
os.environ.update(TGS_SALT_SNAKEMAKE=str(os.getpid()))


def section(**parts):
    """Settings of a rule as one JSON literal; a rule reruns when the literal changes.

    It leaves out what changes no byte: whom a model inherits from, and how many jobs share a prediction.
    """
    return json.dumps(
        {name: part.model_dump(mode="json", exclude={"extends", "shards"}) for name, part in parts.items()},
        sort_keys=True,
    )


def effective():
    """The settings that matter to this experiment, for people and for the report."""
    models = {name: SETTINGS.models[name].model_dump(mode="json", exclude={"extends"}) for name in SETTINGS.needed}
    parts = {
        "data": DATA.model_dump(mode="json", include={"source", "competition", "tile_size"}),
        "folds": SETTINGS.folds.model_dump(mode="json"),
        "models": models,
    }
    parts |= {name: getattr(SETTINGS, name).model_dump(mode="json") for name in ("predict", "ensemble", "threshold")}
    return json.dumps(parts)


def dataset_section(*keys):
    """Those keys of `dataset` that a rule uses, as one JSON literal; a seed of no use must not pack again."""
    return json.dumps({"data": DATA.model_dump(mode="json", include=set(keys))}, sort_keys=True)


def prediction_code(wildcards):
    """The code that predicts, so that a change of it predicts again; not for a teacher, whose students would train."""
    teachers = {SETTINGS.models[name].teacher for name in SETTINGS.needed}
    return "" if wildcards.model in teachers else rule_digest("predict")


def dataset_place():
    """The folder or zip that pack reads."""
    if DATA.source == "synthetic":
        return synthetic_folder(DATA)
    if DATA.source == "kaggle":
        return MOUNT or f"data/{DATA.competition}/{DATA.competition}.zip"
    return os.path.normpath(os.path.expanduser(DATA.directory))


def dataset_files():
    """What the dataset's place is judged by: files that a rule makes, or those that a directory source holds."""
    place = dataset_place()
    if DATA.source == "synthetic":
        return [f"{place}/{name}" for name in SYNTHETIC_FILES]
    if DATA.source == "kaggle" and not MOUNT:
        return [f"data/{DATA.competition}/{DATA.competition}.json"]
    if os.path.isfile(place):
        return [place]
    if not os.path.isdir(place):
        raise WorkflowError(
            f"data.directory: there is no folder or zip {place} (paths are relative to {os.getcwd()})."
        )
    # A note or a log beside them is none of the dataset's business.
    ours = [name for name in os.listdir(place) if name.endswith((".csv", ".zip")) or os.path.isdir(f"{place}/{name}")]
    return sorted(f"{place}/{name}" for name in ours if not name.startswith("."))


def stage_inputs(wildcards):
    """What a model of several stages needs of the model before it, same fold."""
    model = SETTINGS.models[wildcards.model]
    needs = {}
    if model.architecture == "unet" and model.encoder_weights not in ("bundled", "imagenet", "none"):
        needs["encoder_weights"] = model.encoder_weights
    if model.init_from:
        needs["init_from"] = f"<results>/models/{model.init_from}/fold{wildcards.fold}/model.pt"
    if model.teacher:
        teacher = f"<results>/models/{model.teacher}/fold{wildcards.fold}"
        needs |= {
            "teacher_oof": f"{teacher}/oof.npy",
            "teacher_test": f"{teacher}/test.npy",
            "test_images": "<results>/data/test_images.npy",
        }
    return needs


def stage_options(wildcards, input):
    """The options of `train` that name those inputs."""
    names = ("init_from", "teacher_oof", "teacher_test", "test_images")
    return " ".join(f"--{name.replace('_', '-')} {input[name]}" for name in names if name in input.keys())


def predictions(split):
    """One array for each voting model in turn, and each fold within it."""
    return [
        f"<results>/models/{model}/fold{fold}/{split}.npy" for model in SETTINGS.voters for fold in SETTINGS.folds.used
    ]


def repeated(option):
    """`--option path` for each of an input's paths."""
    return lambda wildcards, input: " ".join(f"--{option} {path}" for path in input[option])


def submittable(wildcards):
    """The file that `submit` sends. Raises WorkflowError for a synthetic dataset: no competition accepts it."""
    if DATA.source == "synthetic":
        raise WorkflowError("submit: this dataset is synthetic, so there is no competition for it; set data.source.")
    return "<results>/submission.csv"


def tell_untrained():
    """A line on those of the user's own models that are not trained: one that nobody needs looks like a forgotten one."""
    own = workflow.config_settings.overwrite_config.get("models", SETTINGS.models)
    idle = [name for name in SETTINGS.models if name in own and name not in SETTINGS.needed]
    if idle:
        print(
            f"Not trained, for they neither vote (ensemble.models: {', '.join(SETTINGS.voters)}) "
            f"nor does a voter start or learn from them: {', '.join(idle)}",
            file=sys.stderr,
        )


def write_settings():
    """settings.json, by which `status` knows from the first minute what will be trained. No rule reads it."""
    files.write_json(f"results/{SETTINGS.name}/settings.json", json.loads(effective()))


def refresh_report():
    """Put the receipt's scores on the page. It is no input of the rule: a receipt must not make `all` run anything."""
    experiment = f"results/{SETTINGS.name}"
    page, sent = f"{experiment}/report.html", f"{experiment}/submitted.json"
    if os.path.exists(page) and os.path.exists(sent) and os.path.getmtime(page) < os.path.getmtime(sent):
        subprocess.run([sys.executable, "-m", "tgs_salt", "report", experiment, "--settings", effective()])


def forget_checkpoints():
    """Remove what no training goes on from. A trainer that outlived its Snakemake leaves its checkpoint to the next one,
    which may have given the job up before the weights came and then found them there; `--force` has to train again."""
    for model in SETTINGS.needed:
        for fold in SETTINGS.folds.used:
            folder = Path(f"results/{SETTINGS.name}/models/{model}/fold{fold}")
            if (folder / "model.pt").exists():
                shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def same_options():
    """Options of snakemake by which a command is about the experiment of this run."""
    given = workflow.config_settings
    gpus = dict(workflow.global_resources.unwrapped_items()).get("gpu", 1)
    same = [] if gpus == 1 else [f" --resources gpu={gpus}"]
    if given.configfiles:
        same.append(f" --configfile {shlex.join(map(os.path.relpath, given.configfiles))}")
    if given.config:
        same.append(f" --config {shlex.join(f'{key}={value}' for key, value in given.config.items())}")
    return "".join(same)


def show_status():
    """The end table, with commands that name the configuration of this run."""
    experiment = f"results/{SETTINGS.name}"
    if not os.path.isdir(experiment):
        return
    competition = "" if DATA.source == "synthetic" else DATA.competition
    tell_untrained()
    subprocess.run(
        [sys.executable, "-m", "tgs_salt", "status", experiment]
        + ["--competition", competition, "--same", same_options()]
    )


def explain_failure():
    print(
        "A job failed or was stopped: its log is above, and its last line says why (if it is no `error:`, the job was "
        "killed, most often for want of memory). Finished work is kept; when that is mended, the same command goes on "
        "from there.",
        file=sys.stderr,
    )
    # What follows a job that runs is run as well, whatever bytes it made.
    experiment = Path(f"results/{SETTINGS.name}")
    if not (experiment / "data" / "tiles.csv").exists() and any(experiment.glob("models/*/fold*/model.pt")):
        print(
            "Models are trained, but their dataset is not packed. When it is mended, pack it by itself, or they are "
            f"trained again even if it is the same: snakemake {experiment}/data/tiles.csv {experiment}/folds.csv --cores all{same_options()}",
            file=sys.stderr,
        )
