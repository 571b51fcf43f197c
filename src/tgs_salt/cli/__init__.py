"""Command line: one sub-command per rule of the workflow, and some for interactive use.

Commands import what they need when they run: importing torch takes seconds, which `check-submission` should not pay.
Rules pass settings as one JSON literal, so a command that Snakemake prints can be pasted into a shell.
"""

# The order of the imports is the order of the commands in `tgs-salt --help`.
from tgs_salt.cli import config, data, training, postprocessing, submission, report, inference  # isort: skip
from tgs_salt.cli.app import app, main

__all__ = ["app", "config", "data", "inference", "main", "postprocessing", "report", "submission", "training"]
