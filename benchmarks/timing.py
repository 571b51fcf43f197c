"""Interleaved timing, and Markdown tables of the results."""

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Case:
    """One line of a table.

    Attributes:
        name: Label of the line.
        call: Function to time.
        scale: Factor from the work of one call to the whole job; not 1 if the time is extrapolated.
        clock: Function that returns the CPU seconds of the process that does the work.
        seconds: Wall-clock seconds of each round.
        cpu_seconds: CPU seconds of each round.
    """

    name: str
    call: Callable[[], object]
    scale: float = 1
    clock: Callable[[], float] = time.process_time
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Median seconds of the whole job."""
        return statistics.median(self.seconds) * self.scale

    @property
    def best(self) -> float:
        """Minimum seconds of the whole job."""
        return min(self.seconds) * self.scale


def interleave(cases: list[Case], rounds: int) -> None:
    """Time each case once per round, after one warm-up round; load on the machine then affects all cases alike."""
    for case in cases:
        case.call()
    gc.disable()
    for _ in range(rounds):
        for case in cases:
            cpu_start = case.clock()
            start = time.perf_counter()
            case.call()
            case.seconds.append(time.perf_counter() - start)
            case.cpu_seconds.append(case.clock() - cpu_start)
    gc.enable()


def table(cases: list[Case], references: list[tuple[str, Case]]) -> str:
    """Return a Markdown table of medians, minima, and the speed-up of each case over each of `references`."""
    header = ["", "ms (median)", "ms (best)", *(f"x {name}" for name, _ in references)]
    rows = []
    for case in cases:
        name = case.name if case.scale == 1 else f"{case.name} (extrapolated from 1/{case.scale:.0f})"
        ratios = [f"{reference.median / case.median:.3g}" for _, reference in references]
        rows.append([name, f"{case.median * 1e3:.4g}", f"{case.best * 1e3:.4g}", *ratios])
    return markdown(header, rows)


def throughput(cases: list[Case], tiles: int, reference: Case) -> str:
    """Return a Markdown table of tiles per second, `tiles` per call, and of speed-ups over `reference`.

    A speed-up is the median of the ratios of all rounds, with quartiles. The ratio of CPU times hardly depends on other
    load on the machine.
    """
    header = ["", "tiles/s", "ratio (quartiles)", "ratio in CPU time"]
    rows = []
    for case in cases:
        ratios = [a / b for a, b in zip(reference.seconds, case.seconds, strict=True)]
        cpu_ratios = [a / b for a, b in zip(reference.cpu_seconds, case.cpu_seconds, strict=True)]
        low, median, high = statistics.quantiles(ratios, n=4)
        quartiles = f"{median:.3g} ({low:.3g} to {high:.3g})"
        rows.append([case.name, f"{tiles / case.median:.3g}", quartiles, f"{statistics.median(cpu_ratios):.3g}"])
    return markdown(header, rows)


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table with right-aligned columns, except the first."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
