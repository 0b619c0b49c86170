"""Workers that can be killed: forked from the test, so that a kill costs milliseconds."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from datetime import timedelta

from django.db import connections
from django.utils import timezone

from hosts.virt.registry import close_all
from vpspanel.actions.command import registry
from vpspanel.actions.models import OPEN_STATES, Action, ActionState
from vpspanel.actions.runner import Observer
from vpspanel.actions.worker import Worker

LONG_LEASE = 600.0


def fork(work: Callable[[], None]) -> int:
    """Run `work` in a child process; its pid. The child shares no connection with this process."""
    connections.close_all()
    for database in connections.all():
        if hasattr(database, "close_pool"):
            database.close_pool()  # PostgreSQL's pool keeps sockets open that two would share
    close_all()
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
    finally:
        os._exit(0)


def outcome(pid: int) -> int:
    """Wait for the child; the signal that ended it, 0 if it ended by itself."""
    _, status = os.waitpid(pid, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def killed_at(action_id: int, point: str) -> bool:
    """Let a worker run until that action comes to `point`, and kill it there with SIGKILL.

    False if the action never came there (it has ended, or waits).
    """

    def work() -> None:
        observer = dies_at(action_id, point)
        Worker(registry, lease_seconds=LONG_LEASE, observer=observer).run_until_idle()

    return outcome(fork(work)) == signal.SIGKILL


def dies_at(action_id: int, point: str) -> Observer:
    """For a worker that gets SIGKILL when it comes to `point` of that action."""

    def die(action: Action, where: str) -> None:
        if action.pk == action_id and where == point:
            os.kill(os.getpid(), signal.SIGKILL)

    return die


def dismiss(pid: int) -> None:
    """End a child with SIGKILL. Fails if it has ended before by something else."""
    os.kill(pid, signal.SIGKILL)
    assert outcome(pid) == signal.SIGKILL


def let_leases_run_out() -> None:
    """Time passes: whoever held an action is taken for dead, and no pause is left to wait for."""
    past = timezone.now() - timedelta(seconds=1)
    running = Action.objects.filter(state=ActionState.RUNNING)
    running.filter(lease_until__isnull=False).update(lease_until=past)
    running.update(run_after=past)


def finish_everything(rounds: int = 30) -> None:
    """Let a healthy worker run until no action is open. Fails if one stays open."""
    for _ in range(rounds):
        let_leases_run_out()
        Worker(registry, lease_seconds=LONG_LEASE).run_until_idle()
        if not Action.objects.filter(state__in=OPEN_STATES).exists():
            return
    left = list(Action.objects.filter(state__in=OPEN_STATES).values("command", "state", "step"))
    raise AssertionError(f"still open: {left}")
