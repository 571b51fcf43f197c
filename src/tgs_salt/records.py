"""Schemas of the small JSON files that pass between steps, and their validation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tgs_salt import files
from tgs_salt.errors import UserError

NonNegativeInt = Annotated[int, Field(ge=0, lt=2**31)]
Score = Annotated[float, Field(ge=0, le=1)]


class Record(BaseModel):
    """Base class of records: types are strict (no coercion), unknown keys are allowed."""

    model_config = ConfigDict(strict=True, frozen=True, extra="allow")


class ThresholdDecision(Record):
    """Threshold and minimum area in threshold.json.

    A pixel is salt where byte >= `threshold` (0..255). A tile with fewer than `min_area` salt pixels is empty.
    """

    threshold: Annotated[int, Field(ge=0, le=255)]
    min_area: NonNegativeInt


class ThresholdReport(ThresholdDecision):
    """All of threshold.json: the decision, its scores, and the folds and models that it is based on."""

    score: Score
    cross_fitted_score: Score
    score_at_half: Score
    tiles: Annotated[NonNegativeInt, Field(ge=1)]
    folds: list[NonNegativeInt]
    models: list[str]


class EnsembleWeights(Record):
    """ensemble/weights.json: the integer weight of each model, and the folds that the models were trained on."""

    weights: Annotated[dict[str, NonNegativeInt], Field(min_length=1)]
    folds: Annotated[list[NonNegativeInt], Field(min_length=1)]


R = TypeVar("R", bound=Record)


def read_record(path: Path, record_type: type[R]) -> R:
    """Return the record in the JSON file `path`.

    Raises:
        UserError: The file is missing, is not valid JSON, or does not match `record_type`.
    """
    return validate_record(files.read_json(path), record_type, path, files.RECREATE_HINT)


def validate_record(content: Any, record_type: type[R], path: Path, hint: str) -> R:
    """Return `content`, parsed from `path`, as a record.

    Raises:
        UserError: The content does not match `record_type`; the message names the first error and ends with `hint`.
    """
    try:
        return record_type.model_validate(content)
    except ValidationError as problem:
        error = problem.errors(include_url=False)[0]
        key = ".".join(map(str, error["loc"]))
        name = f"{path}: {key}" if key else str(path)
        if error["type"] == "missing":
            raise UserError(f"{name} is missing; {hint}.") from None
        expected = error["msg"].replace("Input should be", "expected", 1)
        raise UserError(f"{name}: {expected}, found {repr(error['input'])[:40]}; {hint}.") from None
