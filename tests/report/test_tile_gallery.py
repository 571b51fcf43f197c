"""Outlines and SVG paths of masks against a loop over pixels."""

from __future__ import annotations

import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tgs_salt.report.tile_gallery import outline, svg_path, threshold_mask

masks = arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))


def expected_edges(mask: np.ndarray) -> set[tuple[int, int, int, int]]:
    """Return the sides of salt pixels that do not touch another salt pixel."""
    height, width = mask.shape
    edges = set()
    for y, x in np.argwhere(mask).tolist():
        for dy, dx, edge in (
            (-1, 0, (x, y, x + 1, y)), (1, 0, (x, y + 1, x + 1, y + 1)),
            (0, -1, (x, y, x, y + 1)), (0, 1, (x + 1, y, x + 1, y + 1)),
        ):  # fmt: skip
            neighbor = 0 <= y + dy < height and 0 <= x + dx < width and mask[y + dy, x + dx]
            if not neighbor:
                edges.add(edge)
    return edges


def unit_edges(strokes: str) -> list[tuple[int, int, int, int]]:
    """Return the unit edges that an SVG path draws."""
    edges = []
    for x, y, along, length in re.findall(r"M(\d+) (\d+)([vh])(\d+)", strokes):
        for step in range(int(length)):
            left, top = (int(x), int(y) + step) if along == "v" else (int(x) + step, int(y))
            edges.append((left, top, left + (along == "h"), top + (along == "v")))
    return edges


@given(masks)
def test_outline_matches_a_loop_over_pixels(mask: np.ndarray) -> None:
    edges = [tuple(edge) for edge in outline(mask).tolist()]
    assert len(edges) == len(set(edges)) and set(edges) == expected_edges(mask)


@given(masks)
def test_svg_path_draws_each_edge_once_with_the_longest_strokes(mask: np.ndarray) -> None:
    strokes = svg_path(outline(mask))
    edges = unit_edges(strokes)
    assert len(edges) == len(set(edges)) and set(edges) == expected_edges(mask)
    assert re.fullmatch(r"(M\d+ \d+[vh][1-9]\d*)*", strokes)
    # No stroke starts where another one in the same direction ends.
    ends = re.findall(r"M(\d+) (\d+)([vh])(\d+)", strokes)
    starts = {(int(x), int(y), along) for x, y, along, _ in ends}
    for x, y, along, length in ends:
        end = (int(x), int(y) + int(length)) if along == "v" else (int(x) + int(length), int(y))
        assert (*end, along) not in starts


def test_threshold_mask() -> None:
    probabilities = np.array([[10, 200], [99, 100]], np.uint8)
    assert threshold_mask(probabilities, 100, 0).tolist() == [[False, True], [False, True]]
    assert threshold_mask(probabilities, 100, 2).sum() == 2 and threshold_mask(probabilities, 100, 3).sum() == 0
