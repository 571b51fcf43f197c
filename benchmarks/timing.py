"""Interleaved timing and the table that comes of it."""

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Case:
    """One line of a table: a call, and how many times its work the whole job is (1 unless it is extrapolated)."""

    name: str
    call: Callable[[], object]
    times: float = 1
    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds) * self.times

    @property
    def best(self) -> float:
        return min(self.seconds) * self.times


def interleave(cases: list[Case], rounds: int) -> None:
    """Time every case once a round, after one round that is not timed: a busy machine is then busy for all of them."""
    for case in cases:
        case.call()
    gc.disable()
    for _ in range(rounds):
        for case in cases:
            start = time.perf_counter()
            case.call()
            case.seconds.append(time.perf_counter() - start)
    gc.enable()


def table(cases: list[Case], against: list[tuple[str, Case]]) -> str:
    """Markdown: medians, minima, and how many times faster each case is than each of `against`."""
    titles = ["", "ms (median)", "ms (best)", *(f"x {name}" for name, _ in against)]
    lines = [titles, ["---", *["---:"] * (len(titles) - 1)]]
    for case in cases:
        name = case.name if case.times == 1 else f"{case.name} (1/{case.times:.0f} of it run)"
        ratios = [f"{other.median / case.median:.3g}" for _, other in against]
        lines.append([name, f"{case.median * 1e3:.4g}", f"{case.best * 1e3:.4g}", *ratios])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
