"""`report`: one self-contained page about an experiment, of whatever is there.

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


def page(folder: Path, output: Path, settings: str | None = None, threads: int = 1) -> None:
    """Write the page about the experiment in `folder`; the same artefacts give the same bytes.

    `settings`: the effective settings as JSON, where settings.json of the folder is not to be asked. What is not made
    yet leaves its section out with a sentence. Raises UserError if a file is there but is not what it should be.
    """
    experiment = Experiment(folder, settings)
    evaluation = evaluate_oof(experiment, threads)
    asked = summarize_test(experiment)
    pages = Environment(
        loader=PackageLoader("tgs_salt.report", "."),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = pages.get_template("page.html.j2").render(
        name=experiment.name,
        score=sections.score(experiment, evaluation, threads),
        failures=sections.failures(experiment, evaluation),
        tile_gallery=tile_gallery(experiment, evaluation, asked),
        threshold_surface=sections.threshold_surface(evaluation),
        learning=sections.learning(experiment),
        folds=sections.folds(experiment),
        submission=sections.submission(experiment, evaluation, asked),
        notices=notices.notices(experiment, evaluation),
        advice=notices.advice(experiment, evaluation),
        versions=notices.versions(),
        settings=yaml.safe_dump(experiment.settings, sort_keys=False) if experiment.settings else None,
    )
    files.write_text(output, html)
    logger.info(f"wrote {output}, {len(html.encode()) / 1e6:.1f} MB")
