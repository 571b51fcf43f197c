"""Command `report`: one self-contained HTML page about an experiment, finished or not.

python -m tgs_salt report results/tgs
"""

from __future__ import annotations

from pathlib import Path

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from tgs_salt import files
from tgs_salt.evaluation.experiment import Experiment
from tgs_salt.evaluation.out_of_fold import evaluate_oof, summarize_test
from tgs_salt.log import logger
from tgs_salt.report import notices, sections
from tgs_salt.report.tile_gallery import tile_gallery


def write_report(folder: Path, output: Path, settings: str | None = None, threads: int = 1) -> None:
    """Write the report of the experiment in `folder`; the same files give the same bytes.

    A section whose files do not exist yet holds one sentence that says so.

    Args:
        folder: Results folder of the experiment.
        output: HTML file to write.
        settings: Effective settings as JSON; None reads the folder's settings.json.
        threads: Threads of the numba kernels.

    Raises:
        UserError: The folder does not exist, or one of its files is damaged.
    """
    experiment = Experiment(folder, settings)
    evaluation = evaluate_oof(experiment, threads)
    test_summary = summarize_test(experiment)
    environment = Environment(
        loader=PackageLoader("tgs_salt.report", "."),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template("page.html.j2").render(
        name=experiment.name,
        score=sections.score(experiment, evaluation, threads),
        errors=sections.errors(experiment, evaluation),
        tile_gallery=tile_gallery(experiment, evaluation, test_summary),
        threshold_surface=sections.threshold_surface(evaluation),
        training=sections.training(experiment),
        folds=sections.folds(experiment),
        submission=sections.submission(experiment, evaluation, test_summary),
        notices=notices.notices(experiment, evaluation),
        advice=notices.advice(experiment, evaluation),
        versions=notices.versions(),
        settings=yaml.safe_dump(experiment.settings, sort_keys=False) if experiment.settings else None,
    )
    files.write_text(output, html)
    logger.info(f"wrote {output}, {len(html.encode()) / 1e6:.1f} MB")
