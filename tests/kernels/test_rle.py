"""Compare run-length encoding with a pixel loop, pycocotools and the real training masks."""

import csv
import os
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco

from tgs_salt.errors import UserError
from tgs_salt.kernels import rle, rle_kernels


def reference_encode(mask: np.ndarray) -> str:
    """Encode by Kaggle's definition, pixel by pixel."""
    runs: list[list[int]] = []
    height, width = mask.shape
    for pixel in range(height * width):
        if mask[pixel % height, pixel // height]:
            if runs and runs[-1][0] + runs[-1][1] == pixel + 1:
                runs[-1][1] += 1
            else:
                runs.append([pixel + 1, 1])
    return " ".join(f"{start} {length}" for start, length in runs)


def coco_encode(mask: np.ndarray) -> str:
    """Decode the counts of pycocotools (background first, column-major) and convert them to pairs."""
    text = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
    counts: list[int] = []
    position = 0
    while position < len(text):
        value = shift = 0
        while True:
            code = text[position] - 48
            position += 1
            value |= (code & 0x1F) << shift
            shift += 5
            if not code & 0x20:
                break
        if code & 0x10:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
    ends = np.cumsum(counts)
    return " ".join(f"{ends[k] - counts[k] + 1} {counts[k]}" for k in range(1, len(counts), 2))


@st.composite
def smooth_stacks(draw: st.DrawFn) -> np.ndarray:
    """Draw stacks of any shape, from noise to long runs along either axis."""
    shape = draw(st.tuples(st.integers(0, 3), st.integers(1, 150), st.integers(1, 150)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    stack = rng.random(shape) < draw(st.sampled_from([0.002, 0.05, 0.5, 0.95, 0.998]))
    axis = draw(st.sampled_from([None, 1, 2]))
    return stack if axis is None else np.logical_xor.accumulate(stack, axis=axis)


def special_masks() -> dict[str, np.ndarray]:
    rows, columns = np.indices((101, 101))
    center = np.zeros((101, 101), bool)
    center[50, 50] = True
    corners = {
        "first pixel": (0, 0),
        "last pixel": (100, 100),
        "bottom of a column": (100, 3),
        "top of a column": (0, 4),
    }
    masks = {
        "empty": np.zeros((101, 101), bool),
        "full": np.ones((101, 101), bool),
        "one pixel": center,
        "all but one": ~center,
        "one column": columns == 7,
        "last column": columns == 100,
        "one row": rows == 7,
        "last row": rows == 100,
        "checkerboard": (rows + columns) % 2 == 0,
        "inverse checkerboard": (rows + columns) % 2 == 1,
        "1x1 salt": np.ones((1, 1), bool),
        "1x1 empty": np.zeros((1, 1), bool),
        "64 rows": np.indices((64, 5))[0] > 40,
        "65 rows": np.indices((65, 5))[0] > 40,
        "128 rows, full": np.ones((128, 3), bool),
        "1 x n": (np.arange(300) % 7 < 3)[None],
        "n x 1": (np.arange(300) % 7 < 3)[:, None],
        "wide": np.indices((37, 130)).sum(axis=0) % 50 < 20,
        "high": np.indices((130, 37)).sum(axis=0) % 50 < 20,
        "numbers of six digits": np.indices((370, 371)).sum(axis=0) % 9 < 4,
    }
    for name, position in corners.items():
        masks[name] = np.zeros((101, 101), bool)
        masks[name][position] = True
    return masks


@pytest.mark.parametrize(("name", "mask"), special_masks().items())
def test_special_masks(name: str, mask: np.ndarray) -> None:
    (text,) = rle.encode(mask[None])
    assert text == reference_encode(mask) == coco_encode(mask)
    np.testing.assert_array_equal(rle.decode(text, mask.shape), mask)
    rle.parse(text, mask.shape, canonical=True)


def test_known_encoding() -> None:
    mask = np.array([[1, 0, 1], [1, 0, 1], [0, 1, 1]], np.uint8)
    assert rle.encode(mask[None]) == ["1 2 6 4"]
    assert rle.encode(np.zeros((0, 101, 101), bool)) == []


def test_numbers_of_every_length() -> None:
    """Test numbers around each power of ten, and random ones up to the largest tile."""
    powers = [10**power + step for power in range(9) for step in (-1, 0, 1)]
    numbers = [*range(1, 12_000), *np.random.default_rng(0).integers(1, rle_kernels.MAX_PIXELS, 3000).tolist(), *powers]
    out = np.zeros(20, np.uint8)
    for number in numbers:
        if not 1 <= number <= rle_kernels.MAX_PIXELS:
            continue
        end = int(rle_kernels.write_number(np.uint64(number), out, np.uint64(3)))
        assert out[3:end].tobytes() == f"{number} ".encode()


def test_too_many_pixels() -> None:
    with pytest.raises(ValueError, match="tiles have 100000000 pixels; expected at most 99999999"):
        rle.encode(np.zeros((1, 10_000, 10_000), bool))


@given(smooth_stacks())
@settings(max_examples=60, deadline=None)
def test_any_stack_matches_the_references(stack: np.ndarray) -> None:
    texts = rle.encode(stack)
    assert len(texts) == len(stack)
    for text, mask in zip(texts, stack, strict=True):
        assert text == reference_encode(mask) == coco_encode(mask)
        np.testing.assert_array_equal(rle.decode(text, mask.shape), mask)


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=12)))
@settings(max_examples=100, deadline=None)
def test_any_nonzero_byte_is_salt(stack: np.ndarray) -> None:
    assert rle.encode(stack) == [reference_encode(mask) for mask in stack] == rle.encode(stack != 0)


