"""Consoles: five ways from a viewer to a screen, side by side in one run.

A raw relay in C (the limit), websockify by itself, the endpoint inside the web
process, the same in a process of its own, and `consoleproxy`.
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.bench.console_lines import Line, burst, download
from tests.bench.console_urls import SLOW
from tests.bench.console_ways import (
    OWN,
    PROXY,
    RELAY,
    WEB,
    WEBSOCKIFY,
    Visitors,
    Way,
    all_ways,
)
from tests.bench.figures import Figure, compared, percentile

PART = "Consoles, five ways to a screen, SQLite"
ROUNDS = 9
DOWNLOAD = {1: 128, 4: 32}  # streams: MiB of each
ECHOES = 200  # of each way in a round
ECHOES_BESIDE = 1000  # so that they go on for longer than the call beside them
IDLE = 500
IDLE_PROCESSES = 20  # of a way that makes a process for each
STALL_SECONDS = 3.0
Ways = dict[str, Way]
Values = dict[str, list[float]]


def measure() -> list[Figure]:
    """All figures of consoles."""
    visitors = Visitors(IDLE)
    with (
        tempfile.TemporaryDirectory(prefix="vpsbench-", dir="/tmp") as folder,
        all_ways(Path(folder), visitors) as ways,
    ):
        for way in ways.values():
            way.open().close()  # what is made at the first use is no figure
        figures = _idle(ways)  # first: what others have left on the heap would be used again
        for streams in DOWNLOAD:
            figures += _throughput(ways, streams)
        for count in (1, 10, 100):
            figures += _echo(ways, count)
        figures += _echo_beside_the_database(ways)
        figures += _stalled(ways)
    return figures


# --- throughput ------------------------------------------------------------------------


def _throughput(ways: Ways, streams: int) -> list[Figure]:
    rates: Values = defaultdict(list)
    costs: dict[str, float] = defaultdict(float)
    size = DOWNLOAD[streams]
    for _ in range(ROUNDS):
        for name, way in ways.items():
            lines = [way.open() for _ in range(streams)]
            before = way.cpu_seconds()
            seconds = download(lines, size)
            costs[name] += way.cpu_seconds() - before
            rates[name].append(size * streams / seconds)
            for line in lines:
                line.close()
    label = f"{streams} stream{'s' if streams > 1 else ''}"
    return [
        *_compared(label, "MiB/s", rates, RELAY, (WEBSOCKIFY, WEB, OWN, PROXY), less=False),
        *_compared(label, "MiB/s", rates, WEBSOCKIFY, (WEB, OWN, PROXY), less=False),
        *_costs(label, costs, size * streams * ROUNDS / 1024),
    ]


def _costs(label: str, seconds: Mapping[str, float], gib: float) -> list[Figure]:
    """Of all rounds together: the system counts in steps of 10 ms."""
    peer = max(seconds[RELAY], 0.01)
    return [
        Figure(
            PART,
            f"{name}, {label}, processor",
            seconds[name] / gib,
            "s/GiB",
            RELAY,
            peer / gib,
            seconds[name] / peer,
        )
        for name in (WEBSOCKIFY, WEB, OWN, PROXY)
    ]


def _compared(
    label: str, unit: str, values: Values, peer: str, names: Sequence[str], *, less: bool = True
) -> list[Figure]:
    """A figure for each of the ways that were measured."""
    return [
        compared(PART, f"{name}, {label}", unit, values[name], values[peer], peer, less=less)
        for name in names
        if name in values
    ]


# --- echo --------------------------------------------------------------------------------


def _echo(ways: Ways, count: int) -> list[Figure]:
    with _opened(ways, count) as lines:
        p50, p99 = _echoes(lines)
        label = f"{count} console{'s' if count > 1 else ''} open"
        figures = _compared_echoes(label, p50, p99)
        if count == 100:
            for name in (RELAY, WEBSOCKIFY, WEB, OWN, PROXY):
                times = [ms for _ in range(ROUNDS) for ms in burst(lines[name])]
                what = f"{name}, a key on {count} consoles at once, p95"
                target = None if name in (RELAY, WEBSOCKIFY) else 200.0
                figures.append(Figure(PART, what, percentile(times, 95), "ms", target=target))
    return figures


def _echo_beside_the_database(ways: Ways) -> list[Figure]:
    chosen = {name: ways[name] for name in (RELAY, WEB, OWN)}
    with _opened(chosen, 1) as lines, _slow_requests(ways[WEB].port):
        p50, p99 = _echoes(lines, ECHOES_BESIDE)
    return _compared_echoes("beside a 100 ms database call", p50, p99)


def _echoes(lines: dict[str, list[Line]], count: int = ECHOES) -> tuple[Values, Values]:
    """Both percentiles of each round."""
    p50: Values = defaultdict(list)
    p99: Values = defaultdict(list)
    for _ in range(ROUNDS):
        for name, mine in lines.items():
            times = [mine[number % len(mine)].echo() for number in range(count)]
            p50[name].append(percentile(times, 50))
            p99[name].append(percentile(times, 99))
    return p50, p99


def _compared_echoes(label: str, p50: Values, p99: Values) -> list[Figure]:
    return [
        figure
        for word, values in (("p50", p50), ("p99", p99))
        for figure in _compared(
            f"echo {word}, {label}", "ms", values, RELAY, (WEBSOCKIFY, WEB, OWN, PROXY)
        )
    ]


@contextlib.contextmanager
def _opened(ways: Ways, count: int) -> Iterator[dict[str, list[Line]]]:
    lines = {name: [way.open() for _ in range(count)] for name, way in ways.items()}
    try:
        yield lines
    finally:
        for each in lines.values():
            for line in each:
                line.close()


@contextlib.contextmanager
def _slow_requests(port: int) -> Iterator[None]:
    """Somebody asks for the slow page again and again."""
    ending = threading.Event()

    def ask() -> None:
        while not ending.is_set():
            address = f"http://127.0.0.1:{port}{SLOW}"
            with urllib.request.urlopen(address, timeout=30) as answer:
                answer.read()

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


# --- memory --------------------------------------------------------------------------------


def _idle(ways: Ways) -> list[Figure]:
    figures = []
    for name in (WEB, OWN, WEBSOCKIFY, PROXY):
        way = ways[name]
        count = IDLE if name in (WEB, OWN) else IDLE_PROCESSES
        before = way.memory()
        lines = [way.open() for _ in range(count)]
        time.sleep(1)
        each = (way.memory() - before) / count / 1024
        target = 35.0 if name in (WEB, OWN) else None
        what = f"{name}, memory of an idle console ({count} open)"
        figures.append(Figure(PART, what, each, "KiB", target=target))
        for line in lines:
            line.close()
    return figures


def _stalled(ways: Ways) -> list[Figure]:
    """A viewer that has asked for a gigabyte and reads none of it."""
    figures = []
    for name in (WEB, OWN, WEBSOCKIFY, PROXY):
        way = ways[name]
        line = way.open()
        before = most = way.memory()
        line.ask(1024)
        until = time.monotonic() + STALL_SECONDS
        while time.monotonic() < until:
            time.sleep(0.1)
            most = max(most, way.memory())
        line.close()
        target = None if name == WEBSOCKIFY else 8.0
        what = f"{name}, growth with a stalled viewer"
        figures.append(Figure(PART, what, (most - before) / 1024**2, "MiB", target=target))
    return figures
