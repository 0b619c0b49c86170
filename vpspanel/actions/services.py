"""Submitting actions, and what people may do to those that exist."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from vpspanel.actions.command import registry
from vpspanel.actions.models import OPEN_STATES, Action, ActionState
from vpspanel.actions.transport import wake_on_commit
from vpspanel.errors import Refused
from vpspanel.events.actor import SYSTEM, Actor
from vpspanel.events.services import record_event

QUEUE_TIME = timedelta(minutes=15)  # what an action may wait to be begun, behind others


def open_action(resource_type: str, resource_id: int) -> Action | None:
    """The one action of that resource that has not ended."""
    return Action.objects.filter(
        resource_type=resource_type, resource_id=resource_id, state__in=OPEN_STATES
    ).first()


def submit(
    command: str,
    *,
    resource: tuple[str, int],
    actor: Actor,
    args: dict[str, Any] | None = None,
    project_id: int | None = None,
    group: str = "",
    group_limit: int = 4,
) -> Action:
    """Queue an action in the transaction in hand, and wake a worker when it commits.

    Raises `Refused("locked")` while another action of the resource is open: the
    database allows only one. Housekeeping that has not begun gives way.
    """
    now = timezone.now()
    if not registry.get(command).quiet:
        _clear_the_way(resource)
    try:
        with transaction.atomic():
            action = Action.objects.create(
                command=command,
                resource_type=resource[0],
                resource_id=resource[1],
                project_id=project_id,
                group=group,
                group_limit=group_limit,
                args=args or {},
                run_after=now,
                deadline=now + QUEUE_TIME + timedelta(seconds=registry.get(command).deadline),
                actor=actor.user,
            )
    except IntegrityError:
        raise locked(open_action(*resource)) from None
    wake_on_commit()
    return action


def gives_way(action: Action) -> bool:
    """Whether it is housekeeping that has not begun: what people ask for comes first."""
    return (
        action.state == ActionState.QUEUED
        and action.command in registry
        and registry.get(action.command).quiet
    )


def _clear_the_way(resource: tuple[str, int]) -> None:
    other = open_action(*resource)
    if other is not None and gives_way(other):
        with suppress(Refused):  # it has just begun
            cancel(other, actor=SYSTEM)


def record_done(
    command: str, *, resource: tuple[str, int], actor: Actor, project_id: int | None = None
) -> Action:
    """An action that has succeeded already: a receipt for what needed no worker."""
    now = timezone.now()
    return Action.objects.create(
        command=command,
        resource_type=resource[0],
        resource_id=resource[1],
        project_id=project_id,
        state=ActionState.SUCCESS,
        progress=100,
        run_after=now,
        started=now,
        finished=now,
        actor=actor.user,
    )


def locked(other: Action | None) -> Refused:
    """The refusal that names what is in the way."""
    doing = other.command.replace("_", " ") if other is not None else "another action"
    return Refused("locked", f"Please wait: {doing} is not finished yet.")


def cancel(action: Action, *, actor: Actor) -> None:
    """End an action that no worker has touched yet. Raises `Refused` once one has."""
    if action.command not in registry:
        raise Refused("conflict", f"This version of the panel does not know {action.command}.")
    command = registry.get(action.command)
    with transaction.atomic():
        ended = Action.objects.filter(pk=action.pk, state=ActionState.QUEUED, attempt=0).update(
            state=ActionState.CANCELLED,
            finished=timezone.now(),
            error_code="cancelled",
            error_message="Cancelled before it began.",
        )
        if not ended:
            raise Refused(
                "conflict",
                "It has begun already and can no longer be cancelled; it ends by itself.",
            )
        action.refresh_from_db()
        if command.on_error is not None:
            command.on_error(action)
        record_event(
            f"{command.name}.cancelled",
            f"{command.title}: cancelled",
            resource=(action.resource_type, action.resource_id),
            project_id=action.project_id,
            action_id=action.pk,
            actor=actor,
            public=not command.quiet,
        )


def call_off(action: Action, *, actor: Actor) -> None:
    """Let a running action walk the way back at its next chance; one that waits ends at once.

    Raises `Refused` if its command cannot be called off, or not any more.
    """
    command = registry.get(action.command) if action.command in registry else None
    if command is None or not command.can_be_called_off or not command.can_turn_back(action):
        raise Refused("conflict", "It can no longer be called off; it ends by itself.")
    if action.state == ActionState.QUEUED and action.attempt == 0:
        cancel(action, actor=actor)
        return
    with transaction.atomic():
        running = Action.objects.filter(pk=action.pk, state=ActionState.RUNNING, undoing=False)
        if not running.update(cancel_wanted=True):
            raise Refused("conflict", "Only what is going on can be called off.")
        running.filter(lease_until__isnull=True).update(run_after=timezone.now())
        record_event(
            "action.called_off",
            f"{command.title}: called off",
            resource=(action.resource_type, action.resource_id),
            project_id=action.project_id,
            action_id=action.pk,
            actor=actor,
            public=False,
        )
        wake_on_commit()


def retry_parked(action: Action, *, actor: Actor) -> None:
    """Let a parked action go on from where it stands. Raises `Refused` if it is not parked."""
    with transaction.atomic():
        if not _go_on(action, "action.retried", actor):
            raise Refused("conflict", "Only an action that needs attention can be tried again.")
        wake_on_commit()


def give_up(action: Action, *, actor: Actor) -> None:
    """Let a parked action walk the way back, so that it ends and what it holds is free again.

    Raises `Refused` if it is not parked, if it is on that way already, or if there is none.
    """
    known = registry.get(action.command) if action.command in registry else None
    can_turn_back = known is not None and known.can_turn_back(action)
    with transaction.atomic():
        parked = Action.objects.filter(pk=action.pk, state=ActionState.PARKED, undoing=False)
        if not can_turn_back or not parked.update(undoing=True):
            raise Refused(
                "conflict",
                "Only what needs attention and still has a way back can be given up; "
                "anything else can be tried again.",
            )
        _go_on(action, "action.given_up", actor)
        wake_on_commit()


def resume_group(group: str, code: str) -> int:
    """Let all actions of a group that were parked for `code` go on: their cause is gone."""
    parked = Action.objects.filter(
        state=ActionState.PARKED, group=group, detail__startswith=f"{code}:"
    )
    with transaction.atomic():
        count = sum(_go_on(action, "action.resumed", SYSTEM) for action in parked)
        if count:
            wake_on_commit()
    return count


def _go_on(action: Action, kind: str, actor: Actor) -> bool:
    """Unpark it, and say so to staff and to the pages that show it."""
    if not _unpark(action.pk, action.command):
        return False
    record_event(
        kind,
        f"{action.command} goes on",
        resource=(action.resource_type, action.resource_id),
        project_id=action.project_id,
        action_id=action.pk,
        actor=actor,
        public=False,
    )
    return True


def _unpark(pk: int, command: str) -> int:
    """Its time begins anew: how long it lay parked is not its fault."""
    now = timezone.now()
    seconds = registry.get(command).deadline if command in registry else 0.0
    return Action.objects.filter(pk=pk, state=ActionState.PARKED).update(
        state=ActionState.RUNNING,
        lease_until=None,
        run_after=now,
        tries=0,
        failing_since=None,
        deadline=now + timedelta(seconds=seconds),
        detail="",
    )


def nudge(resource: tuple[str, int]) -> bool:
    """What an action waits for may have happened: let it look now.

    One that pauses after a failure is left to its pause.
    """
    nudged = Action.objects.filter(
        resource_type=resource[0],
        resource_id=resource[1],
        state=ActionState.RUNNING,
        lease_until__isnull=True,
        failing_since__isnull=True,
    ).update(run_after=timezone.now())
    if nudged:
        wake_on_commit()
    return bool(nudged)