@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(0, 4), st.integers(1, 9), st.integers(1, 40))),
    st.integers(0, 255),
    st.integers(0, 60),
    st.integers(1, 3),
)
@settings(max_examples=100, deadline=None)
def test_table_applies_threshold_and_min_area(stack: np.ndarray, threshold: int, area: int, threads: int) -> None:
    masks = [mask if mask.sum() >= area else np.zeros_like(mask) for mask in stack >= threshold]
    ids = [f"tile{k}" * (k + 1) for k in range(len(stack))]
    rows = "".join(f"{name},{reference_encode(mask)}\n" for name, mask in zip(ids, masks, strict=True))
    assert rle.encode_table(stack, ids, threshold, area, threads).decode() == rows


def test_minimum_area_is_inclusive() -> None:
    tile = np.zeros((1, 101, 101), np.uint8)
    tile[0, 20:30, 40:50] = 200
    kept, dropped = (rle.encode_table(tile, ["a"], 200, area) for area in (100, 101))
    assert kept.startswith(b"a,4061 10 4162 10 ")
    assert dropped == rle.encode_table(tile, ["a"], 201, 0) == b"a,\n"
    assert rle.encode_table(tile, ["a"], 0, 10_201) == b"a,1 10201\n"
    assert rle.encode_table(tile, ["a"], 0, 10_202) == b"a,\n"


def test_threads_and_full_buffers_do_not_change_texts() -> None:
    rows, columns = np.indices((101, 101))
    board = np.broadcast_to((rows + columns) % 2, (1700, 101, 101)).astype(bool)
    text = reference_encode(board[0])
    assert len(text) * len(board) > 8 * rle.BUFFER_BYTES
    assert len(board) * rows.size > 2 * rle.CHUNK_BYTES
    assert rle.encode(board, 1) == rle.encode(board, 3) == [text] * len(board)


def test_memory_layout_does_not_change_texts() -> None:
    stack = np.random.default_rng(3).integers(0, 2, (5, 30, 40), dtype=np.uint8)
    texts = rle.encode(stack)
    assert rle.encode(np.asfortranarray(stack)) == texts
    assert rle.encode(stack[::-1])[::-1] == texts
    read_only = stack.copy()
    read_only.flags.writeable = False
    assert rle.encode(read_only) == texts
    assert rle_kernels.write_rows.signatures and len(rle_kernels.write_rows.signatures) == 1, (
        "the kernel is compiled for one signature only"
    )


def test_ids_as_list_or_array() -> None:
    stack = np.eye(3, dtype=np.uint8)[None].repeat(2, axis=0)
    rows = b"one,1 1 5 1 9 1\nseventeen,1 1 5 1 9 1\n"
    for ids in (["one", "seventeen"], np.array([b"one", b"seventeen"]), np.array(["one", "seventeen"])):
        assert rle.encode_table(stack, ids, 1) == rows
    assert rle.encode_table(stack, ["é", "日本"], 1).decode() == "é,1 1 5 1 9 1\n日本,1 1 5 1 9 1\n"


@pytest.mark.parametrize("name", ["a,b", 'a"b', "a\nb", "a\rb", ""])
def test_ids_that_need_quoting(name: str) -> None:
    with pytest.raises(UserError, match=re.escape(repr(name))):
        rle.encode_table(np.zeros((2, 2, 2), np.uint8), ["fine", name], 1)


def test_invalid_arguments() -> None:
    tiles = np.zeros((2, 3, 3), np.uint8)
    for stack, ids, threshold in [
        (tiles, ["a"], 1),
        (tiles, ["a", "b", "c"], 1),
        (tiles, [], 1),
        (tiles, ["a", "b"], 256),
        (tiles, ["a", "b"], -1),
        (tiles[0], ["a", "b"], 1),
        (tiles.astype(np.float32), ["a", "b"], 1),
        (tiles[:, :0], ["a", "b"], 1),
    ]:
        with pytest.raises(ValueError, match=r"expected|ids for"):
            rle.encode_table(stack, ids, threshold)


