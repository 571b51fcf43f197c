"""`show`: tiles drawn large, to look at one by one.

python -m tgs_salt plot-tiles results/tgs 0a1b2c3d4e 5f60718293
"""

from __future__ import annotations

import difflib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from tgs_salt import files
from tgs_salt.errors import UserError
from tgs_salt.evaluation.experiment import Experiment
from tgs_salt.report.tile_gallery import decided, outline

TRUE, PREDICTED = "#ffd400", "#1e9bff"
PER_ROW = 4


@dataclass(frozen=True)
class Panel:
    """One picture of a tile: (h, w) uint8 pixels and the masks whose outlines go over them."""

    title: str
    pixels: np.ndarray
    colors: str
    outlines: tuple[tuple[np.ndarray, str], ...] = ()


def plot_tiles(folder: Path, ids: list[str], output: Path) -> list[Path]:
    """Write a PNG for each of `ids` into `output`, and return their paths.

    The first row has the seismic image with the outlines of truth and decision, the truth, the ensemble's probability
    and the decision, as far as they are known; then comes the probability of each model and fold that predicted the
    tile. Raises UserError if there is no such tile.
    """
    experiment = Experiment(folder)
    written = []
    for tile in ids:
        split, row, depth = _find(experiment, tile)
        path = output / f"{tile}.png"
        title = f"{tile}, {'labelled' if split == 'train' else 'test'}, depth {depth:g}"
        files.write_bytes(path, _draw(title, _panels(experiment, split, row)))
        written.append(path)
    return written


def _find(experiment: Experiment, tile: str) -> tuple[str, int, float]:
    if experiment.tiles is None:
        raise UserError(f"{experiment.folder}: its dataset is not packed yet; run snakemake first.")
    found = experiment.tiles[experiment.tiles["id"] == tile]
    if not len(found):
        near = difflib.get_close_matches(tile, list(experiment.tiles["id"]), n=1)
        raise UserError(f"{tile}: {experiment.folder} has no such tile{f', did you mean {near[0]}?' if near else '.'}")
    return found["split"].iloc[0], int(found["row"].iloc[0]), float(found["depth"].iloc[0])


def _panels(experiment: Experiment, split: str, row: int) -> list[Panel]:
    images, masks = experiment.array(f"data/{split}_images.npy"), experiment.array("data/train_masks.npy")
    together = experiment.array("ensemble/oof.npy" if split == "train" else "ensemble/test.npy")
    if images is None:
        raise UserError(f"{experiment.folder}: its dataset is not packed yet; run snakemake first.")
    truth = masks[row].view(bool) if split == "train" and masks is not None else None
    votes = _votes(experiment, split, row)
    decision = None
    if together is not None and experiment.decision is not None and (split == "test" or votes):
        decision = decided(together[row], experiment.decision["threshold"], experiment.decision["min_area"])
    outlines = ((truth, TRUE), (decision, PREDICTED))
    panels = [
        Panel("seismic", images[row], "gray", tuple((mask, color) for mask, color in outlines if mask is not None))
    ]
    if truth is not None:
        panels.append(Panel(f"truth, {truth.mean():.1%} salt", truth.view(np.uint8) * 255, "gray"))
    if decision is not None and together is not None:
        panels.append(Panel("probability", together[row], "viridis"))
        agreed = ""
        if truth is not None:
            union = np.count_nonzero(decision | truth)
            agreed = f", IoU {np.count_nonzero(decision & truth) / union:.2f}" if union else ", both empty"
        panels.append(Panel(f"decision, {decision.mean():.1%}{agreed}", decision.view(np.uint8) * 255, "gray"))
    # A single vote is the ensemble, which is shown already.
    return panels if decision is not None and len(votes) == 1 else panels + votes


def _votes(experiment: Experiment, split: str, row: int) -> list[Panel]:
    """What each voting model and fold says of the tile; of a labelled one only those that did not learn from it."""
    fold_of = experiment.folds["fold"].to_numpy() if experiment.folds is not None else None
    panels = []
    for training in experiment.voters or experiment.trainings:
        path = training.predictions("oof" if split == "train" else "test")
        place, count = row, len(experiment.split(split))
        if split == "train":
            if fold_of is None or fold_of[row] != training.fold:
                continue
            place, count = (int(np.count_nonzero(rows == training.fold)) for rows in (fold_of[:row], fold_of))
        if path.exists():
            panels.append(Panel(training.title, files.read_array(path, (count, None, None))[place], "viridis"))
    return panels


def _draw(title: str, panels: list[Panel]) -> bytes:
    rows = -(-len(panels) // PER_ROW)
    figure = Figure(figsize=(3 * PER_ROW, 3.3 * rows + 0.4), layout="constrained", dpi=110)
    figure.suptitle(title)
    for place, axes in enumerate(figure.subplots(rows, PER_ROW, squeeze=False).flat):
        if place < len(panels):
            _draw_panel(axes, panels[place])
        else:
            axes.set_axis_off()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _draw_panel(axes: Axes, panel: Panel) -> None:
    height, width = panel.pixels.shape
    # Coordinates count corners of pixels, as outlines do.
    axes.imshow(
        panel.pixels, cmap=panel.colors, vmin=0, vmax=255, extent=(0, width, height, 0), interpolation="nearest"
    )
    for number, (mask, color) in enumerate(panel.outlines):
        axes.add_collection(
            LineCollection(list(outline(mask).reshape(-1, 2, 2)), colors=color, linewidths=3 - 1.6 * number)
        )
    axes.set_title(panel.title, fontsize=10)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color("#999999")  # a mask full of salt is as white as the paper
