"""Tile gallery of the report: small images of selected tiles with the outlines of their masks."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import cv2
import numpy as np

from tgs_salt.evaluation.experiment import Experiment
from tgs_salt.evaluation.out_of_fold import OutOfFoldEvaluation, TestSummary

WORST_TILES, OTHER_TILES = 8, 4  # of the group with the lowest scores, of each other group


@dataclass(frozen=True)
class GalleryTile:
    """One tile with its images as data URIs and its outlines as SVG path data."""

    id: str
    caption: str
    size: tuple[int, int]  # width and height, pixels
    seismic: str
    probability: str
    true_outline: str | None  # None: no true mask
    predicted_outline: str
    alt: str


Group = tuple[str, str, list[GalleryTile]]  # title, description, tiles


def render_tile(
    tile: str, depth: float, image: np.ndarray, probabilities: np.ndarray, threshold: int, min_area: int,
    true: np.ndarray | None = None, note: str = "",
) -> GalleryTile:  # fmt: skip
    """Return a tile of the gallery.

    Args:
        tile: Id of the tile.
        depth: Depth as in depths.csv.
        image: Seismic image (h, w) uint8.
        probabilities: Predicted probabilities (h, w) uint8.
        threshold: Smallest byte that is salt.
        min_area: Minimum number of salt pixels.
        true: True mask (h, w) bool, None if unknown.
        note: Appended to the caption.
    """
    predicted = threshold_mask(probabilities, threshold, min_area)
    facts = [f"depth {depth:g}"]
    if true is not None:
        union = np.count_nonzero(predicted | true)
        facts += [f"IoU {np.count_nonzero(predicted & true) / union:.2f}" if union else "both empty"]
        facts += [f"salt {true.mean():.1%}, predicted {predicted.mean():.1%}"]
    else:
        facts += [f"predicted {predicted.mean():.1%} salt"]
    facts += [note] if note else []
    true_salt = f", true salt {true.mean():.0%}" if true is not None else ""
    height, width = image.shape
    return GalleryTile(
        id=tile, caption="; ".join(facts), size=(width, height),
        seismic=_png(image), probability=_png(_apply_colormap(probabilities)),
        true_outline=svg_path(outline(true)) if true is not None else None,
        predicted_outline=svg_path(outline(predicted)),
        alt=f"tile {tile} at depth {depth:g}: predicted salt {predicted.mean():.0%}{true_salt}",
    )  # fmt: skip


def threshold_mask(probabilities: np.ndarray, threshold: int, min_area: int) -> np.ndarray:
    """Return the mask (h, w) bool of probability bytes >= `threshold`, empty if it has fewer than `min_area` pixels."""
    mask = np.asarray(probabilities) >= threshold
    return mask if np.count_nonzero(mask) >= min_area else np.zeros_like(mask)


def outline(mask: np.ndarray) -> np.ndarray:
    """Return the pixel edges between salt and no salt of `mask` (h, w) bool, as (k, 4) int64 x0, y0, x1, y1.

    Coordinates are those of pixel corners: pixel (row, column) covers x from column to column + 1 and y from row to
    row + 1. Salt at the border of the tile is closed along it, so that a full tile does not look like an empty one.
    """
    padded = np.pad(mask, 1)
    upper = np.argwhere(padded[1:-1, 1:] != padded[1:-1, :-1])  # (row, column) of the vertical edges' upper corners
    left = np.argwhere(padded[1:, 1:-1] != padded[:-1, 1:-1])  # (row, column) of the horizontal edges' left corners
    vertical = np.stack([upper[:, 1], upper[:, 0], upper[:, 1], upper[:, 0] + 1], axis=1)
    horizontal = np.stack([left[:, 1], left[:, 0], left[:, 1] + 1, left[:, 0]], axis=1)
    return np.concatenate([vertical, horizontal])


def svg_path(edges: np.ndarray) -> str:
    """Return the `d` attribute of an SVG path of unit edges (k, 4) int64; adjacent edges in line become one stroke."""
    strokes = []
    for across, command in ((0, "v"), (1, "h")):
        along = 1 - across
        lines = edges[edges[:, across] == edges[:, across + 2]]
        lines = lines[np.lexsort((lines[:, along], lines[:, across]))]
        adjacent = (lines[1:, across] == lines[:-1, across]) & (lines[1:, along] == lines[:-1, along] + 1)
        starts = np.flatnonzero(np.concatenate([[True], ~adjacent]))[: len(lines)]
        ends = np.concatenate([starts[1:], [len(lines)]])[: len(starts)]
        strokes += [
            f"M{x} {y}{command}{end - start}"
            for (x, y), start, end in zip(lines[starts, :2], starts, ends, strict=True)
        ]
    return "".join(strokes)


def worst_tiles(evaluation: OutOfFoldEvaluation, count: int) -> np.ndarray:
    """Return the indices (count,) into `evaluation` with the lowest scores; ties: most wrong pixels first."""
    return np.lexsort((-evaluation.wrong_pixels, evaluation.scores))[:count]


def median_tiles(evaluation: OutOfFoldEvaluation, count: int) -> np.ndarray:
    """Return the indices (count,) into `evaluation` of tiles with salt around their median IoU."""
    salt = np.flatnonzero(evaluation.true_area > 0)
    order = salt[np.argsort(evaluation.iou[salt], kind="stable")]
    first = max(0, len(order) // 2 - count // 2)
    return order[first : first + count]


def best_tiles(evaluation: OutOfFoldEvaluation, count: int) -> np.ndarray:
    """Return the indices (count,) into `evaluation` of tiles with salt that have the highest IoU."""
    salt = np.flatnonzero(evaluation.true_area > 0)
    return salt[np.argsort(-evaluation.iou[salt], kind="stable")][:count]


def tile_gallery(
    experiment: Experiment, evaluation: OutOfFoldEvaluation | None, test_summary: TestSummary | None
) -> list[Group]:
    """Return groups of the best, worst and most uncertain tiles; empty without a score."""
    paths = experiment.paths
    images, masks, oof = map(experiment.array, (paths.train_images, paths.train_masks, paths.ensemble("oof")))
    if evaluation is None or images is None or masks is None or oof is None:
        return []
    train = experiment.split("train")

    def render(indices: np.ndarray) -> list[GalleryTile]:
        return [
            render_tile(
                train["id"][row], train["depth"][row], images[row], oof[row],
                evaluation.threshold[index], evaluation.min_area[index],
                masks[row].view(bool), f"score {evaluation.scores[index]:.1f}",
            )
            for index, row in zip(indices, evaluation.rows[indices], strict=True)
        ]  # fmt: skip

    groups: list[Group] = [
        ("Lowest scores", "Ties: most wrong pixels first.", render(worst_tiles(evaluation, WORST_TILES))),
        ("Median IoU", "Tiles with salt around their median.", render(median_tiles(evaluation, OTHER_TILES))),
        ("Highest IoU", "Tiles with salt.", render(best_tiles(evaluation, OTHER_TILES))),
    ]
    return groups + _test_groups(experiment, test_summary)


def _test_groups(experiment: Experiment, test_summary: TestSummary | None) -> list[Group]:
    images = experiment.array(experiment.paths.test_images)
    ensemble, decision = experiment.array(experiment.paths.ensemble("test")), experiment.decision
    if test_summary is None or images is None or ensemble is None or decision is None:
        return []
    test = experiment.split("test")

    def render(measure: np.ndarray, note: str) -> list[GalleryTile]:
        rows = np.argsort(-measure, kind="stable")[:OTHER_TILES]
        choice = decision["threshold"], decision["min_area"]
        return [
            render_tile(
                test["id"][row], test["depth"][row], images[row], ensemble[row], *choice, note=note.format(measure[row])
            )
            for row in rows
        ]

    groups: list[Group] = []
    if test_summary.disagreement is not None:
        description = "Test tiles with the largest share of pixels on which not all models and folds agree."
        tiles = render(test_summary.disagreement, "disagreement {:.1%}")
        groups.append(("Highest disagreement", description, tiles))
    description = "Test tiles whose probabilities are nearest to 0.5, averaged over pixels."
    tiles = render(test_summary.uncertainty, "uncertainty {:.2f} of 0.50")
    return [*groups, ("Highest uncertainty", description, tiles)]


def _apply_colormap(probabilities: np.ndarray) -> np.ndarray:
    """Return probability bytes (h, w) in the viridis colormap, (h, w, 3) uint8 BGR."""
    colored: np.ndarray = cv2.applyColorMap(np.ascontiguousarray(probabilities), cv2.COLORMAP_VIRIDIS)
    return colored


def _png(pixels: np.ndarray) -> str:
    """Return an image as a data URI."""
    success, encoded = cv2.imencode(".png", np.ascontiguousarray(pixels), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    assert success
    return "data:image/png;base64," + base64.b64encode(encoded.tobytes()).decode()
