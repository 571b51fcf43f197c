# The settings and what the rules share. The logic is in src/tgs_salt/graph.py; this file holds no rules.

import json
import os
import sys
from contextlib import contextmanager
from pathlib import Path

from snakemake.exceptions import WorkflowError

SRC = str(Path(workflow.basedir).resolve() / "src")
sys.path.insert(0, SRC)
# Jobs run the Python that runs Snakemake and import the package from this checkout, without an installation.
os.environ.update(
    PYTHONPATH=os.pathsep.join(filter(None, [SRC, os.environ.get("PYTHONPATH")])),
    PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
)

from tgs_salt import graph
from tgs_salt.errors import UserError
from tgs_salt.provenance import rule_digest


@contextmanager
def user_errors():
    """Turn a UserError into the exception that Snakemake prints without a traceback."""
    try:
        yield
    except UserError as error:
        raise WorkflowError(str(error)) from None


with user_errors():
    SETTINGS = graph.load_settings(config, workflow.configfiles)
    DATA = SETTINGS.data
    DATA_FILES = graph.data_source_files(DATA)

# Jobs get these from the environment, because a changed parameter would rerun them.
os.environ.update(
    TGS_SALT_RUNTIME=json.dumps({"runtime": SETTINGS.runtime.model_dump()}),
    # A training run whose Snakemake process has ended keeps its checkpoint for the next run.
    TGS_SALT_SNAKEMAKE=str(os.getpid()),
)


def repeat_option(option):
    """Return a parameter: `--option path` for each path of the input of the same name."""
    return lambda wildcards, input: graph.repeat_option(option, input[option])


def submission_file(wildcards):
    """Return the input of `submit`."""
    with user_errors():
        return graph.submission_file(SETTINGS)


def rerun_options():
    """Return the options that make a snakemake command apply to the experiment of this run."""
    gpus = dict(workflow.global_resources.unwrapped_items()).get("gpu", 1)
    given = workflow.config_settings
    return graph.rerun_options(gpus, given.configfiles, given.config)


def warn_unused_models():
    """Print the models of the user's own configuration files that are not trained."""
    graph.warn_unused_models(SETTINGS, workflow.config_settings.overwrite_config.get("models", SETTINGS.models))
