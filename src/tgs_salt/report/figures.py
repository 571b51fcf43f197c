"""Figures of the report as inline SVG. They use the page's CSS colors, so one SVG serves light, dark and print."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from tgs_salt.evaluation.statistics import Calibration, Group
from tgs_salt.postprocessing.threshold_search import ThresholdChoice

# Placeholders: `SvgFigure.svg` replaces them by CSS colors.
TEXT_COLOR, LINE_COLOR = "#010203", "#040506"
# Distinguishable with red-green color blindness, and legible on white and on black.
COLORS = ("#3d85c6", "#e07b39", "#1f9e77", "#b667b8", "#b08a00", "#7f8792")
STYLE: dict[str, Any] = {
    "svg.fonttype": "none", "font.size": 9, "axes.titlesize": 9, "axes.titlelocation": "left",
    "text.color": TEXT_COLOR, "axes.labelcolor": TEXT_COLOR, "axes.edgecolor": LINE_COLOR,
    "xtick.color": TEXT_COLOR, "ytick.color": TEXT_COLOR,
    "grid.color": LINE_COLOR, "axes.grid": True, "axes.axisbelow": True, "grid.linewidth": 0.6,
    "axes.spines.top": False, "axes.spines.right": False, "axes.prop_cycle": cycler(color=COLORS),
    "legend.frameon": False, "legend.fontsize": 8, "lines.linewidth": 1.6,
}  # fmt: skip
# Inches. About the width of a phone screen, so that text is never scaled down.
FIGURE_SIZE = (4.0, 2.9)
MAX_LEGEND_ENTRIES = 8
PLATEAU_TOLERANCE = 0.001  # score


class SvgFigure:
    """Context manager that creates a matplotlib figure with one set of axes and renders it to SVG.

    Args:
        name: Salt of the element ids, unique within a page.
        height: Height in inches.
    """

    def __init__(self, name: str, height: float = FIGURE_SIZE[1]) -> None:
        self.name, self.height = name, height

    def __enter__(self) -> SvgFigure:
        style: Any = {**STYLE, "svg.hashsalt": self.name}
        self._style = matplotlib.rc_context(style)
        self._style.__enter__()
        self.figure = Figure(figsize=(FIGURE_SIZE[0], self.height), layout="constrained")
        self.axes: Axes = self.figure.subplots()
        return self

    def __exit__(self, *exc_info: object) -> None:
        buffer = io.StringIO()
        if exc_info[0] is None:
            self.figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
        self._style.__exit__(None, None, None)
        self._text = buffer.getvalue()

    def svg(self, description: str) -> str:
        """Return the figure as an inline SVG element with `description` as its accessible name."""
        text = self._text[self._text.index("<svg") :]
        text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
        # Group ids repeat across figures and nothing refers to them.
        text = re.sub(r'<g id="[^"]*"', "<g", text)
        text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
        text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
        text = text.replace(TEXT_COLOR, "currentColor").replace(LINE_COLOR, "var(--line)")
        return text.replace("<svg", f'<svg role="img" aria-label="{html.escape(description)}"', 1)


def scores(table: pd.DataFrame, cross_fitted: float, interval: tuple[float, float]) -> str:
    """Plot a point for each model and fold of scores.csv, and the ensemble's score with its interval."""
    names = list(dict.fromkeys(table["model"]))
    with SvgFigure("scores", height=1.0 + 0.42 * len(names)) as figure:
        axes = figure.axes
        axes.axvspan(*interval, color=COLORS[0], alpha=0.18, linewidth=0)
        axes.axvline(cross_fitted, color=COLORS[0])
        for row, name in enumerate(names):
            folds = table[table["model"] == name]
            # Offset the folds vertically, so that equal scores do not overlap.
            heights = row + np.linspace(-0.28, 0.28, len(folds)) if len(folds) > 1 else np.array([row])
            axes.scatter(folds["cross_fitted_score"], heights, s=16, color=COLORS[row % len(COLORS)])
            for fold, score, height in zip(folds["fold"], folds["cross_fitted_score"], heights, strict=True):
                axes.annotate(str(fold), (score, height), (5, -3), textcoords="offset points", fontsize=8)
        axes.set(
            yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.5), xlabel="score of each fold"
        )
        axes.grid(axis="y", visible=False)
    low, high = interval
    return figure.svg(
        f"Cross-fitted score of each model and fold; ensemble {cross_fitted:.4f}, 95 % interval {low:.4f} to {high:.4f}"
    )


