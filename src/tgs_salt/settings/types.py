"""Value types that several settings share, and the base class of all sections."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

MAX_INT = 10**9
MAX_TILE_SIZE = 4096  # pixels
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"


def reject_bool(value: Any) -> Any:
    """Return `value`; ValueError for a bool, which pydantic would convert to 0 or 1."""
    if isinstance(value, bool):
        raise ValueError("expected a number")
    return value


def _check_max_int(value: int) -> int:
    if value > MAX_INT:
        raise ValueError("expected an integer of at most one billion")
    return value


# Unlike pydantic's types of the same names, these reject booleans, infinities and huge integers.
PositiveInt = Annotated[int, Field(ge=1), BeforeValidator(reject_bool), AfterValidator(_check_max_int)]
NonNegativeInt = Annotated[int, Field(ge=0), BeforeValidator(reject_bool), AfterValidator(_check_max_int)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False), BeforeValidator(reject_bool)]
UnitFloat = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), BeforeValidator(reject_bool)]  # in [0, 1]
Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=100)]


class ConfigModel(BaseModel):
    """Base class of all sections: unknown keys are errors, and strings are converted to the declared types.

    Snakemake passes nested values of `--config` as strings, so `"4"`, `"1e-3"` and `"null"` are accepted.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    @model_validator(mode="before")
    @classmethod
    def _convert_null(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {key: None if value in ("null", "None", "~") else value for key, value in data.items()}
