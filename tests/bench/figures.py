"""One line of the table, and the table."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

COLUMNS = ("what", "value", "target", "ratio", "peer or limit of the same run", "load")


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value. `ratio` is value / peer, the median over pairs where there are pairs.

    `less` says whether less is better; `load` is the machine's load average
    (one minute) when the figure was made.
    """

    part: str
    what: str
    value: float
    unit: str
    peer: str = ""
    peer_value: float | None = None
    ratio: float | None = None
    target: float | None = None
    less: bool = True
    load: float = field(default_factory=lambda: os.getloadavg()[0])

    @property
    def met(self) -> bool | None:
        """Whether the target was met; None if there is none."""
        if self.target is None:
            return None
        return self.value <= self.target if self.less else self.value >= self.target

    def as_dict(self) -> dict[str, Any]:
        """For the JSON file."""
        return {**asdict(self), "met": self.met}

    def cells(self) -> tuple[str, ...]:
        """For the table."""
        target = "" if self.target is None else f"{'≤' if self.less else '≥'} {self.target:g}"
        if self.met is False:
            target += " MISSED"
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        peer = self.peer
        if self.peer_value is not None:
            peer += f": {_number(self.peer_value)} {self.unit}"
        value = f"{_number(self.value)} {self.unit}".strip()
        return (self.what, value, target, ratio, peer, f"{self.load:.1f}")


def compared(
    part: str,
    what: str,
    unit: str,
    values: Sequence[float],
    peers: Sequence[float],
    peer: str,
    *,
    target: float | None = None,
    less: bool = True,
) -> Figure:
    """The median of `values` beside that of `peers`, which were measured alternately.

    The ratio is the median of the ratios of the pairs, so that what else the
    machine does weighs on both sides of each.
    """
    pairs = [mine / other for mine, other in zip(values, peers, strict=False)]
    return Figure(
        part,
        what,
        statistics.median(values),
        unit,
        peer,
        statistics.median(peers),
        statistics.median(pairs),
        target,
        less,
    )


def percentile(values: Iterable[float], percent: float) -> float:
    """The smallest value that `percent` of all do not exceed (nearest rank)."""
    ordered = sorted(values)
    rank = max(1, -(-len(ordered) * percent // 100))
    return ordered[int(rank) - 1]


def table(figures: Sequence[Figure]) -> str:
    """All figures under the headings of their parts."""
    rows = [figure.cells() for figure in figures]
    widths = [max(len(row[n]) for row in (COLUMNS, *rows)) for n in range(len(COLUMNS))]
    lines = [_line(COLUMNS, widths)]
    part = ""
    for figure, row in zip(figures, rows, strict=True):
        if figure.part != part:
            part = figure.part
            lines += ["", part]
        lines.append(_line(row, widths))
    return "\n".join(lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    # Text to the left, numbers to the right.
    aligned = [
        cell.rjust(width) if n in (1, 3, 5) else cell.ljust(width)
        for n, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  " + "  ".join(aligned).rstrip()


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
