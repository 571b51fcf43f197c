"""Pictures of the report, as SVG that takes the page's colors: one picture for light, dark and print."""

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

# Colours that the page replaces by its own.
INK, LINE = "#010203", "#040506"
# Told apart by eyes that confuse red and green, and legible on white and on black.
COLORS = ("#3d85c6", "#e07b39", "#1f9e77", "#b667b8", "#b08a00", "#7f8792")
STYLE: dict[str, Any] = {
    "svg.fonttype": "none", "font.size": 9, "axes.titlesize": 9, "axes.titlelocation": "left",
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": LINE, "xtick.color": INK, "ytick.color": INK,
    "grid.color": LINE, "axes.grid": True, "axes.axisbelow": True, "grid.linewidth": 0.6,
    "axes.spines.top": False, "axes.spines.right": False, "axes.prop_cycle": cycler(color=COLORS),
    "legend.frameon": False, "legend.fontsize": 8, "lines.linewidth": 1.6,
}  # fmt: skip
# About as wide as a telephone's screen, so that no letter is ever made small.
SIZE = (4.0, 2.9)
FEW = 8  # lines that a legend can name
PLATEAU = 0.001


class Picture:
    """One set of axes, and what becomes of it. `name` makes the ids in the picture its own."""

    def __init__(self, name: str, height: float = SIZE[1]) -> None:
        self.name, self.height = name, height

    def __enter__(self) -> Picture:
        style: Any = {**STYLE, "svg.hashsalt": self.name}
        self._style = matplotlib.rc_context(style)
        self._style.__enter__()
        self.figure = Figure(figsize=(SIZE[0], self.height), layout="constrained")
        self.axes: Axes = self.figure.subplots()
        return self

    def __exit__(self, *failure: object) -> None:
        buffer = io.StringIO()
        if failure[0] is None:
            self.figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
        self._style.__exit__(None, None, None)
        self._text = buffer.getvalue()

    def svg(self, description: str) -> str:
        """The picture as an inline element that screen readers call by `description`."""
        text = self._text[self._text.index("<svg") :]
        text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
        # Ids of groups are numbers that repeat from picture to picture, and nothing refers to them.
        text = re.sub(r'<g id="[^"]*"', "<g", text)
        text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
        text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
        text = text.replace(INK, "currentColor").replace(LINE, "var(--line)")
        return text.replace("<svg", f'<svg role="img" aria-label="{html.escape(description)}"', 1)


def scores(table: pd.DataFrame, cross_fitted: float, interval: tuple[float, float]) -> str:
    """A point for each model and fold, the ensemble above them, its score and interval behind."""
    names = list(dict.fromkeys(table["model"]))
    with Picture("scores", height=1.0 + 0.42 * len(names)) as picture:
        axes = picture.axes
        axes.axvspan(*interval, color=COLORS[0], alpha=0.18, linewidth=0)
        axes.axvline(cross_fitted, color=COLORS[0])
        for place, name in enumerate(names):
            own = table[table["model"] == name]
            # Folds a little below each other, so that equal scores can be told apart.
            heights = place + np.linspace(-0.28, 0.28, len(own)) if len(own) > 1 else np.array([place])
            axes.scatter(own["cross_fitted_score"], heights, s=16, color=COLORS[place % len(COLORS)])
            for fold, score, height in zip(own["fold"], own["cross_fitted_score"], heights, strict=True):
                axes.annotate(str(fold), (score, height), (5, -3), textcoords="offset points", fontsize=8)
        axes.set(
            yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.5), xlabel="score of each fold"
        )
        axes.grid(axis="y", visible=False)
    low, high = interval
    return picture.svg(
        f"Cross-fitted score of each model and fold as points; the ensemble has {cross_fitted:.4f}, "
        f"interval {low:.4f} to {high:.4f}"
    )


