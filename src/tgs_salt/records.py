"""The small JSON files that one step hands to another: what they hold, checked before anything is done with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tgs_salt import files
from tgs_salt.errors import UserError

Whole = Annotated[int, Field(ge=0, lt=2**31)]
Score = Annotated[float, Field(ge=0, le=1)]


class Record(BaseModel):
    """Values are of the very type that is written; other keys are left alone."""

    model_config = ConfigDict(strict=True, frozen=True, extra="allow")


class ThresholdDecision(Record):
    """threshold.json: a pixel is salt where byte >= threshold, a tile with fewer than `min_area` of them is empty."""

    threshold: Annotated[int, Field(ge=0, le=255)]
    min_area: Whole


class ThresholdReport(ThresholdDecision):
    """threshold.json with what the decision is worth, and whose it is."""

    score: Score
    cross_fitted_score: Score
    score_at_half: Score
    tiles: Annotated[Whole, Field(ge=1)]
    folds: list[Whole]
    models: list[str]


class Weights(Record):
    """ensemble/weights.json: the votes of each model, and the folds that they were trained on."""

    weights: Annotated[dict[str, Whole], Field(min_length=1)]
    folds: Annotated[list[Whole], Field(min_length=1)]


R = TypeVar("R", bound=Record)


def read_record(path: Path, kind: type[R]) -> R:
    """Read a record from `path`. UserError if the file is missing, is not JSON, or does not hold what it must."""
    return checked(files.read_json(path), kind, path, files.AGAIN)


def checked(content: Any, kind: type[R], path: Path, advice: str) -> R:
    """`content` of the file `path` as a record; UserError, with `advice`, about the first thing that is wrong."""
    try:
        return kind.model_validate(content)
    except ValidationError as problem:
        error = problem.errors(include_url=False)[0]
        key = ".".join(map(str, error["loc"]))
        what = f"{path}: {key}" if key else str(path)
        if error["type"] == "missing":
            raise UserError(f"{what} is missing; {advice}.") from None
        expected = error["msg"].replace("Input should be", "expected", 1)
        raise UserError(f"{what}: {expected}, found {repr(error['input'])[:40]}; {advice}.") from None
