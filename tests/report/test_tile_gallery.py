"""Outlines of masks against the pixels themselves."""

from __future__ import annotations

import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tgs_salt.report.tile_gallery import decided, outline, path

masks = arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))


def edges_of(mask: np.ndarray) -> set[tuple[int, int, int, int]]:
    """Sides of salt pixels beyond which there is no salt, pixel by pixel."""
    height, width = mask.shape
    found = set()
    for y, x in np.argwhere(mask).tolist():
        for dy, dx, edge in (
            (-1, 0, (x, y, x + 1, y)), (1, 0, (x, y + 1, x + 1, y + 1)),
            (0, -1, (x, y, x, y + 1)), (0, 1, (x + 1, y, x + 1, y + 1)),
        ):  # fmt: skip
            beyond = 0 <= y + dy < height and 0 <= x + dx < width and mask[y + dy, x + dx]
            if not beyond:
                found.add(edge)
    return found


def walked(strokes: str) -> list[tuple[int, int, int, int]]:
    """The unit edges that an SVG path draws."""
    edges = []
    for x, y, along, length in re.findall(r"M(\d+) (\d+)([vh])(\d+)", strokes):
        for step in range(int(length)):
            left, top = (int(x), int(y) + step) if along == "v" else (int(x) + step, int(y))
            edges.append((left, top, left + (along == "h"), top + (along == "v")))
    return edges


@given(masks)
def test_an_outline_is_where_salt_ends(mask: np.ndarray) -> None:
    edges = [tuple(edge) for edge in outline(mask).tolist()]
    assert len(edges) == len(set(edges)) and set(edges) == edges_of(mask)


@given(masks)
def test_a_path_draws_each_edge_once_in_few_strokes(mask: np.ndarray) -> None:
    strokes = path(outline(mask))
    edges = walked(strokes)
    assert len(edges) == len(set(edges)) and set(edges) == edges_of(mask)
    assert re.fullmatch(r"(M\d+ \d+[vh][1-9]\d*)*", strokes)
    # No stroke could be longer: its end is no other's beginning in the same direction.
    ends = re.findall(r"M(\d+) (\d+)([vh])(\d+)", strokes)
    starts = {(int(x), int(y), along) for x, y, along, _ in ends}
    for x, y, along, length in ends:
        end = (int(x), int(y) + int(length)) if along == "v" else (int(x) + int(length), int(y))
        assert (*end, along) not in starts


def test_the_decision_on_a_tile() -> None:
    bytes_ = np.array([[10, 200], [99, 100]], np.uint8)
    assert decided(bytes_, 100, 0).tolist() == [[False, True], [False, True]]
    assert decided(bytes_, 100, 2).sum() == 2 and decided(bytes_, 100, 3).sum() == 0
