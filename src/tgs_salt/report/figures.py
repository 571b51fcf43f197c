"""Pictures of the report, as SVG text."""

from __future__ import annotations

import io

import matplotlib
import pandas as pd

matplotlib.use("svg")
from matplotlib import pyplot
from matplotlib.figure import Figure

# Text stays text, and the same data gives the same bytes.
matplotlib.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "tgs-salt"}


def learning_curves(histories: dict[str, pd.DataFrame]) -> str:
    """Loss and score over the epochs, a line for each model and fold."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for name, history in histories.items():
        left.plot(history["epoch"], history["loss"], label=name)
        right.plot(history["epoch"], history["score"], label=name)
    left.set(xlabel="epoch", ylabel="training loss")
    right.set(xlabel="epoch", ylabel="score at 0.5, held-out fold")
    if len(histories) <= 10:
        right.legend(fontsize="small")
    return _svg(figure)


def threshold_curve(curve: pd.DataFrame, threshold: int) -> str:
    """Out-of-fold score over the threshold, with and without the minimum area."""
    figure, axes = pyplot.subplots(figsize=(9, 3.2), layout="constrained")
    axes.plot(curve["threshold"], curve["score"], label="with the minimum area")
    axes.plot(curve["threshold"], curve["score_without_min_area"], label="without", linestyle="--")
    axes.axvline(threshold, color="gray", linewidth=1)
    axes.set(xlabel="threshold (byte)", ylabel="score, out of fold")
    axes.legend(fontsize="small")
    return _svg(figure)


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    pyplot.close(figure)
    text = buffer.getvalue()
    return text[text.index("<svg") :]
