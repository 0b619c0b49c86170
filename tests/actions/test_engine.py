"""The engine by itself: forward, back, pauses and ends, with steps that know no VPS."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import IntegrityError, OperationalError
from django.db.models import F
from django.utils import timezone

from tests.actions.toy import Toys, claim, fresh, lease_runs_out, pause_is_over, submit
from vpspanel.actions import services
from vpspanel.actions.command import Context, Outcome
from vpspanel.actions.errors import Fail, Park, Retry, Wait
from vpspanel.actions.models import Action, ActionState, StepRecord
from vpspanel.actions.runner import MAX_TRIES
from vpspanel.errors import Refused
from vpspanel.events.actor import SYSTEM
from vpspanel.events.models import Event

pytestmark = pytest.mark.both_databases

BUSY = Retry("busy", "It is busy.")
SILENT = Retry("silent", "It is silent.", patience=45.0)


def play(toys: Toys, action: Action, rounds: int = 20) -> Action:
    """Work, without waiting for any pause, until it has ended or is parked."""
    for _ in range(rounds):
        toys.work()
        if fresh(action).state != ActionState.RUNNING:
            break
        pause_is_over(action)
    return fresh(action)


def test_steps_run_in_order_and_are_recorded_once(toys: Toys) -> None:
    toys.command("a", "b", "c")
    toys.plan["a"] = [Outcome(memory={"key": 1})]
    toys.plan["b"] = [lambda context: Outcome(memory={"more": context.action.memory["key"] + 1})]
    action = submit()
    assert toys.work() == 1
    action = fresh(action)
    assert toys.calls == ["a", "b", "c"]
    assert (action.state, action.progress, action.lease_until) == (ActionState.SUCCESS, 100, None)
    assert action.memory == {"key": 1, "more": 2}
    assert [record.name for record in action.steps.all()] == ["a", "b", "c"]
    assert toys.ended == ["success"]


def test_a_failure_is_undone_last_step_first(toys: Toys) -> None:
    toys.command("a", toys.step("b", undo=False), "c", "d")
    toys.plan["c"] = [Fail("broken", "It broke.", detail="for staff")]
    action = play(toys, submit())
    assert toys.calls == ["a", "b", "c", "undo c", "undo a"]
    assert (action.state, action.error_code, action.error_message) == (
        ActionState.ERROR,
        "broken",
        "It broke.",
    )
    assert action.error_detail == "for staff"
    assert toys.ended == ["error"]


def test_retries_grow_are_bounded_and_end_in_undo(toys: Toys) -> None:
    toys.command("a", "b")
    toys.plan["b"] = [BUSY] * MAX_TRIES
    action = submit()
    for tries in range(1, MAX_TRIES):
        began = timezone.now()
        toys.work()
        waiting = fresh(action)
        pause = (waiting.run_after - began).total_seconds()
        assert 0.5 * 2**tries * 0.75 <= pause <= 0.5 * 2**tries * 1.25 + 2.0
        assert (waiting.state, waiting.tries, waiting.lease_until) == ("running", tries, None)
        assert toys.work() == 0, "it is not tried again before its pause is over"
        pause_is_over(action)
    toys.work()
    assert toys.calls == ["a", *["b"] * MAX_TRIES, "undo b", "undo a"]
    assert (fresh(action).state, fresh(action).error_code) == (ActionState.ERROR, "busy")


def test_a_step_that_breaks_is_tried_again_and_undone(toys: Toys) -> None:
    toys.command("a")
    toys.plan["a"] = [ZeroDivisionError("secret arithmetic")] * MAX_TRIES
    action = play(toys, submit())
    assert (action.state, action.error_code) == (ActionState.ERROR, "internal_error")
    assert "arithmetic" not in action.error_message
    assert "arithmetic" in action.error_detail


def test_patience_is_not_counted_and_parks_when_it_has_run_out(toys: Toys) -> None:
    toys.command("a")
    toys.plan["a"] = [SILENT] * 20
    action = submit()
    for _ in range(MAX_TRIES * 2):
        toys.work()
        pause_is_over(action)
    assert (fresh(action).state, fresh(action).tries) == (ActionState.RUNNING, 0)
    Action.objects.update(failing_since=timezone.now() - timedelta(seconds=46))
    toys.work()
    action = fresh(action)
    assert (action.state, action.error_code) == (ActionState.PARKED, "silent")
    assert action.detail == "silent: It is silent."
    assert toys.ended == []


def test_what_was_silent_for_long_still_gets_all_its_tries(toys: Toys) -> None:
    toys.command("a")
    toys.plan["a"] = [*[SILENT] * 8, *[BUSY] * (MAX_TRIES - 1)]
    assert play(toys, submit()).state == ActionState.SUCCESS


def test_waiting_says_that_nothing_is_wrong_any_more(toys: Toys) -> None:
    toys.command("a")
    toys.plan["a"] = [BUSY, SILENT, Wait(60, "Looking again later")]
    action = submit()
    for _ in range(3):
        pause_is_over(action)
        toys.work()
    action = fresh(action)
    assert (action.tries, action.failing_since) == (0, None)
    assert action.detail == "Looking again later"
    assert services.nudge(("toy", 1)), "an action that waits can be nudged"


def test_waiting_ends_with_a_nudge(toys: Toys) -> None:
    toys.command("a")
    toys.plan["a"] = [Wait(60)]
    action = submit()
    toys.work()
    assert toys.work() == 0
    assert services.nudge(("toy", 1))
    toys.work()
    assert (fresh(action).state, toys.calls) == (ActionState.SUCCESS, ["a", "a"])
    assert not services.nudge(("toy", 1))


def test_a_pause_after_a_failure_is_not_nudged(toys: Toys) -> None:
    toys.command("a")
    for failure in (BUSY, SILENT):
        toys.plan["a"].append(failure)
        action = submit()
        toys.work()
        assert not services.nudge(("toy", 1))
        assert play(toys, action).state == ActionState.SUCCESS


def test_parked_keeps_everything_and_goes_on_from_there(toys: Toys) -> None:
    toys.command("a", "b")
    toys.plan["b"] = [Park("odd", "Somebody must look.", detail="why")]
    action = submit()
    assert play(toys, action).state == ActionState.PARKED
    assert fresh(action).error_detail == "b: why"
    assert toys.work() == 0
    with pytest.raises(Refused):
        submit()
    services.retry_parked(action, actor=SYSTEM)
    assert play(toys, action).state == ActionState.SUCCESS
    assert toys.calls == ["a", "b", "b"]
    assert fresh(action).error_detail == ""
    with pytest.raises(Refused):
        services.retry_parked(action, actor=SYSTEM)


def test_what_was_parked_can_be_given_up(toys: Toys) -> None:
    toys.command("a", "b", toys.step("c", no_return=True))
    toys.plan["b"] = [Park("odd", "Somebody must look.")]
    action = submit()
    with pytest.raises(Refused):
        services.give_up(action, actor=SYSTEM)
    toys.work()
    services.give_up(fresh(action), actor=SYSTEM)
    with pytest.raises(Refused):
        services.give_up(fresh(action), actor=SYSTEM)
    action = play(toys, action)
    assert toys.calls == ["a", "b", "undo b", "undo a"]
    assert (action.state, action.error_code, toys.ended) == (ActionState.ERROR, "odd", ["error"])
    toys.plan["c"] = [Park("odd", "Somebody must look.")]
    beyond = play(toys, submit())
    assert beyond.state == ActionState.PARKED
    with pytest.raises(Refused):
        services.give_up(beyond, actor=SYSTEM)
    assert not fresh(beyond).undoing


def test_what_goes_on_after_parking_has_its_whole_time_again(toys: Toys) -> None:
    toys.command("a", deadline=3600.0)
    toys.plan["a"] = [Park("odd", "Somebody must look.")]
    action = submit()
    toys.work()
    Action.objects.update(deadline=timezone.now() - timedelta(hours=1))
    services.retry_parked(action, actor=SYSTEM)
    left = (fresh(action).deadline or timezone.now()) - timezone.now()
    assert 3500 < left.total_seconds() <= 3600


def test_only_what_was_parked_for_that_reason_is_resumed(toys: Toys) -> None:
    toys.command("a")
    parked = []
    for number, code in enumerate(("gone", "gone_too", "odd")):
        toys.plan["a"] = [Park(code, "Wait.")]
        parked.append(submit(number=number, group="host"))
        toys.work()
    assert services.resume_group("host", "gone") == 1
    assert services.resume_group("other", "odd") == 0
    assert [e.resource_id for e in Event.objects.filter(kind="action.resumed")] == [0]
    assert [fresh(action).state for action in parked] == ["running", "parked", "parked"]


def test_cancel_ends_only_what_has_not_begun(toys: Toys) -> None:
    toys.command("a")
    action = submit()
    services.cancel(action, actor=SYSTEM)
    assert (fresh(action).state, toys.ended) == (ActionState.CANCELLED, ["error"])
    assert toys.work() == 0
    begun = submit()
    claim()
    with pytest.raises(Refused):
        services.cancel(begun, actor=SYSTEM)
    assert fresh(begun).state == ActionState.RUNNING


def test_a_deadline_that_passes_is_undone(toys: Toys) -> None:
    toys.command("a", "b")
    toys.plan["b"] = [Wait(1)]
    action = submit()
    toys.work()
    Action.objects.update(deadline=timezone.now() - timedelta(seconds=1))
    action = play(toys, action)
    assert (action.state, action.error_code) == (ActionState.ERROR, "deadline_exceeded")
    assert toys.calls == ["a", "b", "undo b", "undo a"]


def test_no_way_back_from_a_step_of_no_return(toys: Toys) -> None:
    toys.command("a", toys.step("b", no_return=True))
    toys.plan["b"] = [Fail("broken", "It broke.")]
    action = play(toys, submit())
    assert (action.state, action.error_code) == (ActionState.PARKED, "broken")
    services.retry_parked(action, actor=SYSTEM)
    assert play(toys, action).state == ActionState.SUCCESS
    assert toys.calls == ["a", "b", "b"]


def test_no_way_back_once_a_step_has_settled_it(toys: Toys) -> None:
    """Until then there is one."""
    toys.command("a", toys.step("b", undo=False, settles=True), "c")
    toys.plan["b"] = [Fail("broken", "It broke.")]
    assert play(toys, submit()).state == ActionState.ERROR
    toys.calls.clear()
    toys.plan["b"] = [Outcome(commit=lambda: None)]
    toys.plan["c"] = [Fail("broken", "It broke.")]
    action = play(toys, submit())
    assert (action.state, toys.calls) == (ActionState.PARKED, ["a", "b", "c"])


def test_queueing_behind_others_takes_nothing_of_its_time(toys: Toys) -> None:
    toys.command("a", deadline=60.0)
    toys.plan["a"] = [Wait(60)]
    action = submit()
    behind = timedelta(minutes=10)
    Action.objects.update(created=F("created") - behind, deadline=F("deadline") - behind)
    toys.work()
    left = (fresh(action).deadline or timezone.now()) - timezone.now()
    assert 50 < left.total_seconds() <= 60
    assert Event.objects.filter(kind="action.started").count() == 1


def test_what_was_not_begun_in_time_is_not_begun(toys: Toys) -> None:
    toys.command(toys.step("a", no_return=True))
    action = submit()
    Action.objects.update(deadline=timezone.now() - timedelta(seconds=1))
    action = play(toys, action)
    assert (action.state, action.error_code) == (ActionState.ERROR, "deadline_exceeded")
    assert (toys.calls, toys.ended) == ([], ["error"])


def test_an_undo_that_fails_is_tried_again_and_then_parked(toys: Toys) -> None:
    toys.command("a")
    toys.plan["a"] = [Fail("broken", "It broke.")]
    toys.plan["undo a"] = [RuntimeError("no"), Fail("not_yet", "Not yet.")]
    action = play(toys, submit())
    assert (action.state, toys.calls) == (ActionState.ERROR, ["a", *["undo a"] * 3])
    toys.plan["a"] = [Fail("broken", "It broke.")]
    toys.plan["undo a"] = [Fail("not_yet", "Not yet.")] * 2
    action = submit()
    toys.work()
    pause_is_over(action)
    Action.objects.filter(pk=action.pk).update(failing_since=timezone.now() - timedelta(minutes=2))
    toys.work()
    action = fresh(action)
    assert (action.state, action.undoing) == (ActionState.PARKED, True)
    assert (action.error_code, action.error_message) == ("broken", "It broke.")
    services.retry_parked(action, actor=SYSTEM)
    assert play(toys, action).state == ActionState.ERROR


def test_an_unknown_command_is_parked(toys: Toys) -> None:
    toys.command("a")
    action = submit()
    Action.objects.update(command="of_another_version")
    assert play(toys, action).error_code == "unknown_command"
    assert fresh(action).state == ActionState.PARKED
    with pytest.raises(Refused):
        services.cancel(fresh(action), actor=SYSTEM)
    services.retry_parked(fresh(action), actor=SYSTEM)
    assert play(toys, action).state == ActionState.PARKED


def test_a_commit_that_the_database_refuses_parks(toys: Toys) -> None:
    def twice() -> None:
        StepRecord.objects.create(
            action=action, name="b", attempt=1, started=action.created, finished=action.created
        )

    toys.command("a", "b")
    toys.plan["b"] = [Outcome(commit=twice), Outcome(commit=twice)]
    action = submit()
    assert play(toys, action).state == ActionState.PARKED
    assert "IntegrityError" in fresh(action).error_detail
    assert [record.name for record in fresh(action).steps.all()] == ["a"]
    services.retry_parked(action, actor=SYSTEM)
    assert play(toys, action).state == ActionState.PARKED
    services.retry_parked(action, actor=SYSTEM)
    assert play(toys, action).state == ActionState.SUCCESS


def test_an_end_that_the_database_refuses_parks(toys: Toys) -> None:
    def refuse(_: Action) -> None:
        raise IntegrityError("no")

    toys.command("a", on_success=refuse)
    assert play(toys, submit()).state == ActionState.PARKED


@pytest.mark.parametrize("moment", ["in the step", "in the commit"])
def test_a_lost_database_is_waited_for(toys: Toys, moment: str) -> None:
    def lose(_: Context) -> Outcome:
        if moment == "in the step":
            raise OperationalError("server closed the connection")
        return Outcome(commit=break_down)

    def break_down() -> None:
        raise OperationalError("server closed the connection")

    toys.command("a", "b")
    toys.plan["b"] = [lose]
    action = submit()
    with pytest.raises(OperationalError):
        toys.run(claim())
    held = fresh(action)
    assert (held.state, held.tries, held.error_detail) == (ActionState.RUNNING, 0, "")
    assert toys.work() == 0, "its lease has not run out"
    lease_runs_out(action)
    toys.work()
    assert (fresh(action).state, toys.calls) == (ActionState.SUCCESS, ["a", "b", "b"])


def test_housekeeping_leaves_no_line_for_the_customer(toys: Toys) -> None:
    toys.command("a", quiet=True)
    toys.plan["a"] = [Fail("broken", "It broke.")]
    play(toys, submit())
    services.cancel(submit(), actor=SYSTEM)
    assert Event.objects.count() >= 2
    assert not Event.objects.filter(public=True).exists()


def test_housekeeping_fails_where_others_would_wait_for_staff(toys: Toys) -> None:
    toys.command("a", quiet=True)
    for error in (Park("odd", "Somebody must look."), Retry("silent", "No answer.", patience=-1)):
        toys.plan["a"] = [error]
        action = submit()
        toys.work()
        assert (fresh(action).state, fresh(action).error_code) == ("error", error.code)


def test_housekeeping_that_has_not_begun_gives_way(toys: Toys) -> None:
    toys.command("sweep", name="sweep", quiet=True)
    toys.command("a")
    waiting = submit("sweep")
    assert services.gives_way(waiting)
    asked = submit()
    assert fresh(waiting).state == "cancelled"
    with pytest.raises(Refused):
        submit("sweep")  # and never the other way round
    toys.work()
    assert fresh(asked).state == "success"
    begun = submit("sweep")
    assert claim() is not None
    assert not services.gives_way(fresh(begun))
    with pytest.raises(Refused):
        submit()
