"""Parser of `models.*.loss`: a weighted sum of loss terms."""

from __future__ import annotations

import math
import re

LOSSES = ("bce", "dice", "focal", "lovasz", "symmetric_lovasz")


def parse_loss(text: str) -> dict[str, float]:
    """Return the weight of each term of a sum: `0.2*bce + lovasz` gives {"bce": 0.2, "lovasz": 1.0}.

    Raises ValueError for anything else, repeated terms and weights that are not positive and finite included.
    """
    terms: dict[str, float] = {}
    for term in text.split("+"):
        match = re.fullmatch(r"\s*(?:([0-9.]+(?:e-?[0-9]+)?)\s*\*\s*)?([a-z_]+)\s*", term)
        weight = _parse_weight(match[1]) if match else 0.0
        if not match or match[2] not in LOSSES or match[2] in terms or not 0 < weight < math.inf:
            raise ValueError(f"expected a sum of {', '.join(LOSSES)} such as '0.2*bce + lovasz'")
        terms[match[2]] = weight
    return terms


def _parse_weight(text: str | None) -> float:
    """Return a term's weight: 1 without a factor, 0 (invalid) for malformed numbers such as 1.2.3."""
    try:
        return float(text) if text else 1.0
    except ValueError:
        return 0.0
