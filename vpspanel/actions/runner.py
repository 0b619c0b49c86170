"""Carrying out one claimed action: forward step by step, or back.

No host call happens inside a transaction: a step acts first, and a short
fenced transaction then records it. Whatever the moment of a crash, the next
worker goes on from the recorded steps and runs at most one step again.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.db import InterfaceError, OperationalError
from django.utils import timezone

from vpspanel.actions.claims import Claim, write
from vpspanel.actions.command import Command, Context, Outcome, Registry, Step, UndoFunction
from vpspanel.actions.errors import Fail, Fenced, Park, Retry, StepError, Wait
from vpspanel.actions.models import Action, ActionState
from vpspanel.events.services import record_event

log = logging.getLogger(__name__)

MAX_TRIES = 5
MAX_TAKEOVERS = 10  # workers that may be lost in one step
TAKEN_OVER = "taken_over"  # in an action's memory: how many were
PATIENT_PAUSE = 3.0  # seconds between tries of a step that is patient
UNDO_GRACE = 60.0  # seconds that the way back may fail before it is parked
INTERNAL = "Something went wrong on our side. Our staff can see what."

# The connection is gone or the database is locked: nothing can be written down. The lease runs
# out and another claim goes on; any other database error is a bug and is treated as one.
DATABASE_LOST = (OperationalError, InterfaceError)

Observer = Callable[[Action, str], None]


class _Released(Exception):
    """The action waits, is parked or has ended: nothing is left for this claim."""


class Runner:
    """Runs claims with the commands of a registry. `observer` hears of every point (for tests)."""

    def __init__(self, registry: Registry, observer: Observer | None = None):
        self._registry = registry
        self._observe = observer or _ignore

    def run(self, claim: Claim) -> None:
        """Work until the action ends, waits, or is lost.

        Raises only what a lost database raises. A bug in the engine or in a
        commit parks the action: it never spins.
        """
        try:
            try:
                self._run(claim)
            except (_Released, Fenced, *DATABASE_LOST):
                raise
            except Exception as error:
                log.exception("action %s broke", claim.action_id)
                action = Action.objects.get(pk=claim.action_id)
                park = Park("internal_error", INTERNAL, detail=repr(error))
                raise self._park(Context(action, claim), park) from error
        except _Released:
            return
        except Fenced:
            log.warning("action %s was taken over by another worker", claim.action_id)

    def _run(self, claim: Claim) -> None:
        action = Action.objects.get(pk=claim.action_id)
        if action.command not in self._registry:
            raise self._park(
                Context(action, claim), Park("unknown_command", INTERNAL, detail=action.command)
            )
        command = self._registry.get(action.command)
        context = Context(action, claim)
        self._observe(action, "claimed")
        if context.claim.taken_over:
            self._count_takeover(context)
        if not action.undoing:
            try:
                self._forward(command, context)
                return
            except Fail as failure:
                if not command.can_turn_back(action):
                    park = Park(failure.code, failure.message, detail=failure.detail)
                    raise self._park(context, park) from failure
                self._turn_back(command, context, failure)
        self._back(command, context)

    def _count_takeover(self, context: Context) -> None:
        """A step that ends its worker each time must not do so for ever."""
        action = context.action
        count = action.memory.get(TAKEN_OVER, 0) + 1
        if count > MAX_TAKEOVERS:
            detail = f"{count} workers were lost in this step"
            raise self._park(context, Park("worker_lost", INTERNAL, detail=detail))
        action.memory = {**action.memory, TAKEN_OVER: count}
        write(context.claim, memory=action.memory)

    # --- forward ------------------------------------------------------------

    def _forward(self, command: Command, context: Context) -> None:
        action = context.action
        done = action.done()
        if not action.step:
            self._begin(command, context)
        for step in command.steps_of(action):
            if step.name in done:
                continue
            if command.can_be_called_off and command.can_turn_back(action):
                context.check_not_called_off()
            self._enter(command, context, step, done=len(done))
            outcome = self._do(context, step)
            action.memory = {**_learnt(action), **outcome.memory}
            write(
                context.claim,
                record=(step.name, False, context.entered),
                also=outcome.commit,
                memory=action.memory,
                tries=0,
                failing_since=None,
                detail="",
            )
            action.tries, action.failing_since = 0, None
            done.add(step.name)
            self._observe(action, f"recorded:{step.name}")
        self._succeed(command, context)

    def _begin(self, command: Command, context: Context) -> None:
        """Its time begins now: how long it queued behind others is not its fault."""
        action = context.action
        _in_time(action)
        action.deadline = timezone.now() + timedelta(seconds=command.deadline)

        def also() -> None:
            if action.attempt == 1 and not command.quiet:
                _tell(action, "action.started", f"{command.title}: started", public=False)

        write(context.claim, also=also, deadline=action.deadline)

    def _enter(self, command: Command, context: Context, step: Step, *, done: int) -> None:
        """Say which step is in hand before it acts: the way back starts from it."""
        context.entered = timezone.now()
        if context.action.step == step.name:
            return
        write(
            context.claim,
            also=lambda: _tell(context.action, "action.step", step.label, public=False),
            step=step.name,
            progress=command.percent(context.action, done),
        )
        context.action.step = step.name

    def _do(self, context: Context, step: Step) -> Outcome:
        """Run the step; a deadline that has passed is a failure like any other."""
        action = context.action
        self._observe(action, f"before:{step.name}")
        _in_time(action)
        try:
            context.ensure_mine()
            outcome = step.do(context) or Outcome()
        except Wait as wait:
            raise self._wait(context, wait.seconds, wait.detail) from None
        except Park as park:
            raise self._give_up(context, park) from park
        except Retry as retry:
            raise self._try_again(context, retry) from retry
        except (Fail, Fenced, *DATABASE_LOST):
            raise
        except Exception as error:
            log.exception("action %s: step %s broke", action.pk, step.name)
            raise self._try_again(context, _broke(step, error)) from error
        self._observe(action, f"after:{step.name}")
        return outcome

    # --- back ---------------------------------------------------------------

    def _turn_back(self, command: Command, context: Context, failure: Fail) -> None:
        """Record the failure; from here on, whoever works on it walks the way back."""
        action = context.action
        action.memory = _learnt(action)
        write(
            context.claim,
            also=lambda: _tell(action, "action.undo", "Cleaning up", public=False),
            memory=action.memory,
            undoing=True,
            tries=0,
            failing_since=None,
            error_code=failure.code,
            error_message=failure.message[:300],
            error_detail=failure.detail,
            detail="Cleaning up",
        )
        action.undoing, action.tries, action.failing_since = True, 0, None
        action.error_code, action.error_message = failure.code, failure.message
        self._observe(action, "turned")

    def _back(self, command: Command, context: Context) -> None:
        """Undo, last step first: what was recorded as done, and the step that was in hand."""
        action = context.action
        undone = set(action.steps.filter(undo=True).values_list("name", flat=True))
        touched = action.done() | {action.step}  # the one in hand may have left something, too
        for step in reversed(command.steps):
            if step.undo is None or step.name in undone or step.name not in touched:
                continue
            started = timezone.now()
            self._observe(action, f"before_undo:{step.name}")
            self._undo(context, step, step.undo)
            self._observe(action, f"after_undo:{step.name}")
            action.memory = _learnt(action)
            write(
                context.claim,
                record=(step.name, True, started),
                memory=action.memory,
                tries=0,
                failing_since=None,
            )
            action.tries, action.failing_since = 0, None
        self._fail(command, context)

    def _undo(self, context: Context, step: Step, undo: UndoFunction) -> None:
        try:
            context.ensure_mine()
            undo(context)
        except Wait as wait:
            raise self._wait(context, wait.seconds, wait.detail) from None
        except (Fenced, *DATABASE_LOST):
            raise
        except StepError as error:
            again = Retry(error.code, error.message, detail=str(error), patience=UNDO_GRACE)
            raise self._try_again(context, again) from error
        except Exception as error:
            log.exception("action %s: undo of %s broke", context.action.pk, step.name)
            again = Retry("internal_error", INTERNAL, detail=repr(error), patience=UNDO_GRACE)
            raise self._try_again(context, again) from error

    # --- pauses and ends ----------------------------------------------------

    def _wait(self, context: Context, seconds: float, detail: str) -> _Released:
        """Give the lease back until `seconds` have passed (or somebody nudges).

        Earlier failures of the step are forgotten: it got through.
        """
        write(
            context.claim,
            lease_until=None,
            run_after=timezone.now() + timedelta(seconds=seconds),
            tries=0,
            failing_since=None,
            detail=detail[:200],
        )
        return _Released()

    def _try_again(self, context: Context, retry: Retry) -> Fail | _Released:
        """Pause before the next try; raise `Fail`, or park, when there have been enough."""
        action = context.action
        now = timezone.now()
        since = action.failing_since or now
        tries = action.tries
        if retry.patience is not None:
            if (now - since).total_seconds() > retry.patience:
                return self._give_up(context, Park(retry.code, retry.message, detail=retry.detail))
            pause = PATIENT_PAUSE
        elif (tries := tries + 1) >= MAX_TRIES:
            raise Fail(retry.code, retry.message, detail=f"after {tries} tries: {retry.detail}")
        else:
            pause = 0.5 * 2**tries * random.uniform(0.75, 1.25)  # noqa: S311 - jitter, no secret
        self._pause(context, retry, now + timedelta(seconds=pause), tries=tries, since=since)
        return _Released()

    def _pause(
        self, context: Context, retry: Retry, until: datetime, *, tries: int, since: datetime
    ) -> None:
        changes: dict[str, Any] = {
            "lease_until": None,
            "run_after": until,
            "tries": tries,
            "failing_since": since,
            "detail": f"Trying again ({retry.message})"[:200],
        }
        if not context.action.undoing:
            counted = f", try {tries}" if retry.patience is None else ""
            changes["error_detail"] = f"{context.action.step}{counted}: {retry.detail}"
        write(context.claim, **changes)

    def _give_up(self, context: Context, park: Park) -> Fail | _Released:
        """Park it; but what nobody asked for fails instead, so that nobody waits for it."""
        if self._is_quiet(context.action) and not context.action.undoing:
            return Fail(park.code, park.message, detail=park.detail)
        return self._park(context, park)

    def _park(self, context: Context, park: Park) -> _Released:
        """Stop where it stands and say why; staff (or the host's return) will go on."""
        action = context.action
        changes: dict[str, Any] = {
            "state": ActionState.PARKED,
            "lease_until": None,
            "detail": f"{park.code}: {park.message}"[:200],
            "error_detail": f"{action.error_detail}\n{action.step}: {park.detail}".strip(),
        }
        if not action.undoing:
            changes |= {"error_code": park.code, "error_message": park.message[:300]}
        write(
            context.claim,
            also=lambda: _tell(
                action,
                "action.parked",
                park.message or park.code,
                public=not self._is_quiet(action),
            ),
            **changes,
        )
        return _Released()

    def _is_quiet(self, action: Action) -> bool:
        return action.command in self._registry and self._registry.get(action.command).quiet

    def _succeed(self, command: Command, context: Context) -> None:
        action = context.action

        def also() -> None:
            if command.on_success is not None:
                command.on_success(action)
            _tell(action, f"{command.name}.success", command.done, public=not command.quiet)

        write(
            context.claim,
            also=also,
            state=ActionState.SUCCESS,
            progress=100,
            step="",
            detail="",
            error_code="",
            error_message="",
            error_detail="",
            lease_until=None,
            finished=timezone.now(),
        )
        self._observe(action, "ended")

    def _fail(self, command: Command, context: Context) -> None:
        action = context.action

        def also() -> None:
            if command.on_error is not None:
                command.on_error(action)
            sentence = f"{command.failed}: {action.error_message}"
            _tell(action, f"{command.name}.error", sentence, public=not command.quiet)

        write(
            context.claim,
            also=also,
            state=ActionState.ERROR,
            detail="",
            lease_until=None,
            finished=timezone.now(),
        )
        self._observe(action, "ended")


def _in_time(action: Action) -> None:
    """Raise `Fail` if its deadline has passed."""
    if action.deadline is not None and timezone.now() > action.deadline:
        raise Fail(
            "deadline_exceeded",
            "This took longer than it may and was given up.",
            detail=f"deadline passed before or in step {action.step or 'one'}: {action.detail}",
        )


def _learnt(action: Action) -> dict[str, Any]:
    """Its memory, now that something else begins: lost workers are forgotten."""
    return {key: value for key, value in action.memory.items() if key != TAKEN_OVER}


def _ignore(action: Action, point: str) -> None:
    """The observer of production: hears nothing."""


def _broke(step: Step, error: Exception) -> Retry:
    return Retry("internal_error", INTERNAL, detail=f"{step.name}: {error!r}")


def _tell(action: Action, kind: str, message: str, *, public: bool = True) -> None:
    record_event(
        kind,
        message,
        resource=(action.resource_type, action.resource_id),
        project_id=action.project_id,
        action_id=action.pk,
        public=public,
        command=action.command,
        step=action.step,
    )
