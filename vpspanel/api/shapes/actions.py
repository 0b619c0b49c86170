"""Actions, in the words that hcloud clients wait for."""

from __future__ import annotations

from typing import Literal, TypedDict

from vpspanel.actions.models import Action, ActionState
from vpspanel.api.shapes.plain import moment, moment_or_none


class ActionResource(TypedDict):
    """What an action is about."""

    id: int
    type: str


class ActionError(TypedDict):
    """Why it failed."""

    code: str
    message: str


ActionStatus = Literal["running", "success", "error"]


class ActionShape(TypedDict):
    """One operation. `step` and `detail` say more than hcloud does of one that is open."""

    id: int
    command: str
    status: ActionStatus
    progress: int
    started: str
    finished: str | None
    resources: list[ActionResource]
    error: ActionError | None
    step: str
    detail: str


PRIMARY_IP = "primary_ip"  # as a type of resource, and as an argument of what servers do with one
COMMANDS = {
    "create": "create_server",
    "power_on": "start_server",
    "shutdown": "shutdown_server",
    "power_off": "stop_server",
    "reboot": "reboot_server",
    "reset": "reset_server",
    "rebuild": "rebuild_server",
    "delete": "delete_server",
    "change_type": "change_server_type",
    "suspend": "suspend_server",
    "unsuspend": "unsuspend_server",
}
STATES: dict[ActionStatus, tuple[ActionState, ...]] = {
    "running": (ActionState.QUEUED, ActionState.RUNNING, ActionState.PARKED),
    "success": (ActionState.SUCCESS,),
    "error": (ActionState.ERROR, ActionState.CANCELLED),
}
_STATUS = {state: status for status, states in STATES.items() for state in states}


def _resources(action: Action) -> list[ActionResource]:
    """What it is done to, and the address that it is about."""
    resources = [ActionResource(id=action.resource_id, type=action.resource_type)]
    if address := action.args.get(PRIMARY_IP):
        resources.append(ActionResource(id=address, type=PRIMARY_IP))
    return resources


def action_shape(action: Action) -> ActionShape:
    """An action."""
    status = _STATUS[ActionState(action.state)]
    failed = status == "error"
    return ActionShape(
        id=action.pk,
        command=COMMANDS.get(action.command, action.command),
        status=status,
        progress=100 if status == "success" else action.progress,
        started=moment(action.started or action.created),
        finished=moment_or_none(action.finished),
        resources=_resources(action),
        error=ActionError(
            code=action.error_code or "action_failed",
            message=action.error_message or "It failed.",
        )
        if failed
        else None,
        step=action.step if action.is_open else "",
        detail=action.detail if action.is_open else "",
    )
