"""The engine with commands that do nothing: throughput, wake-up, and recovery from SIGKILL."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from django.db import connection, transaction
from django.db.models import Max, Min
from django.utils import timezone

from tests.bench import noop
from tests.bench.figures import Figure, percentile
from vpspanel.actions.claims import LEASE_SECONDS
from vpspanel.actions.models import OPEN_STATES, Action, ActionState
from vpspanel.actions.services import submit
from vpspanel.events.actor import SYSTEM
from vpspanel.events.bell import Bell, ring

ACTIONS = 400
THROUGHPUT_SECONDS = 10.0
WAKE_UPS = 60
BARE_SECONDS = 1.0
_resources = itertools.count(1)


@dataclass(slots=True)
class NoopWorker:
    """A worker process, and when it claimed what (wall clock, seconds)."""

    process: subprocess.Popen[bytes]
    log: Path

    def claimed(self) -> dict[int, list[float]]:
        """Action -> the times of its claims."""
        found: dict[int, list[float]] = {}
        for line in self.log.read_text().splitlines():
            action, when = line.split()
            found.setdefault(int(action), []).append(float(when))
        return found


def measure(database: str) -> list[Figure]:
    """All figures of the engine on the database of the settings, called `database` in the table."""
    part = f"Engine, {database}, 1 worker, 8 threads"
    with tempfile.TemporaryDirectory() as folder:
        figures = [_throughput(part, Path(folder) / "throughput")]
        figures += _wake_up(part, Path(folder) / "wake")
        figures.append(_recovery(part, Path(folder)))
    return figures


@contextlib.contextmanager
def worker(log: Path) -> Iterator[NoopWorker]:
    """One that runs; ended at the end, if it was not killed before."""
    log.touch()
    command = [sys.executable, "-m", "tests.bench.noop_worker", str(log)]
    process = subprocess.Popen(command, env=os.environ)
    try:
        yield NoopWorker(process, log)
    finally:
        process.terminate()
        process.wait(30)


def until(true: Callable[[], bool], what: str, *, seconds: float = 90, pause: float = 0.1) -> None:
    """Wait for it. Raises `TimeoutError`."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(pause)


def _all_ended() -> bool:
    return not Action.objects.filter(state__in=OPEN_STATES).exists()


# --- throughput -----------------------------------------------------------------


def _throughput(part: str, log: Path) -> Figure:
    """Actions per second of a full queue, beside bare transactions before and after."""
    bare = [_bare_rate()]
    now = timezone.now()
    Action.objects.bulk_create(
        Action(
            command=noop.NOOP.name,
            resource_type="bench",
            resource_id=next(_resources),
            run_after=now,
        )
        for _ in range(ACTIONS)
    )
    with worker(log), contextlib.suppress(TimeoutError):
        until(_all_ended, "the queue is empty", seconds=THROUGHPUT_SECONDS, pause=0.25)
    ended = Action.objects.filter(state=ActionState.SUCCESS)
    span = ended.aggregate(first=Min("started"), last=Max("finished"))
    rate = ended.count() / (span["last"] - span["first"]).total_seconds()
    Action.objects.all().delete()  # those that a slow machine did not get to
    bare.append(_bare_rate())
    peer = sum(bare) / len(bare)
    name = "bare INSERT+UPDATE transactions, 1 thread"
    return Figure(part, "no-op actions per second", rate, "/s", name, peer, rate / peer, less=False)


def _bare_rate() -> float:
    """Transactions of one INSERT and one UPDATE, per second, in this thread."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS bench_bare (id INTEGER PRIMARY KEY, n INTEGER)")
        cursor.execute("DELETE FROM bench_bare")
        started, count = time.perf_counter(), 0
        while time.perf_counter() - started < BARE_SECONDS:
            count += 1
            with transaction.atomic():
                cursor.execute("INSERT INTO bench_bare (id, n) VALUES (%s, 0)", [count])
                cursor.execute("UPDATE bench_bare SET n = 1 WHERE id = %s", [count])
        return count / (time.perf_counter() - started)


# --- wake-up --------------------------------------------------------------------


def _wake_up(part: str, log: Path) -> list[Figure]:
    """From the commit of an order to its claim by an idle worker."""
    delays = []
    with worker(log) as idle:
        _order_one(idle)  # it has started
        for _ in range(WAKE_UPS):
            committed, action = _order_one(idle)
            delays.append((idle.claimed()[action.pk][0] - committed) * 1000)
    bells = _bell_times()
    return [
        _beside_bell(part, f"order committed to claimed, p{percent}", delays, bells, percent)
        for percent in (50, 99)
    ]


def _beside_bell(
    part: str, what: str, delays: list[float], bells: list[float], percent: int
) -> Figure:
    value, limit = percentile(delays, percent), percentile(bells, percent)
    name = f"bell to a waiting thread, p{percent}"
    return Figure(part, what, value, "ms", name, limit, value / limit)


def _order_one(idle: NoopWorker) -> tuple[float, Action]:
    """Submit one, wait until it has ended; when its transaction was committed."""
    committed: list[float] = []
    with transaction.atomic():
        # Callbacks run in order: this one before the bell.
        transaction.on_commit(lambda: committed.append(time.time()))
        action = submit(noop.NOOP.name, resource=("bench", next(_resources)), actor=SYSTEM)
    until(lambda: action.pk in idle.claimed(), "the action is claimed", pause=0.02)
    until(_all_ended, "the action has ended", pause=0.02)
    time.sleep(0.02)  # the worker goes back to sleep
    return committed[0], action


def _bell_times() -> list[float]:
    """Milliseconds from a ring to a thread that waits for it: what no wake-up can beat."""
    times: list[float] = []
    with Bell("bench") as bell:
        for _ in range(WAKE_UPS):
            heard: list[float] = []
            listener = threading.Thread(target=_listen, args=(bell, heard))
            listener.start()
            time.sleep(0.005)
            rung = time.perf_counter()
            ring("bench")
            listener.join()
            times.append((heard[0] - rung) * 1000)
    return times


def _listen(bell: Bell, heard: list[float]) -> None:
    bell.wait(5)
    heard.append(time.perf_counter())


# --- recovery -------------------------------------------------------------------


def _recovery(part: str, folder: Path) -> Figure:
    """From SIGKILL in the middle of a step to the end of the action, with the real lease."""
    with worker(folder / "first") as first:
        action = submit(noop.LONG.name, resource=("bench", next(_resources)), actor=SYSTEM)
        until(lambda: action.pk in first.claimed(), "the action is claimed", pause=0.02)
        time.sleep(noop.LONG_SECONDS / 2)
        first.process.send_signal(signal.SIGKILL)
        killed = time.time()
        first.process.wait()
    with worker(folder / "second"):
        until(_all_ended, "the action was taken over and has ended")
    action.refresh_from_db()
    if action.state != ActionState.SUCCESS or action.attempt != 2 or action.finished is None:
        raise AssertionError(f"{action}: attempt {action.attempt}")
    took = action.finished.timestamp() - killed
    # The lease was renewed at most a third of it before the kill; the step then runs once more.
    limit = LEASE_SECONDS + noop.LONG_SECONDS
    return Figure(
        part,
        "SIGKILL in a step to the action's end",
        took,
        "s",
        "lease + the step again",
        limit,
        took / limit,
        target=LEASE_SECONDS + noop.LONG_SECONDS + 1,
    )
