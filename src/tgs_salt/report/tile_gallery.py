"""Tiles as small pictures with the outlines of masks over them, and which tiles are worth a look."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import cv2
import numpy as np

from tgs_salt.evaluation.experiment import Experiment
from tgs_salt.evaluation.out_of_fold import OutOfFoldEvaluation, TestSummary

MAX_CARDS, CARDS = 8, 4


@dataclass(frozen=True)
class Card:
    """One tile: its pictures as data URIs, outlines as SVG paths, and what is known of it in words."""

    id: str
    facts: str
    side: tuple[int, int]  # width and height, pixels
    seismic: str
    probability: str
    truth: str | None  # None: not known
    predicted: str
    alt: str


Group = tuple[str, str, list[Card]]  # title, what these are, tiles


def card(
    tile: str, depth: float, image: np.ndarray, probability: np.ndarray, level: int, min_area: int,
    truth: np.ndarray | None = None, note: str = "",
) -> Card:  # fmt: skip
    """From (h, w) uint8 image and probability bytes, and (h, w) bool truth."""
    mask = decided(probability, level, min_area)
    facts = [f"depth {depth:g}"]
    if truth is not None:
        union = np.count_nonzero(mask | truth)
        facts += [f"IoU {np.count_nonzero(mask & truth) / union:.2f}" if union else "both empty"]
        facts += [f"salt {truth.mean():.1%}, predicted {mask.mean():.1%}"]
    else:
        facts += [f"predicted {mask.mean():.1%} salt"]
    facts += [note] if note else []
    known = f", true salt {truth.mean():.0%}" if truth is not None else ""
    height, width = image.shape
    return Card(
        id=tile, facts="; ".join(facts), side=(width, height),
        seismic=_png(image), probability=_png(_colored(probability)),
        truth=path(outline(truth)) if truth is not None else None, predicted=path(outline(mask)),
        alt=f"tile {tile} at depth {depth:g}: predicted salt {mask.mean():.0%}{known}",
    )  # fmt: skip


def decided(probability: np.ndarray, level: int, min_area: int) -> np.ndarray:
    """The mask (h, w) bool of probability bytes: salt from `level` on, empty below `min_area` pixels."""
    mask = np.asarray(probability) >= level
    return mask if np.count_nonzero(mask) >= min_area else np.zeros_like(mask)


def outline(mask: np.ndarray) -> np.ndarray:
    """Edges of the pixels of `mask` (h, w) bool that have no salt beyond them: (k, 4) int64 x0, y0, x1, y1.

    Coordinates run over the corners of pixels: pixel (row, column) covers column..column + 1 and row..row + 1. Salt
    that meets the tile's border is closed along it, so that a tile full of salt does not look like an empty one.
    """
    closed = np.pad(mask, 1)
    across = np.argwhere(closed[1:-1, 1:] != closed[1:-1, :-1])  # upright edges: row, and the corner's column
    down = np.argwhere(closed[1:, 1:-1] != closed[:-1, 1:-1])
    upright = np.stack([across[:, 1], across[:, 0], across[:, 1], across[:, 0] + 1], axis=1)
    level = np.stack([down[:, 1], down[:, 0], down[:, 1] + 1, down[:, 0]], axis=1)
    return np.concatenate([upright, level])


def path(edges: np.ndarray) -> str:
    """The `d` of an SVG path; edges in line with each other become one stroke."""
    strokes = []
    for across, symbol in ((0, "v"), (1, "h")):
        along = 1 - across
        own = edges[edges[:, across] == edges[:, across + 2]]
        own = own[np.lexsort((own[:, along], own[:, across]))]
        follows = (own[1:, across] == own[:-1, across]) & (own[1:, along] == own[:-1, along] + 1)
        starts = np.flatnonzero(np.concatenate([[True], ~follows]))[: len(own)]
        ends = np.concatenate([starts[1:], [len(own)]])[: len(starts)]
        strokes += [
            f"M{x} {y}{symbol}{end - start}" for (x, y), start, end in zip(own[starts, :2], starts, ends, strict=True)
        ]
    return "".join(strokes)


def worst(evaluation: OutOfFoldEvaluation, count: int) -> np.ndarray:
    """Places in `judged` of the tiles with the lowest scores; of equal ones those with the most wrong pixels first."""
    return np.lexsort((-evaluation.wrong, evaluation.scores))[:count]


def median_tiles(evaluation: OutOfFoldEvaluation, count: int) -> np.ndarray:
    """Tiles with salt around the median of their IoU."""
    salt = np.flatnonzero(evaluation.salt > 0)
    order = salt[np.argsort(evaluation.iou[salt], kind="stable")]
    first = max(0, len(order) // 2 - count // 2)
    return order[first : first + count]


def best(evaluation: OutOfFoldEvaluation, count: int) -> np.ndarray:
    """Tiles with salt with the highest IoU: an empty tile that was found empty shows nothing."""
    salt = np.flatnonzero(evaluation.salt > 0)
    return salt[np.argsort(-evaluation.iou[salt], kind="stable")][:count]


def tile_gallery(
    experiment: Experiment, evaluation: OutOfFoldEvaluation | None, asked: TestSummary | None
) -> list[Group]:
    """Groups of tiles that are worth a look; none before there is a decision."""
    images, masks, oof = (
        experiment.array(name) for name in ("data/train_images.npy", "data/train_masks.npy", "ensemble/oof.npy")
    )
    if evaluation is None or images is None or masks is None or oof is None:
        return []
    train = experiment.split("train")

    def of_train(place: int) -> Card:
        row = evaluation.rows[place]
        return card(
            train["id"][row], train["depth"][row], images[row], oof[row], evaluation.level[place], evaluation.min_area[place],
            masks[row].view(bool), f"score {evaluation.scores[place]:.1f}",
        )  # fmt: skip

    groups = [
        ("The worst", "Lowest score, most wrong pixels.", [of_train(k) for k in worst(evaluation, MAX_CARDS)]),
        (
            "The median",
            "Tiles with salt, around the median IoU.",
            [of_train(k) for k in median_tiles(evaluation, CARDS)],
        ),
        ("The best", "Tiles with salt, highest IoU.", [of_train(k) for k in best(evaluation, CARDS)]),
    ]
    return groups + _of_test(experiment, asked)


def _of_test(experiment: Experiment, asked: TestSummary | None) -> list[Group]:
    images, together, decision = (
        experiment.array("data/test_images.npy"), experiment.array("ensemble/test.npy"), experiment.decision,
    )  # fmt: skip
    if asked is None or images is None or together is None or decision is None:
        return []
    test = experiment.split("test")

    def cards(measure: np.ndarray, words: str) -> list[Card]:
        rows = np.argsort(-measure, kind="stable")[:CARDS]
        pair = decision["threshold"], decision["min_area"]
        return [
            card(
                test["id"][row], test["depth"][row], images[row], together[row], *pair, note=words.format(measure[row])
            )
            for row in rows
        ]

    groups = []
    if asked.disagreement is not None:
        several = "Test tiles on which models or folds agree least: a pixel is disputed unless all call it the same."
        groups.append(("The most disputed", several, cards(asked.disagreement, "disputed {:.1%}")))
    unsure = "Test tiles whose probabilities are nearest to 0.5, on average over their pixels."
    return [*groups, ("The most uncertain", unsure, cards(asked.uncertainty, "doubt {:.2f} of 0.50"))]


def _colored(probability: np.ndarray) -> np.ndarray:
    colored: np.ndarray = cv2.applyColorMap(np.ascontiguousarray(probability), cv2.COLORMAP_VIRIDIS)
    return colored


def _png(pixels: np.ndarray) -> str:
    fine, encoded = cv2.imencode(".png", np.ascontiguousarray(pixels), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    assert fine
    return "data:image/png;base64," + base64.b64encode(encoded.tobytes()).decode()
