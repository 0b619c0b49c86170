"""Figures as graphs: evenly spaced points, never more than a page can show, with units.

One query for each series, whatever the range: hours of 400 days are 9,600 rows at most.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from hosts.figures import beginning, of_guest, of_host, step_for
from hosts.models import Host
from hosts.virt.this_machine import is_this_machine
from vpspanel.errors import Refused
from vpspanel.servers.models import Server

MOST_POINTS = 720
TABLE_ROWS = 24


@dataclass(frozen=True, slots=True)
class Range:
    """How far back a graph goes."""

    name: str
    label: str
    span: timedelta


RANGES = (
    Range("1h", "1 hour", timedelta(hours=1)),
    Range("24h", "24 hours", timedelta(hours=24)),
    Range("14d", "14 days", timedelta(days=14)),
    Range("400d", "400 days", timedelta(days=400)),
)
USUAL = RANGES[1]


@dataclass(frozen=True, slots=True)
class Line:
    """A column of the samples; `factor` turns it into the unit of its graph."""

    column: str
    label: str
    factor: float = 1.0


@dataclass(frozen=True, slots=True)
class Graph:
    """What is drawn together. `unit`: %, MiB, B/s, bit/s, or "" for a bare number."""

    title: str
    unit: str
    lines: tuple[Line, ...]
    top: float | None = None  # where the axis ends, if that is known


@dataclass(frozen=True, slots=True)
class Drawn:
    """A graph with its values: one list for each line, as long as there are points."""

    graph: Graph
    values: list[list[float | None]]


@dataclass(frozen=True, slots=True)
class Series:
    """All graphs of one subject. The points begin at `start` and are `step` seconds apart."""

    range: Range
    start: datetime
    step: int
    points: int
    drawn: list[Drawn]

    @property
    def is_empty(self) -> bool:
        """Whether nothing was measured in all that time."""
        lists = (values for drawn in self.drawn for values in drawn.values)
        return all(value is None for values in lists for value in values)


_LOAD = Graph("Load", "", (Line("load_average", "running or waiting for a CPU"),))
_DISK = Graph("Disk", "B/s", (Line("disk_read_bytes", "read"), Line("disk_write_bytes", "written")))
_NETWORK = Graph(
    "Network", "bit/s", (Line("net_rx_bytes", "in", 8.0), Line("net_tx_bytes", "out", 8.0))
)


def range_named(name: str) -> Range:
    """Raises `Refused("invalid_input")` for one that does not exist; none is the usual one."""
    for one in RANGES:
        if one.name == name:
            return one
    if not name:
        return USUAL
    names = ", ".join(one.name for one in RANGES)
    raise Refused("invalid_input", f"The range must be one of {names}.", field="range")


def host_series(host: Host, of: Range, now: datetime | None = None) -> Series:
    """CPU and memory of the machine, disk and network of its guests together.

    Of the machine that the panel runs on also its load average and its swap.
    """
    here = is_this_machine(host.uri)
    memory = (Line("memory_mib", "used"), *((Line("swap_mib", "swapped out"),) if here else ()))
    graphs = (
        Graph("CPU", "%", (Line("cpu_percent", "busy", 1 / max(host.cpus, 1)),), top=100),
        *((_LOAD,) if here else ()),
        Graph("Memory", "MiB", memory, top=float(host.memory_mib) or None),
        _DISK,
        _NETWORK,
    )
    return _series(lambda start, end, step: of_host(host.pk, start, end, step), graphs, of, now)


def server_series(server: Server, of: Range, now: datetime | None = None) -> Series:
    """CPU with what others took of it, disk and network of a server."""
    share = 1 / max(server.vcpus, 1)
    cpu = (Line("cpu_percent", "busy", share), Line("steal_percent", "waiting for the host", share))
    graphs = (Graph("CPU", "%", cpu, top=100), _DISK, _NETWORK)
    return _series(
        lambda start, end, step: of_guest(server.uuid, start, end, step), graphs, of, now
    )


def _series(read: Any, graphs: Sequence[Graph], of: Range, now: datetime | None) -> Series:
    """Read the samples of a range and lay them on evenly spaced points."""
    now = now or timezone.now()
    kept = step_for(now - of.span, now, now, MOST_POINTS)
    count = math.ceil(of.span.total_seconds() / kept)
    together = math.ceil(count / MOST_POINTS)
    step = kept * together
    points = math.ceil(count / together)
    end = beginning(now, kept) + timedelta(seconds=kept)
    start = end - timedelta(seconds=step * points)
    columns = [line.column for graph in graphs for line in graph.lines]
    rows = read(start, end, kept).values_list("at", *columns)
    means = iter(_means(rows.iterator(chunk_size=2000), len(columns), start, step, points))
    drawn = [
        Drawn(graph, [_scaled(next(means), line.factor) for line in graph.lines])
        for graph in graphs
    ]
    return Series(of, start, step, points, drawn)


def _means(
    rows: Iterable[Sequence[Any]], width: int, start: datetime, step: int, points: int
) -> list[list[float | None]]:
    """For each column the mean of what was measured in each step; None where nothing was."""
    sums = [[0.0] * points for _ in range(width)]
    counts = [[0] * points for _ in range(width)]
    begin = start.timestamp()
    for at, *values in rows:
        point = int((at.timestamp() - begin) // step)
        for column, value in enumerate(values):
            if value is not None and 0 <= point < points:
                sums[column][point] += value
                counts[column][point] += 1
    return [
        [total / count if count else None for total, count in zip(*pair, strict=True)]
        for pair in zip(sums, counts, strict=True)
    ]


def _scaled(values: Iterable[float | None], factor: float) -> list[float | None]:
    return [None if value is None else round(value * factor, 2) for value in values]


# --- as pages and scripts need it ---------------------------------------------------------


def as_json(series: Series) -> dict[str, Any]:
    """What the page's script draws."""
    return {
        "range": series.range.name,
        "start": int(series.start.timestamp()),
        "step": series.step,
        "points": series.points,
        "graphs": [
            {
                "title": drawn.graph.title,
                "unit": drawn.graph.unit,
                "top": drawn.graph.top,
                "lines": [
                    {"label": line.label, "values": values}
                    for line, values in zip(drawn.graph.lines, drawn.values, strict=True)
                ],
            }
            for drawn in series.drawn
        ],
    }


@dataclass(frozen=True, slots=True)
class Row:
    """The means of a stretch of time."""

    at: datetime
    values: list[tuple[float | None, str]]  # with their units


@dataclass(frozen=True, slots=True)
class Table:
    """The same in a few rows, for who cannot see a graph or runs no scripts. Newest first."""

    heads: list[str]
    rows: list[Row]


def as_table(series: Series) -> Table:
    """At most `TABLE_ROWS` rows; stretches in which nothing was measured are left out."""
    heads = [
        f"{drawn.graph.title} {line.label}" for drawn in series.drawn for line in drawn.graph.lines
    ]
    width = math.ceil(series.points / TABLE_ROWS)
    rows = [_row(series, first, width) for first in range(0, series.points, width)]
    return Table(heads, [row for row in reversed(rows) if row is not None])


def _row(series: Series, first: int, width: int) -> Row | None:
    cells = [
        (_mean(values[first : first + width]), drawn.graph.unit)
        for drawn in series.drawn
        for values in drawn.values
    ]
    if all(value is None for value, _ in cells):
        return None
    return Row(series.start + timedelta(seconds=first * series.step), cells)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
