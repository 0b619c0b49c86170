"""A hundred consoles at once: nobody sees a byte of somebody else's, and all of them are quick."""

from __future__ import annotations

import statistics
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.console_lines import Line
from tests.bench.console_ways import Visitors, started, wait_for
from tests.bench.figures import percentile
from tests.consoles.panel import database_url, free_port
from vpspanel.web import WEB_ENVIRONMENT

pytestmark = pytest.mark.alone

TURNS = 20
Opened = list[tuple[int, Line]]


@pytest.fixture
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """With guests that echo every key, in one process."""
    folder = tmp_path_factory.mktemp("many")
    command = [sys.executable, "-m", "tests.bench.console_guest", str(folder / "guests")]
    with started(command, folder / "guests.log", {}):
        yield folder


def keys(number: int, turn: int) -> bytes:
    """Three keys that say which console they were typed into."""
    return b"".join(struct.pack(">BBxxI", 4, 1, number << 16 | turn << 4 | n) for n in range(3))


def type_marks(lines: Opened) -> list[float]:
    """All type at the same time, again and again; how late the latest twentieth was, in ms."""
    late = []
    for turn in range(TURNS):
        times = []
        began = time.perf_counter()
        for number, line in lines:
            line.send(keys(number, turn))
        for number, line in lines:
            assert line.take(24) == keys(number, turn), "a foreign byte"
            times.append((time.perf_counter() - began) * 1000)
        late.append(percentile(times, 95))
    return late


@pytest.mark.parametrize(("what", "count"), [("consoles", 100), ("consoleproxy", 30)])
def test_marked_bytes_stay_apart(
    transactional_db: None, directory: Path, what: str, count: int
) -> None:
    """Two people, each with one server that half of the consoles look at."""
    people = [Visitors(1, "alice"), Visitors(1, "mallory")]
    port = free_port()
    command = [sys.executable, "-m", "tests.bench.console_process", str(directory / "guests")]
    environment = {
        **WEB_ENVIRONMENT,
        "DJANGO_SETTINGS_MODULE": "tests.bench.console_settings",
        "DATABASE_URL": database_url(),
    }
    log = directory / "panel.log"
    with started([*command, what, "--port", str(port)], log, environment):
        wait_for(port, log)
        lines: Opened = []
        for number in range(count):
            person = people[number % 2]
            at = person.at_proxy if what == "consoleproxy" else person.at_panel
            lines.append((number, at(port)))
        p95 = statistics.median(type_marks(lines))
        print(f"{count} consoles through {what}: echo p95 {p95:.1f} ms")
        for _, line in lines:
            line.close()
    assert p95 < 200
