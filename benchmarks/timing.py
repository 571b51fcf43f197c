"""Interleaved timing and the tables that come of it."""

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Case:
    """One line of a table: a call, and how many times its work the whole job is (1 unless it is extrapolated).

    `clock` counts the processor seconds of whoever does the work.
    """

    name: str
    call: Callable[[], object]
    times: float = 1
    clock: Callable[[], float] = time.process_time
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)

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
            cpu = case.clock()
            start = time.perf_counter()
            case.call()
            case.seconds.append(time.perf_counter() - start)
            case.cpu_seconds.append(case.clock() - cpu)
    gc.enable()


def table(cases: list[Case], against: list[tuple[str, Case]]) -> str:
    """Markdown: medians, minima, and how many times faster each case is than each of `against`."""
    titles = ["", "ms (median)", "ms (best)", *(f"x {name}" for name, _ in against)]
    lines = []
    for case in cases:
        name = case.name if case.times == 1 else f"{case.name} (1/{case.times:.0f} of it run)"
        ratios = [f"{other.median / case.median:.3g}" for _, other in against]
        lines.append([name, f"{case.median * 1e3:.4g}", f"{case.best * 1e3:.4g}", *ratios])
    return markdown(titles, lines)


def throughput(cases: list[Case], tiles: int, base: Case) -> str:
    """Markdown of turns of `tiles` each: tiles a second, and how many times faster than `base`, round by round.

    The ratio is the median over the rounds, with the quartiles; the same in processor time, which neighbours on a
    busy machine hardly change.
    """
    titles = ["", "tiles/s", "ratio (quartiles)", "ratio in CPU time"]
    lines = []
    for case in cases:
        ratios = [a / b for a, b in zip(base.seconds, case.seconds, strict=True)]
        spent = [a / b for a, b in zip(base.cpu_seconds, case.cpu_seconds, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        spread = f"{middle:.3g} ({low:.3g} to {high:.3g})"
        lines.append([case.name, f"{tiles / case.median:.3g}", spread, f"{statistics.median(spent):.3g}"])
    return markdown(titles, lines)


def markdown(titles: list[str], lines: list[list[str]]) -> str:
    rows = [titles, ["---", *["---:"] * (len(titles) - 1)], *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
