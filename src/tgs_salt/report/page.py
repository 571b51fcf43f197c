"""`report`: one self-contained page about an experiment.

python -m tgs_salt report --experiment results/tgs --history .../history.csv --output results/tgs/report.html
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from tgs_salt import files
from tgs_salt.log import logger
from tgs_salt.report import figures
from tgs_salt.survey.tiles import read_table

SCORES = {
    "model": "str",
    "fold": "int64",
    "tiles": "int64",
    "score_at_half": "float64",
    "cross_fitted_score": "float64",
}
CURVE = {"threshold": "int64", "score": "float64", "score_without_min_area": "float64"}
HISTORY = {"epoch": "int64", "learning_rate": "float64", "loss": "float64", "score": "float64"}


def page(experiment: Path, histories: list[Path], output: Path) -> None:
    """Write the page from threshold.json, threshold.csv and scores.csv of `experiment` and the training histories.

    Raises UserError if one of them is missing or is not what it should be.
    """
    decision = files.read_json(experiment / "threshold.json")
    curve = read_table(experiment / "threshold.csv", CURVE)
    curves: dict[str, pd.DataFrame] = {
        f"{path.parent.parent.name} {path.parent.name}": read_table(path, HISTORY) for path in histories
    }
    pages = Environment(
        loader=PackageLoader("tgs_salt.report", "."),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
    )
    html = pages.get_template("page.html.j2").render(
        name=experiment.name,
        decision=decision,
        scores=read_table(experiment / "scores.csv", SCORES).to_dict("records"),
        curves=figures.learning_curves(curves),
        threshold=figures.threshold_curve(curve, decision["threshold"]),
    )
    files.write_text(output, html)
    logger.info(f"wrote {output}")
