"""The command line: one sub-command per rule of the workflow, and a few for people.

Each command imports what it needs when it runs: torch and SMP cost seconds that `check` should not pay.
Rules pass their settings as one JSON literal, so the command that Snakemake prints can be pasted into a shell.
"""

# In the order in which `tgs-salt --help` lists them.
from tgs_salt.cli import config, data, training, postprocessing, submission, report, inference  # isort: skip
from tgs_salt.cli.app import app, main

__all__ = ["app", "config", "data", "inference", "main", "postprocessing", "report", "submission", "training"]
