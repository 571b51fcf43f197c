"""Compare submissions with their probability bytes, and test that invalid submissions are rejected."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from benchmarks import jobs
from helpers.command_line import error_message, tgs_salt
from hypothesis import given, settings
from hypothesis import strategies as st

from tgs_salt import files
from tgs_salt.errors import UserError
from tgs_salt.postprocessing import submission as module
from tgs_salt.postprocessing.submission import check_submission, write_submission

SIDE = 9


def reference_decode(text: str, height: int, width: int) -> np.ndarray:
    """Set the pixels of the runs one by one, numbered from 1, column by column."""
    mask = np.zeros((height, width), bool)
    numbers = [int(number) for number in text.split()]
    for start, length in zip(numbers[::2], numbers[1::2], strict=True):
        for pixel in range(start - 1, start - 1 + length):
            assert not mask[pixel % height, pixel // height], "runs are disjoint"
            mask[pixel % height, pixel // height] = True
    return mask


def write_inputs(folder: Path, probabilities: np.ndarray, threshold: object, min_area: object) -> list[str]:
    """Write test.npy, threshold.json, tiles.csv and sample.csv; return the ids, which are not sorted."""
    ids = [f"{(k * 7919) % 10007:010x}" for k in range(1, len(probabilities) + 1)]
    files.write_array(folder / "test.npy", probabilities)
    (folder / "threshold.json").write_text(json.dumps({"threshold": threshold, "min_area": min_area}))
    train = pd.DataFrame({"id": ["a"], "split": "train", "row": [0], "depth": 1.0, "coverage": 0.0})
    test = pd.DataFrame({"id": ids, "split": "test", "row": range(len(ids)), "depth": 1.0})
    pd.concat([train, test]).assign(blank=False).to_csv(folder / "tiles.csv", index=False)
    (folder / "sample.csv").write_text("id,rle_mask\n" + "".join(f"{tile_id},1 1\n" for tile_id in ids))
    return ids


def run(folder: Path, threads: int = 1) -> None:
    write_submission(
        folder / "test.npy", folder / "threshold.json", folder / "tiles.csv", folder / "submission.csv", threads
    )


@pytest.mark.parametrize(
    ("shape", "threshold", "min_area"),
    [((101, 101), 128, 40), ((7, 12), 200, 3), ((12, 7), 1, 0), ((5, 5), 0, 0), ((5, 5), 255, 25), ((4, 4), 9, 17)],
)
@pytest.mark.parametrize("chunk", [4096, 5])
def test_masks_match_the_probabilities(
    tmp_path: Path, shape: tuple[int, int], threshold: int, min_area: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK", chunk)
    rng = np.random.default_rng(shape[0] + threshold)
    probabilities = rng.integers(0, 256, (17, *shape)).astype(np.uint8)
    probabilities[2:6] //= rng.integers(1, 9, (4, 1, 1), np.uint8)
    probabilities[6], probabilities[7] = 0, 255
    probabilities[8] = np.where(np.arange(shape[1]) % 2, 255, 0)
    ids = write_inputs(tmp_path, probabilities, threshold, min_area)
    run(tmp_path, threads=2)

    raw = (tmp_path / "submission.csv").read_bytes()
    assert raw.isascii() and b"\r" not in raw and raw.endswith(b"\n") and raw.count(b"\n") == 18
    written = pd.read_csv(tmp_path / "submission.csv", dtype=str, keep_default_na=False)
    assert list(written) == ["id", "rle_mask"] and list(written["id"]) == ids
    empty = 0
    for text, tile in zip(written["rle_mask"], probabilities, strict=True):
        salt = tile >= threshold
        if salt.sum() < min_area:
            salt[:] = False
        assert np.array_equal(reference_decode(text, *shape), salt)
        starts, lengths = (np.array(text.split(), int)[k::2] for k in (0, 1))
        assert (starts[1:] > starts[:-1] + lengths[:-1]).all() if text else not salt.any()
        empty += not salt.any()
    assert check_submission(tmp_path / "submission.csv", tmp_path / "sample.csv", shape) == empty


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_probabilities_give_a_valid_file(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("any")
    count, height, width = (data.draw(st.integers(1, maximum)) for maximum in (4, 6, 6))
    values = data.draw(st.lists(st.integers(0, 255), min_size=count * height * width, max_size=count * height * width))
    probabilities = np.array(values, np.uint8).reshape(count, height, width)
    threshold, min_area = data.draw(st.integers(0, 255)), data.draw(st.integers(0, height * width + 1))
    write_inputs(folder, probabilities, threshold, min_area)
    run(folder)
    lines = (folder / "submission.csv").read_text().splitlines()[1:]
    masks = [reference_decode(line.partition(",")[2], height, width) for line in lines]
    expected = [salt if (salt := tile >= threshold).sum() >= min_area else salt & False for tile in probabilities]
    assert np.array_equal(masks, expected)
    assert check_submission(folder / "submission.csv", folder / "sample.csv", (height, width)) == sum(
        not mask.any() for mask in expected
    )


def test_unchanged_file_is_not_rewritten(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    write_inputs(tmp_path, rng.integers(0, 256, (5, SIDE, SIDE)).astype(np.uint8), 100, 2)
    run(tmp_path)
    before = (tmp_path / "submission.csv").stat()
    run(tmp_path)
    after = (tmp_path / "submission.csv").stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)


@pytest.mark.parametrize(
    ("decision", "message"),
    [
        ("{", "threshold.json: not valid JSON ("),
        ('{"threshold": 128}', "threshold.json: min_area is missing; delete this file and run snakemake again."),
        (
            "[128, 0]",
            "threshold.json: expected a valid dictionary or instance of ThresholdDecision, found [128, 0]; delete",
        ),
        ('{"threshold": null, "min_area": 0}', "threshold.json: threshold: expected a valid integer, found None;"),
        ('{"threshold": 256, "min_area": 0}', "threshold.json: threshold: expected less than or equal to 255, found"),
        ('{"threshold": -1, "min_area": 0}', "threshold.json: threshold: expected greater than or equal to 0, found"),
    ],
)
def test_invalid_decision(tmp_path: Path, decision: str, message: str) -> None:
    write_inputs(tmp_path, np.zeros((3, SIDE, SIDE), np.uint8), 128, 0)
    run(tmp_path)
    before = (tmp_path / "submission.csv").read_bytes()
    (tmp_path / "threshold.json").write_text(decision)
    with pytest.raises(UserError, match=re.escape(message)):
        run(tmp_path)
    assert (tmp_path / "submission.csv").read_bytes() == before


def test_array_of_other_tiles(tmp_path: Path) -> None:
    write_inputs(tmp_path, np.zeros((3, SIDE, SIDE), np.uint8), 128, 0)
    files.write_array(tmp_path / "test.npy", np.zeros((4, SIDE, SIDE), np.uint8))
    with pytest.raises(UserError, match=r"test\.npy: expected uint8 3xnxn, found uint8 4x9x9; delete this file"):
        run(tmp_path)
    assert not list(tmp_path.glob("*submission*"))


def test_id_that_needs_quoting(tmp_path: Path) -> None:
    write_inputs(tmp_path, np.zeros((3, SIDE, SIDE), np.uint8), 128, 0)
    tiles = pd.read_csv(tmp_path / "tiles.csv", dtype=str)
    tiles.loc[2, "id"] = "a,b"
    tiles.to_csv(tmp_path / "tiles.csv", index=False)
    with pytest.raises(UserError, match=r"id 'a,b' is empty or contains a comma, a quote or a line break; rename"):
        run(tmp_path)
    assert not list(tmp_path.glob("*submission*"))


# check_submission

GOOD = ["aa,1 1", "bb,", "cc,1 4 6 5 80 2", "dd,82 1000 2000 1", "ee,1 10201"]


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    path = tmp_path / "sample.csv"
    path.write_text("id,rle_mask\n" + "".join(f"{row[:2]},1 1\n" for row in GOOD))
    return path


def lines(*rows: str, header: str = "id,rle_mask") -> bytes:
    return "".join(f"{line}\n" for line in (header, *rows)).encode()


def with_rle(text: str) -> bytes:
    """Return a submission whose third row has this RLE."""
    return lines(*GOOD[:2], f"cc,{text}", *GOOD[3:])


@pytest.mark.parametrize(
    "content", [lines(*GOOD), lines(*GOOD)[:-1], lines(*GOOD).replace(b"\n", b"\r\n")], ids=["lf", "no last lf", "crlf"]
)
def test_valid_submission(tmp_path: Path, sample: Path, content: bytes) -> None:
    (tmp_path / "submission.csv").write_bytes(content)
    assert check_submission(tmp_path / "submission.csv", sample) == 1


BAD: list[tuple[bytes | None, str]] = [
    (None, ": no such file; pass the path of a submission.csv."),
    (b"", ": line 1 is '', expected 'id,rle_mask'."),
    (lines(*GOOD, header="id,rle"), ": line 1 is 'id,rle', expected 'id,rle_mask'."),
    (lines(*GOOD, header="rle_mask,id"), ": line 1 is 'rle_mask,id', expected 'id,rle_mask'."),
    (lines(*GOOD)[12:], ": line 1 is 'aa,1 1', expected 'id,rle_mask'."),
    (lines(), ": 0 rows, expected 5; id aa is missing."),
    (lines(*GOOD[:4]), ": 4 rows, expected 5; id ee is missing."),
    (lines(*GOOD[:2], *GOOD[3:]), ": line 4: found id 'dd', expected 'cc' (use the ids of the sample, in its order)."),
    (lines(*GOOD, "ff,"), ": line 7: more rows than the 5 of the sample."),
    (lines(*GOOD, ""), ": line 7: more rows than the 5 of the sample."),
    (lines(GOOD[1], GOOD[0], *GOOD[2:]), ": line 2: found id 'bb', expected 'aa' (use the ids of the sample, in"),
    (lines(GOOD[0], GOOD[0], *GOOD[2:]), ": line 3: found id 'aa', expected 'bb' (use the ids of the sample, in"),
    (lines("", *GOOD), ": line 2: found id '', expected 'aa'"),
    (lines("aa", *GOOD[1:]), ": line 2: found id 'aa', expected 'aa'"),
    (lines("aa;1 1", *GOOD[1:]), ": line 2: found id 'aa;1 1', expected 'aa'"),
    (with_rle("6 5 1 4"), ": line 4, id cc: run '1 4' (token 3 of the RLE) begins before the previous run '6 5'"),
    (with_rle("1 4 4 2"), ": line 4, id cc: run '4 2' (token 3 of the RLE) overlaps the previous run '1 4'"),
    (with_rle("1 4 1 4"), ": line 4, id cc: run '1 4' (token 3 of the RLE) overlaps the previous run '1 4'"),
    (with_rle("1 4 5 2"), ": line 4, id cc: '1 4 5 2' is not canonical RLE; expected '1 6'."),
    (with_rle("10200 3"), ": line 4, id cc: run '10200 3' (token 1 of the RLE) ends past the last pixel, 10201,"),
    (with_rle("10202 1"), ": line 4, id cc: run '10202 1' (token 1 of the RLE) ends past the last pixel, 10201,"),
    (with_rle("1 0"), ": line 4, id cc: token 2 of the RLE, '0', is not a length: it must be positive"),
    (with_rle("0 1"), ": line 4, id cc: token 1 of the RLE, '0', is not a start: it must be positive"),
    (with_rle("1 2 3"), ": line 4, id cc: RLE has 3 numbers, the last '3'; expected pairs"),
    (with_rle("-1 2"), ": line 4, id cc: token 1 of the RLE, '-1', is not a start: it must be positive"),
    (with_rle("5 -2"), ": line 4, id cc: token 2 of the RLE, '-2', is not a length: it must be positive"),
    (with_rle("1.0 2"), ": line 4, id cc: token 1 of the RLE, '1.0', is not a start: expected plain digits"),
    (with_rle("1e3 2"), ": line 4, id cc: token 1 of the RLE, '1e3', is not a start: expected plain digits"),
    (with_rle("1 4,9"), ": line 4, id cc: token 2 of the RLE, '4,9', is not a length: expected plain digits"),
    (with_rle('"1 4"'), ": line 4, id cc: token 1 of the RLE, '\"1', is not a start: expected plain digits"),
    (with_rle("nan"), ": line 4, id cc: RLE has 1 numbers, the last 'nan'; expected pairs"),
    (with_rle("9" * 30 + " 1"), ": line 4, id cc: token 1 of the RLE, '999999999999999999999...', is a start"),
    (with_rle("01 4"), ": line 4, id cc: '01 4' is not canonical RLE; expected '1 4'."),
    (with_rle("1  4"), ": line 4, id cc: '1  4' is not canonical RLE; expected '1 4'."),
    (with_rle(" 1 4"), ": line 4, id cc: ' 1 4' is not canonical RLE; expected '1 4'."),
    (with_rle(" "), ": line 4, id cc: ' ' is not canonical RLE; expected ''."),
    (with_rle("1 4 ").replace(b"1 4 ", "1\u00a04".encode()), ": contains non-ASCII characters; expected id,rle_mask"),
    ("\ufeff".encode() + lines(*GOOD), ": contains non-ASCII characters; expected id,rle_mask and numbers."),
    (with_rle("\u0661 4"), ": contains non-ASCII characters; expected id,rle_mask and numbers."),
    (lines(*GOOD).replace(b"\n", b"\0"), ": line 1 is 'id,rle_mask"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"), BAD, ids=[f"{k}-{message[-30:]}" for k, (_, message) in enumerate(BAD)]
)
def test_invalid_submission(tmp_path: Path, sample: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "submission.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=f"^{re.escape(f'{path}{message}')}") as caught:
        check_submission(path, sample)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, ": no such file; pass the competition's sample_submission.csv."),
        (b"", ": not a CSV table (No columns to parse from file); pass the competition's sample_submission.csv."),
        (b"tile,rle_mask\naa,1 1\n", ": no column 'id'; pass the competition's sample_submission.csv."),
    ],
)
def test_invalid_sample(tmp_path: Path, content: bytes | None, message: str) -> None:
    (tmp_path / "submission.csv").write_bytes(lines(*GOOD))
    path = tmp_path / "other.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=f"^{re.escape(f'{path}{message}')}$"):
        check_submission(tmp_path / "submission.csv", path)


def test_tile_shape(tmp_path: Path, sample: Path) -> None:
    (tmp_path / "submission.csv").write_bytes(lines("aa,1 1", "bb,", "cc,", "dd,", "ee,36 1"))
    assert check_submission(tmp_path / "submission.csv", sample, (6, 6)) == 3
    with pytest.raises(
        UserError, match=r"line 6, id ee: run '36 1' .* ends past the last pixel, 35, of a tile of 5 x 7"
    ):
        check_submission(tmp_path / "submission.csv", sample, (5, 7))


CORRUPTIONS: list[Callable[[list[int]], list[int]]] = [
    lambda runs: [runs[0], runs[1] + runs[2] - runs[0] - runs[1], *runs[2:]],  # adjacent to the next run
    lambda runs: [runs[0], runs[2] - runs[0] + 1, *runs[2:]],  # overlaps the next run
    lambda runs: [*runs[2:4], *runs[:2], *runs[4:]],
    lambda runs: runs[:-1],
    lambda runs: [*runs[:-1], 0],
    lambda runs: [*runs[:-1], SIDE * SIDE],
    lambda runs: [-runs[0], *runs[1:]],
]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(CORRUPTIONS))
def test_single_corrupt_mask_is_found(
    tmp_path_factory: pytest.TempPathFactory, seed: int, corrupt: Callable[[list[int]], list[int]]
) -> None:
    folder = tmp_path_factory.mktemp("corrupt")
    rng = np.random.default_rng(seed)
    ids = write_inputs(folder, rng.integers(0, 256, (6, SIDE, SIDE)).astype(np.uint8), 128, 0)
    run(folder)
    rows = (folder / "submission.csv").read_text().splitlines()
    row = int(rng.integers(1, 7))
    runs = [int(number) for number in rows[row].partition(",")[2].split()]
    assert len(runs) >= 4
    rows[row] = f"{ids[row - 1]},{' '.join(map(str, corrupt(runs)))}"
    (folder / "submission.csv").write_text("\n".join(rows) + "\n")
    with pytest.raises(UserError, match=f"line {row + 1}, id {ids[row - 1]}: "):
        check_submission(folder / "submission.csv", folder / "sample.csv", (SIDE, SIDE))


@pytest.mark.slow
def test_memory_stays_bounded(tmp_path: Path) -> None:
    """Write the submission of 2 GB of probabilities; mapped pages would count as memory of the process."""
    jobs.write_submission_inputs(tmp_path, 200_000)
    jobs.write_sparse_array(tmp_path / "test.npy", np.ones((3, 101, 101), np.uint8), 200_000)
    cost = jobs.run_submission(tmp_path, threads=2)
    assert cost.peak_bytes < 500e6
    with open(tmp_path / "submission.csv") as stream:
        assert sum(line.endswith(",1 10201\n") for line in stream) == 20_000


# command


def test_check_submission_command(tmp_path: Path, sample: Path) -> None:
    path = tmp_path / "submission.csv"
    path.write_bytes(lines(*GOOD))
    process = tgs_salt("check-submission", path, sample)
    assert (process.returncode, process.stdout) == (0, f"{path}: valid, 1 masks without salt\n")
    message = error_message(tgs_salt("check-submission", path, sample, "--tile-size", 20))
    assert message.startswith(f"{path}: line 5, id dd: run '82 1000'")