MALFORMED = {
    "1": "has 1 numbers, the last '1'; expected pairs",
    "1 2 9": "has 3 numbers, the last '9'; expected pairs",
    "0 3": "token 1 of the RLE, '0', is not a start: it must be positive",
    "000 3": "token 1 of the RLE, '000', is not a start: it must be positive",
    "-4 3": "token 1 of the RLE, '-4', is not a start: it must be positive",
    "4 0": "token 2 of the RLE, '0', is not a length: it must be positive",
    "4 -3": "token 2 of the RLE, '-3', is not a length: it must be positive",
    "1.0 3": "token 1 of the RLE, '1.0', is not a start: expected plain digits",
    "1 +3": "token 2 of the RLE, '+3', is not a length: expected plain digits",
    "1_0 3": "token 1 of the RLE, '1_0', is not a start: expected plain digits",
    "1 3 nan 2": "token 3 of the RLE, 'nan', is not a start: expected plain digits",
    "1 3 - 2": "token 3 of the RLE, '-', is not a start: expected plain digits",
    "1,3": "has 1 numbers, the last '1,3'; expected pairs",
    "\uff11 3": "has the character '\uff11' (U+FF11); expected digits and spaces",
    "1\u00a03": "has the character '\\xa0' (U+00A0); expected digits and spaces",
    "1 3 3 2": "run '3 2' (token 3 of the RLE) overlaps the previous run '1 3'",
    "7 3 1 2": "run '1 2' (token 3 of the RLE) begins before the previous run '7 3'; sort the runs",
    "7 3 7 3": "run '7 3' (token 3 of the RLE) overlaps the previous run '7 3'",
    "20 2": "run '20 2' (token 1 of the RLE) ends past the last pixel, 20, of a tile of 4 x 5",
    "21 1": "run '21 1' (token 1 of the RLE) ends past the last pixel, 20, of a tile of 4 x 5",
    "1 999999999999999999": "ends past the last pixel, 20,",
    "1 9999999999999999999": "is a length larger than any tile",
    "1 " + "9" * 5000: "token 2 of the RLE, '999999999999999999999...', is a length larger than any tile",
}


@pytest.mark.parametrize(("text", "message"), MALFORMED.items(), ids=lambda text: repr(text[:20]))
def test_malformed_text(text: str, message: str) -> None:
    for canonical in (False, True):
        with pytest.raises(rle.RleError, match=re.escape(message)):
            rle.parse(text, (4, 5), canonical)
    with pytest.raises(UserError):
        rle.decode(text, (4, 5))


@pytest.mark.parametrize(
    ("text", "message"),
    {
        "1 3 4 2": "run '4 2' (token 3 of the RLE) is adjacent to the previous run '1 3'; expected one run",
        "1  3": "other than one space between two numbers",
        " 1 3": "a leading or trailing space",
        "1 3\n": "a leading or trailing space",
        "01 3": "token 1 of the RLE, '01', has a leading zero",
    }.items(),
)
def test_valid_but_not_canonical(text: str, message: str) -> None:
    assert rle.decode(text, (4, 5)).sum() in (3, 5)
    with pytest.raises(rle.RleError, match=re.escape(message)):
        rle.parse(text, (4, 5), canonical=True)


def test_parse_returns_runs() -> None:
    np.testing.assert_array_equal(rle.parse("1 3 10 11", (4, 5), canonical=True), [[1, 3], [10, 11]])
    assert rle.parse("", canonical=True).shape == (0, 2)
    assert rle.parse(" \t").dtype == np.int64


@given(st.text(alphabet="0123456789 +-._", max_size=12))
@settings(max_examples=300, deadline=None)
def test_canonical_text_round_trips(text: str) -> None:
    try:
        rle.parse(text, (9, 9), canonical=True)
    except rle.RleError:
        return
    assert rle.encode(rle.decode(text, (9, 9))[None]) == [text]


@pytest.mark.skipif("TGS_DATA" not in os.environ, reason="set TGS_DATA to a folder with Kaggle's train.zip, train.csv")
def test_real_masks_encode_to_train_csv() -> None:
    cv2 = pytest.importorskip("cv2")
    folder = Path(os.environ["TGS_DATA"])
    with (folder / "train.csv").open(newline="") as file:
        published = {row["id"]: row["rle_mask"] for row in csv.DictReader(file)}
    masks = {}
    with zipfile.ZipFile(folder / "train.zip") as archive:
        for name in archive.namelist():
            if Path(name).parent.name == "masks" and name.endswith(".png"):
                image = cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_UNCHANGED)
                masks[Path(name).stem] = image > 0
    assert masks.keys() == published.keys()
    stack = np.stack([masks[name] for name in published])
    rows = "".join(f"{name},{text}\n" for name, text in published.items()).encode()
    assert rle.encode_table(stack, list(published), 1, threads=2) == rows
    assert all((rle.decode(text) == mask).all() for text, mask in zip(published.values(), stack, strict=True))