def curves(histories: Mapping[str, pd.DataFrame], column: str, label: str) -> str:
    """A column of history over the epochs, a line for each model and fold."""
    with Picture(f"curves-{column}") as picture:
        for name, history in histories.items():
            lone = len(history) == 1
            picture.axes.plot(history["epoch"], history[column], label=name, marker="o" if lone else None)
        picture.axes.set(xlabel="epoch", ylabel=label)
        if column == "learning_rate":
            picture.axes.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
        if len(histories) <= FEW:
            picture.axes.legend()
    last = ", ".join(f"{name} {history[column].iloc[-1]:.4g}" for name, history in histories.items())
    return picture.svg(f"{label.capitalize()} over the epochs; after the last one: {last}")


def distributions(values: Mapping[str, np.ndarray], label: str, name: str) -> str:
    """Empirical distribution functions over each other."""
    with Picture(name) as picture:
        for what, numbers in values.items():
            picture.axes.ecdf(numbers, label=what, linewidth=1.3)
        picture.axes.set(xlabel=label, ylabel="share of tiles up to here", ylim=(0, 1))
        picture.axes.yaxis.set_major_formatter(PercentFormatter(1))
        if len(values) <= FEW:
            picture.axes.legend(loc="lower right")
    return picture.svg(f"Cumulative distribution of {label} of {', '.join(values)}, one line each")


def threshold_surface(table: np.ndarray, tiles: int, choice: ThresholdChoice) -> str:
    """Score over threshold and minimum area, the chosen pair, and the edge of what is nearly as good."""
    scores = table / (10 * tiles)
    most = min(max(4 * choice.min_area, table.shape[1] // 25, 8), table.shape[1] - 1)
    shown = scores[:, : most + 1]
    with Picture("plateau") as picture:
        axes = picture.axes
        # Below, all shades would be spent on thresholds that nobody would choose.
        floor = float(np.quantile(shown, 0.25))
        extent = (-0.5, 255.5, -0.5, most + 0.5)
        image = axes.imshow(shown.T, origin="lower", aspect="auto", extent=extent, vmin=floor, cmap="viridis")
        if shown.min() < choice.score - PLATEAU:
            edge = [choice.score - PLATEAU]
            axes.contour(np.arange(256), np.arange(most + 1), shown.T, levels=edge, colors="white", linewidths=1.0)
        axes.plot(choice.threshold, choice.min_area, "o", color="white", markeredgecolor="black", clip_on=False)
        axes.set(xlabel="threshold (byte)", ylabel="minimum area (pixels)")
        axes.grid(visible=False)
        picture.figure.colorbar(image, label="score, in-sample", extend="min")
    return picture.svg(
        f"Score over threshold and minimum area: best {choice.score:.4f} at byte {choice.threshold} "
        f"and {choice.min_area} pixels; a line encloses all pairs within {PLATEAU} of it"
    )


def calibration(measured: Calibration) -> str:
    """Observed share of salt over predicted probability; a dot's area tells how many pixels it stands for."""
    with Picture("calibration") as picture:
        axes = picture.axes
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle="--")
        axes.plot(measured.predicted, measured.observed)
        axes.scatter(
            measured.predicted, measured.observed, s=8 + 120 * np.sqrt(measured.pixels / measured.pixels.sum())
        )
        axes.set(xlabel="predicted probability of salt", ylabel="share of pixels that are salt")
        axes.set(xlim=(0, 1), ylim=(0, 1))
    return picture.svg(
        f"Calibration of pixel probabilities against the diagonal; expected calibration error {measured.error:.4f}"
    )


def bars(groups: Sequence[Group], label: str, name: str) -> str:
    """Mean score of groups of tiles, with the number of tiles of each."""
    with Picture(name, height=0.9 + 0.24 * len(groups)) as picture:
        axes = picture.axes
        places = np.arange(len(groups))
        axes.barh(places, [group.score for group in groups], height=0.7)
        for place, group in enumerate(groups):
            axes.text(1.02, place, f"{group.tiles:,}", va="center", fontsize=8)
        axes.text(1.02, -0.75, "tiles", va="bottom", fontsize=8)
        axes.set(yticks=places, yticklabels=[group.name for group in groups], xlim=(0, 1), xlabel="score", ylabel=label)
        axes.set_ylim(len(groups) - 0.5, -0.75)
        axes.grid(axis="y", visible=False)
    told = ", ".join(f"{group.name}: {group.score:.3f}" for group in groups)
    return picture.svg(f"Score by {label}: {told}")
