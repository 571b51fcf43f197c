"""Kinds of values that several keys have, and what all sections of the configuration share."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

BILLION = 10**9
MAX_TILE_SIZE = 4096  # pixels of a tile's side
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"


def no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("a number is expected, not yes or no")
    return value


def _countable(value: int) -> int:
    if value > BILLION:
        raise ValueError("a whole number up to a billion is expected")
    return value


Count = Annotated[int, Field(ge=1), BeforeValidator(no_bool), AfterValidator(_countable)]
Whole = Annotated[int, Field(ge=0), BeforeValidator(no_bool), AfterValidator(_countable)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), BeforeValidator(no_bool)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), BeforeValidator(no_bool)]
Name = Annotated[str, Field(pattern=NAME, max_length=100)]


class ConfigModel(BaseModel):
    """A part of the configuration: unknown keys are refused, values are coerced to the declared types.

    Snakemake hands nested values of `--config` over as strings, so `"4"`, `"1e-3"` and `"null"` have to serve.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    @model_validator(mode="before")
    @classmethod
    def _null_in_words(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {key: None if value in ("null", "None", "~") else value for key, value in data.items()}
