"""How a model's loss is written: a sum of terms, each with a factor if wanted."""

from __future__ import annotations

import math
import re

LOSSES = ("bce", "dice", "focal", "lovasz", "symmetric_lovasz")


def parse_loss(text: str) -> dict[str, float]:
    """Read a sum such as `0.2*bce + lovasz` as {"bce": 0.2, "lovasz": 1.0}; ValueError if it is not one."""
    terms: dict[str, float] = {}
    for term in text.split("+"):
        match = re.fullmatch(r"\s*(?:([0-9.]+(?:e-?[0-9]+)?)\s*\*\s*)?([a-z_]+)\s*", term)
        factor = _factor(match[1]) if match else 0.0
        if not match or match[2] not in LOSSES or match[2] in terms or not 0 < factor < math.inf:
            raise ValueError(f"a sum of {', '.join(LOSSES)} such as '0.2*bce + lovasz' is expected")
        terms[match[2]] = factor
    return terms


def _factor(text: str | None) -> float:
    """A factor of a loss, 1 if none is written; 0 for what is no number, such as 1.2.3."""
    try:
        return float(text) if text else 1.0
    except ValueError:
        return 0.0
