"""A Snakemake logger plugin (`--logger jobs`) that writes one line of JSON for each planned or started job.

Snakemake finds it by its module name on PYTHONPATH. The environment variable SNAKEMAKE_JOBS_FILE names the file.
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
        with open(os.environ["SNAKEMAKE_JOBS_FILE"], "a") as stream:
            stream.write(json.dumps(job) + "\n")
