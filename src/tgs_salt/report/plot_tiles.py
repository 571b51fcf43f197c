"""Command `plot-tiles`: large images of single tiles.

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
from tgs_salt.report.tile_gallery import outline, threshold_mask

TRUE_COLOR, PREDICTED_COLOR = "#ffd400", "#1e9bff"
PANELS_PER_ROW = 4


@dataclass(frozen=True)
class Panel:
    """One image (h, w) uint8 of a tile, and the masks (h, w) bool whose outlines are drawn over it."""

    title: str
    pixels: np.ndarray
    colormap: str
    outlines: tuple[tuple[np.ndarray, str], ...] = ()  # mask and color


def plot_tiles(folder: Path, ids: list[str], output: Path) -> list[Path]:
    """Write a PNG of each tile into `output` and return their paths.

    The panels are, as far as their files exist: the seismic image with the outlines of true and predicted mask, the
    true mask, the ensemble's probabilities, the predicted mask, and the probabilities of each model and fold that
    predicted the tile.

    Raises:
        UserError: The dataset is not preprocessed yet, or there is no such tile.
    """
    experiment = Experiment(folder)
    written = []
    for tile in ids:
        split, row, depth = _find(experiment, tile)
        path = output / f"{tile}.png"
        title = f"{tile}, {'labeled' if split == 'train' else 'test'}, depth {depth:g}"
        files.write_bytes(path, _draw(title, _panels(experiment, split, row)))
        written.append(path)
    return written


def _find(experiment: Experiment, tile: str) -> tuple[str, int, float]:
    """Return the split of a tile, its row in the split's arrays, and its depth."""
    if experiment.tiles is None:
        raise _not_preprocessed(experiment)
    matches = experiment.tiles[experiment.tiles["id"] == tile]
    if not len(matches):
        close = difflib.get_close_matches(tile, list(experiment.tiles["id"]), n=1)
        raise UserError(
            f"{tile}: {experiment.folder} has no such tile{f', did you mean {close[0]}?' if close else '.'}"
        )
    return matches["split"].iloc[0], int(matches["row"].iloc[0]), float(matches["depth"].iloc[0])


def _not_preprocessed(experiment: Experiment) -> UserError:
    return UserError(f"{experiment.folder}: its dataset is not preprocessed yet; run snakemake first.")


def _panels(experiment: Experiment, split: str, row: int) -> list[Panel]:
    """Return the panels of the tile at `row` of the split's arrays."""
    paths = experiment.paths
    images, masks = (
        experiment.array(paths.train_images if split == "train" else paths.test_images),
        experiment.array(paths.train_masks),
    )
    ensemble = experiment.array(paths.ensemble("oof" if split == "train" else "test"))
    if images is None:
        raise _not_preprocessed(experiment)
    true = masks[row].view(bool) if split == "train" and masks is not None else None
    single = _single_predictions(experiment, split, row)
    predicted = None
    if ensemble is not None and experiment.decision is not None and (split == "test" or single):
        predicted = threshold_mask(ensemble[row], experiment.decision["threshold"], experiment.decision["min_area"])
    outlines = ((true, TRUE_COLOR), (predicted, PREDICTED_COLOR))
    panels = [
        Panel("seismic", images[row], "gray", tuple((mask, color) for mask, color in outlines if mask is not None))
    ]
    if true is not None:
        panels.append(Panel(f"true mask, {true.mean():.1%} salt", true.view(np.uint8) * 255, "gray"))
    if predicted is not None and ensemble is not None:
        panels.append(Panel("probability", ensemble[row], "viridis"))
        agreement = ""
        if true is not None:
            union = np.count_nonzero(predicted | true)
            agreement = f", IoU {np.count_nonzero(predicted & true) / union:.2f}" if union else ", both empty"
        title = f"predicted mask, {predicted.mean():.1%}{agreement}"
        panels.append(Panel(title, predicted.view(np.uint8) * 255, "gray"))
    # A single model's prediction is the ensemble's, which has its panel already.
    return panels if predicted is not None and len(single) == 1 else panels + single


def _single_predictions(experiment: Experiment, split: str, row: int) -> list[Panel]:
    """Return the probabilities of each model and fold of the ensemble; of a labeled tile only the out-of-fold ones."""
    fold_of_tile = experiment.folds["fold"].to_numpy() if experiment.folds is not None else None
    panels = []
    for run in experiment.ensemble_runs or experiment.training_runs:
        path = run.predictions("oof" if split == "train" else "test")
        index, count = row, len(experiment.split(split))
        if split == "train":
            if fold_of_tile is None or fold_of_tile[row] != run.fold:
                continue
            index, count = (int(np.count_nonzero(folds == run.fold)) for folds in (fold_of_tile[:row], fold_of_tile))
        if path.exists():
            panels.append(Panel(run.title, files.read_array(path, (count, None, None))[index], "viridis"))
    return panels


def _draw(title: str, panels: list[Panel]) -> bytes:
    """Return the panels as a PNG."""
    rows = -(-len(panels) // PANELS_PER_ROW)
    figure = Figure(figsize=(3 * PANELS_PER_ROW, 3.3 * rows + 0.4), layout="constrained", dpi=110)
    figure.suptitle(title)
    for index, axes in enumerate(figure.subplots(rows, PANELS_PER_ROW, squeeze=False).flat):
        if index < len(panels):
            _draw_panel(axes, panels[index])
        else:
            axes.set_axis_off()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _draw_panel(axes: Axes, panel: Panel) -> None:
    height, width = panel.pixels.shape
    # The extent makes data coordinates those of pixel corners, as in `outline`.
    axes.imshow(
        panel.pixels, cmap=panel.colormap, vmin=0, vmax=255, extent=(0, width, height, 0), interpolation="nearest"
    )
    for index, (mask, color) in enumerate(panel.outlines):
        axes.add_collection(
            LineCollection(list(outline(mask).reshape(-1, 2, 2)), colors=color, linewidths=3 - 1.6 * index)
        )
    axes.set_title(panel.title, fontsize=10)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color("#999999")  # a full mask is as white as the background
