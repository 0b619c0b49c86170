"""Who works on what: order, limits, leases, and writes that come too late."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from tests.actions.toy import Toys, claim, fresh, lease_runs_out, submit
from tests.chaos.mortal import fork, outcome
from vpspanel.actions import services
from vpspanel.actions.claims import Claim, claim_next, next_due, renew, save_progress, write
from vpspanel.actions.command import Context, Outcome
from vpspanel.actions.errors import Fail, Fenced, Wait
from vpspanel.actions.models import Action, ActionState
from vpspanel.actions.runner import MAX_TAKEOVERS
from vpspanel.events.actor import SYSTEM

pytestmark = pytest.mark.both_databases


def claimed_id(worker: str = "me") -> int | None:
    found = claim_next(worker)
    return found.action_id if found is not None else None


def all_at_once(act: Callable[[], Claim | None], people: int = 8) -> list[Claim]:
    """What everybody gets who acts at the same moment."""
    got: list[Claim | None] = []
    barrier = threading.Barrier(people)

    def one() -> None:
        barrier.wait()
        try:
            got.append(act())
        finally:
            connection.close()

    threads = [threading.Thread(target=one) for _ in range(people)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [found for found in got if found is not None]


def test_who_has_been_due_longest_comes_first(toys: Toys) -> None:
    toys.command("a")
    actions = [submit(number=number) for number in range(3)]
    now = timezone.now()
    for action, seconds in zip(actions, (5, 9, -60), strict=True):
        Action.objects.filter(pk=action.pk).update(run_after=now - timedelta(seconds=seconds))
    assert [claimed_id() for _ in range(3)] == [actions[1].pk, actions[0].pk, None]
    assert next_due() == fresh(actions[2]).run_after


def test_a_full_group_waits_and_holds_up_nobody_else(toys: Toys) -> None:
    toys.command("a")
    crowd = [submit(number=n, group="host", group_limit=2) for n in range(3)]
    other = submit(number=9, group="other", group_limit=1)
    assert [claimed_id() for _ in range(4)] == [crowd[0].pk, crowd[1].pk, other.pk, None]
    toys.run(Claim(crowd[0].pk, 1, 10.0))
    assert claimed_id() == crowd[2].pk


def test_who_waits_takes_no_place_in_its_group(toys: Toys) -> None:
    toys.command("a")
    toys.plan["a"] = [Wait(60)]
    submit(number=1, group="host", group_limit=1)
    second = submit(number=2, group="host", group_limit=1)
    toys.run(claim())
    assert claimed_id() == second.pk


def test_an_action_is_claimed_once_whatever_the_crowd(toys: Toys) -> None:
    toys.command("a")
    for _ in range(10):
        action = submit()
        assert len(all_at_once(lambda: claim_next("somebody"))) == 1
        assert fresh(action).attempt == 1
        Action.objects.update(state=ActionState.ERROR)


def test_a_group_is_never_over_full_whatever_the_crowd(toys: Toys) -> None:
    toys.command("a")
    for _ in range(10):
        for number in range(8):
            submit(number=number, group="host", group_limit=2)
        assert len(all_at_once(lambda: claim_next("somebody"))) <= 2
        assert claim_next("late") is None or Action.objects.filter(attempt=1).count() == 2
        Action.objects.all().delete()


def test_a_lease_that_runs_out_is_taken_over(toys: Toys) -> None:
    toys.command("a")
    action = submit()
    old = claim("old")
    assert claimed_id("new") is None
    lease_runs_out(action)
    new = claim("new")
    assert (new.action_id, new.attempt, fresh(action).worker) == (action.pk, 2, "new")
    with pytest.raises(Fenced):
        write(old, detail="late")
    with pytest.raises(Fenced):
        save_progress(old, 50, "late")
    with pytest.raises(Fenced):
        write(old, record=("a", False, timezone.now()))
    assert not renew(old)
    with pytest.raises(Fenced):
        old.ensure_mine()
    assert renew(new)
    toys.run(old)
    assert (fresh(action).detail, action.steps.count(), toys.calls) == ("", 0, [])
    toys.run(new)
    assert fresh(action).state == ActionState.SUCCESS


def test_a_claim_that_was_not_renewed_in_time_is_not_trusted(toys: Toys) -> None:
    toys.command("a")
    submit()
    held = claim()
    held.ensure_mine()
    held.renewed -= 11
    with pytest.raises(Fenced):
        held.ensure_mine()
    assert renew(held), "nobody has taken it yet"
    held.ensure_mine()


def test_what_was_given_back_is_not_leased_again_by_a_late_heartbeat(toys: Toys) -> None:
    toys.command("a")
    toys.plan["a"] = [Wait(60)]
    action = submit()
    held = claim()
    toys.run(held)
    assert not renew(held)
    assert fresh(action).lease_until is None


def test_a_clock_that_was_set_back_holds_up_nothing_for_long(toys: Toys) -> None:
    toys.command("a")
    tomorrow = timezone.now() + timedelta(days=1)
    queued, held = submit(number=1), submit(number=2, group="host", group_limit=1)
    behind = submit(number=3, group="host", group_limit=1)
    Action.objects.filter(pk=queued.pk).update(run_after=tomorrow)
    Action.objects.filter(pk=held.pk).update(
        state=ActionState.RUNNING, attempt=1, lease_until=tomorrow
    )
    assert {claimed_id(), claimed_id()} == {held.pk, queued.pk}
    assert claimed_id() is None
    Action.objects.filter(pk=held.pk).update(state=ActionState.ERROR)
    assert claimed_id() == behind.pk


def test_a_step_that_always_loses_its_worker_is_parked(toys: Toys) -> None:
    """Lost workers are counted for each step, forward and back."""
    toys.command("a", "b")

    def lose(name: str, times: int) -> None:
        toys.plan[name] += [OperationalError("as if it had died")] * times

    lose("a", MAX_TAKEOVERS)
    lose("b", MAX_TAKEOVERS)
    toys.plan["b"].append(Fail("broken", "It broke."))
    lose("undo b", MAX_TAKEOVERS)
    lose("undo a", MAX_TAKEOVERS + 1)
    action = submit()
    for _ in range(4 * MAX_TAKEOVERS + 1):
        with pytest.raises(OperationalError):
            toys.run(claim())
        assert fresh(action).state == ActionState.RUNNING
        lease_runs_out(action)
    toys.run(claim())
    action = fresh(action)
    assert (action.state, toys.plan["undo a"]) == (ActionState.PARKED, [])
    assert "11 workers were lost" in action.error_detail
    services.retry_parked(action, actor=SYSTEM)
    toys.work()
    assert (fresh(action).state, fresh(action).memory) == (ActionState.ERROR, {})


@pytest.mark.parametrize("looks", [True, False], ids=["looks again", "only writes"])
def test_who_was_stopped_for_longer_than_the_lease_writes_nothing(toys: Toys, looks: bool) -> None:
    started, tell = os.pipe()
    listen, go = os.pipe()
    child = os.getpid()

    def step(context: Context) -> Outcome:
        if os.getpid() == child:
            return Outcome(memory={"by": "new"})
        os.write(tell, b"!")
        os.read(listen, 1)
        if looks:
            context.ensure_mine()
            os.write(tell, b"acted")
        return Outcome(memory={"by": "old"}, commit=lambda: os.kill(os.getpid(), signal.SIGABRT))

    toys.command("a")
    toys.plan["a"] = [step]
    action = submit()
    pid = fork(lambda: toys.run(claim("old", lease_seconds=0.3)))
    assert os.read(started, 1) == b"!"
    os.kill(pid, signal.SIGSTOP)
    lease_runs_out(action)
    threading.Event().wait(0.4)
    toys.work()
    os.kill(pid, signal.SIGCONT)
    os.write(go, b"!")
    assert outcome(pid) == 0, "it must end by itself, without its commit"
    os.set_blocking(started, False)
    with pytest.raises(BlockingIOError):
        os.read(started, 1)
    action = fresh(action)
    assert (action.state, action.memory, action.attempt) == (ActionState.SUCCESS, {"by": "new"}, 2)
    assert [record.attempt for record in action.steps.all()] == [2]