def curves(histories: Mapping[str, pd.DataFrame], column: str, label: str) -> str:
    """Plot a column of history.csv over the epochs, one line for each model and fold."""
    with SvgFigure(f"curves-{column}") as figure:
        for name, history in histories.items():
            single = len(history) == 1
            figure.axes.plot(history["epoch"], history[column], label=name, marker="o" if single else None)
        figure.axes.set(xlabel="epoch", ylabel=label)
        if column == "learning_rate":
            figure.axes.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
        if len(histories) <= MAX_LEGEND_ENTRIES:
            figure.axes.legend()
    last = ", ".join(f"{name} {history[column].iloc[-1]:.4g}" for name, history in histories.items())
    return figure.svg(f"{label.capitalize()} by epoch; last epoch: {last}")


def distributions(samples: Mapping[str, np.ndarray], label: str, name: str) -> str:
    """Plot the empirical distribution function of each sample (n,)."""
    with SvgFigure(name) as figure:
        for title, values in samples.items():
            figure.axes.ecdf(values, label=title, linewidth=1.3)
        figure.axes.set(xlabel=label, ylabel="cumulative share of tiles", ylim=(0, 1))
        figure.axes.yaxis.set_major_formatter(PercentFormatter(1))
        if len(samples) <= MAX_LEGEND_ENTRIES:
            figure.axes.legend(loc="lower right")
    return figure.svg(f"Cumulative distribution of {label}: {', '.join(samples)}")


def threshold_surface(table: np.ndarray, tiles: int, choice: ThresholdChoice) -> str:
    """Plot the score by threshold and minimum area, with the chosen pair and a contour around near-optimal pairs.

    Args:
        table: Score sums in tenths, (256, areas) int64, see `kernels.threshold_table`.
        tiles: Number of tiles that the sums are over.
        choice: The chosen threshold and minimum area.
    """
    scores = table / (10 * tiles)
    max_area = min(max(4 * choice.min_area, table.shape[1] // 25, 8), table.shape[1] - 1)
    visible = scores[:, : max_area + 1]
    with SvgFigure("plateau") as figure:
        axes = figure.axes
        # Clip the color scale, or most shades would go to thresholds far from the optimum.
        floor = float(np.quantile(visible, 0.25))
        extent = (-0.5, 255.5, -0.5, max_area + 0.5)
        image = axes.imshow(visible.T, origin="lower", aspect="auto", extent=extent, vmin=floor, cmap="viridis")
        if visible.min() < choice.score - PLATEAU_TOLERANCE:
            axes.contour(
                np.arange(256), np.arange(max_area + 1), visible.T,
                levels=[choice.score - PLATEAU_TOLERANCE], colors="white", linewidths=1.0,
            )  # fmt: skip
        axes.plot(choice.threshold, choice.min_area, "o", color="white", markeredgecolor="black", clip_on=False)
        axes.set(xlabel="threshold (byte)", ylabel="minimum area (pixels)")
        axes.grid(visible=False)
        figure.figure.colorbar(image, label="in-sample score", extend="min")
    return figure.svg(
        f"Score by threshold and minimum area: best {choice.score:.4f} at threshold {choice.threshold} and minimum "
        f"area {choice.min_area}; the contour encloses pairs within {PLATEAU_TOLERANCE} of it"
    )


def calibration(curve: Calibration) -> str:
    """Plot the observed salt share by predicted probability. The size of a dot grows with its number of pixels."""
    with SvgFigure("calibration") as figure:
        axes = figure.axes
        axes.plot([0, 1], [0, 1], color=TEXT_COLOR, linewidth=0.8, linestyle="--")
        axes.plot(curve.predicted, curve.observed)
        axes.scatter(curve.predicted, curve.observed, s=8 + 120 * np.sqrt(curve.pixels / curve.pixels.sum()))
        axes.set(xlabel="predicted probability of salt", ylabel="observed share of salt pixels")
        axes.set(xlim=(0, 1), ylim=(0, 1))
    return figure.svg(f"Calibration curve of pixel probabilities; expected calibration error {curve.error:.4f}")


def bars(groups: Sequence[Group], label: str, name: str) -> str:
    """Plot the mean score of each group of tiles, with its number of tiles."""
    with SvgFigure(name, height=0.9 + 0.24 * len(groups)) as figure:
        axes = figure.axes
        rows = np.arange(len(groups))
        axes.barh(rows, [group.score for group in groups], height=0.7)
        for row, group in enumerate(groups):
            axes.text(1.02, row, f"{group.tiles:,}", va="center", fontsize=8)
        axes.text(1.02, -0.75, "tiles", va="bottom", fontsize=8)
        axes.set(yticks=rows, yticklabels=[group.name for group in groups], xlim=(0, 1), xlabel="score", ylabel=label)
        axes.set_ylim(len(groups) - 0.5, -0.75)
        axes.grid(axis="y", visible=False)
    values = ", ".join(f"{group.name}: {group.score:.3f}" for group in groups)
    return figure.svg(f"Score by {label}: {values}")
