"""A logger plugin of Snakemake (`--logger jobs`): one line of JSON for each job that it would run or runs.

Snakemake finds it by its name when this folder is on the path; the lines go to the file that SNAKES_JOBS names.
"""

from __future__ import annotations

import json
import os
from logging import LogRecord

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent


class LogHandler(LogHandlerBase):
    writes_to_stream = False
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = False

    def emit(self, record: LogRecord) -> None:
        if getattr(record, "event", None) != LogEvent.JOB_INFO:
            return
        job = {
            "rule": record.rule_name,
            "wildcards": dict(record.wildcards or {}),
            "reason": record.reason,
            "output": [str(path) for path in record.output or []],
        }
        with open(os.environ["SNAKES_JOBS"], "a") as stream:
            stream.write(json.dumps(job) + "\n")
