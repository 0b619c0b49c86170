"""The worker's threads: heartbeat, taking over from itself, stopping, a database that goes away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from tests.actions.toy import Toys, fresh, lease_runs_out, submit
from vpspanel.actions.claims import claim_next
from vpspanel.actions.command import Context
from vpspanel.actions.models import Action, ActionState
from vpspanel.actions.transport import wake
from vpspanel.actions.worker import Worker

pytestmark = pytest.mark.alone  # leases of a second: nothing else may hold the processor


@contextmanager
def at_work(toys: Toys, *, lease: float = 10.0, threads: int = 4) -> Iterator[Worker]:
    """A worker in a thread."""
    worker = Worker(toys.registry, lease_seconds=lease, threads=threads)

    def run() -> None:
        try:
            worker.run()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        thread.join()


def until(true: Callable[[], bool], seconds: float = 15.0) -> None:
    """Wait until it is true; fail if it does not become so."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def ended(action: Action) -> bool:
    return not fresh(action).is_open


def test_a_step_that_takes_longer_than_the_lease_is_kept(toys: Toys) -> None:
    others: list[object] = []

    def slow(context: Context) -> None:
        for _ in range(25):
            time.sleep(0.1)
            others.append(claim_next("another"))
        context.ensure_mine()

    toys.command("a")
    toys.plan["a"] = [slow]
    action = submit()
    with at_work(toys, lease=1.0):
        until(lambda: ended(action))
    assert set(others) == {None}
    assert (fresh(action).state, fresh(action).attempt) == (ActionState.SUCCESS, 1)


def test_a_worker_that_takes_over_from_itself_keeps_the_new_lease(toys: Toys) -> None:
    """As after the whole process was stopped for a while: the thread of before is still there."""
    again = threading.Event()

    def first(_: Context) -> None:
        lease_runs_out(action)
        wake()
        assert again.wait(5)

    def second(context: Context) -> None:
        again.set()
        time.sleep(2.5)
        context.ensure_mine()

    toys.command("a")
    toys.plan["a"] = [first, second]
    action = submit()
    with at_work(toys, lease=1.0):
        until(lambda: ended(action))
    assert (fresh(action).state, toys.calls) == (ActionState.SUCCESS, ["a", "a"])
    assert fresh(action).attempt == 2


def test_all_threads_work_at_once(toys: Toys) -> None:
    """Each holds a connection to the database, and heartbeat and claims need theirs as well."""
    together = threading.Barrier(8)

    def meet(_: Context) -> None:
        Action.objects.exists()
        together.wait(20)

    toys.command("a")
    toys.plan["a"] = [meet] * 8
    actions = [submit(number=number) for number in range(8)]
    with at_work(toys, threads=8):
        until(lambda: all(map(ended, actions)))
    assert {fresh(action).state for action in actions} == {ActionState.SUCCESS}
    assert not together.broken


def test_after_stop_what_is_in_hand_ends_and_nothing_new_begins(toys: Toys) -> None:
    busy = threading.Event()
    toys.command("a")

    def slow(_: Context) -> None:
        busy.set()
        time.sleep(0.5)

    toys.plan["a"] = [slow]
    action = submit()
    with at_work(toys) as worker:
        assert busy.wait(5)
        worker.stop()
        late = submit(number=2)
    assert fresh(action).state == ActionState.SUCCESS
    assert fresh(late).state == ActionState.QUEUED


def test_what_is_due_later_is_begun_then(toys: Toys) -> None:
    toys.command("a")
    action = submit()
    due = timezone.now() + timedelta(seconds=0.6)
    Action.objects.update(run_after=due)
    with at_work(toys):
        until(lambda: ended(action))
    begun = action.steps.get().started
    assert timedelta(0) <= begun - due < timedelta(seconds=1.5)


@pytest.mark.postgres
def test_a_connection_that_is_cut_in_mid_action_costs_one_lease(toys: Toys) -> None:
    def cut(_: Context) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    toys.command("a", "b")
    toys.plan["b"] = [cut]
    action = submit()
    with at_work(toys, lease=1.0):
        until(lambda: ended(action))
    assert (fresh(action).state, toys.calls) == (ActionState.SUCCESS, ["a", "b", "b"])
    assert fresh(action).attempt == 2
