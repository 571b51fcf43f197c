"""`compare`: two experiments side by side, tile by tile.

python -m tgs_salt compare results/tgs results/try2
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from tgs_salt.errors import UserError
from tgs_salt.evaluation import statistics
from tgs_salt.evaluation.experiment import Experiment
from tgs_salt.evaluation.out_of_fold import evaluate_oof

MAX_SHOWN = 5


@dataclass(frozen=True)
class Comparison:
    """Cross-fitted scores of the n tiles that both experiments predicted out of fold, in the first one's order."""

    ids: list[str]
    one: np.ndarray  # (n,) float64
    other: np.ndarray  # (n,) float64

    @property
    def gain(self) -> np.ndarray:
        """What the other is better by, (n,) float64."""
        return self.other - self.one


def compare(one: Path, other: Path, threads: int = 1) -> None:
    """Print the settings that differ, both scores, the paired difference with its interval, and tiles won and lost.

    Raises UserError if one has no decision yet, or if they are not about the same labelled tiles.
    """
    first, second = Experiment(one), Experiment(other)
    console = Console(soft_wrap=True, highlight=False)
    differing = dict(differences(first.settings, second.settings))
    table = Table(title="settings that differ", title_justify="left")
    for column in ("", str(one), str(other)):
        table.add_column(column)
    for key, (left, right) in differing.items():
        table.add_row(key, left, right)
    console.print(table if differing else _no_difference(first, second))
    pair = paired(first, second, threads)
    low, high = statistics.interval(pair.gain)
    console.print(f"\n{len(pair.ids):,} tiles that both predicted out of fold, cross-fitted score:")
    console.print(f"  {one}  {pair.one.mean():.4f}\n  {other}  {pair.other.mean():.4f}")
    console.print(f"difference  {pair.gain.mean():+.4f}, 95 % interval over tiles {low:+.4f} to {high:+.4f}")
    verdict = (
        f"{other if low > 0 else one} is better" if low > 0 or high < 0 else "these tiles cannot tell which is better"
    )
    console.print(f"  {verdict}; the interval holds the trained models fixed")
    won, lost = int((pair.gain > 0).sum()), int((pair.gain < 0).sum())
    console.print(
        f"tiles       {other} wins {won:,}, {one} wins {lost:,}, {len(pair.ids) - won - lost:,} are equal"
    )
    for name, gain in ((other, pair.gain), (one, -pair.gain)):
        best = [k for k in np.argsort(-gain, kind="stable")[:MAX_SHOWN] if gain[k] > 0]
        if best:
            console.print(f"  most won by {name}: {', '.join(f'{pair.ids[k]} (+{gain[k]:.1f})' for k in best)}")


def paired(first: Experiment, second: Experiment, threads: int = 1) -> Comparison:
    """The tiles that both experiments have scored, by id."""
    scores = []
    for experiment in (first, second):
        evaluation = evaluate_oof(experiment, threads)
        if evaluation is None:
            raise UserError(f"{experiment.folder}: no decision yet; run snakemake to the end first.")
        ids = experiment.split("train")["id"].to_numpy()[evaluation.rows]
        scores.append(dict(zip(ids, zip(evaluation.scores, evaluation.salt, strict=True), strict=True)))
    shared = [tile for tile in scores[0] if tile in scores[1]]
    if not shared:
        raise UserError(f"{first.folder} and {second.folder} share no tile; compare experiments on one dataset.")
    for tile in shared:
        if scores[0][tile][1] != scores[1][tile][1]:
            raise UserError(
                f"tile {tile} has other salt in {first.folder} than in {second.folder}; "
                "compare experiments on one dataset."
            )
    one, other = (np.array([own[tile][0] for tile in shared]) for own in scores)
    return Comparison(shared, one, other)


def differences(one: dict[str, Any], other: dict[str, Any]) -> Iterator[tuple[str, tuple[str, str]]]:
    """Dotted keys whose values differ, with both as text; `-` where one has no such key."""
    left, right = dict(_flat(one)), dict(_flat(other))
    for key in dict.fromkeys([*left, *right]):
        values = left.get(key, "-"), right.get(key, "-")
        if values[0] != values[1]:
            yield key, values


def _flat(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)


def _no_difference(first: Experiment, second: Experiment) -> str:
    for experiment in (first, second):
        if not experiment.settings:
            return f"{experiment.folder} has no settings.json: snakemake writes it when it starts."
    return "no setting differs"
