"""What an action consists of: named steps, each safe to run twice, each with its way back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.utils import timezone

from vpspanel.actions.claims import Claim, save_progress
from vpspanel.actions.errors import Fail
from vpspanel.actions.models import Action


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step leaves behind.

    `memory` is merged into the action's memory. `commit` changes rows inside
    the same fenced transaction that records the step.
    """

    memory: Mapping[str, Any] = field(default_factory=dict)
    commit: Callable[[], None] | None = None


@dataclass(slots=True)
class Context:
    """What a step is given. `action` is a snapshot: steps read it and never save it."""

    action: Action
    claim: Claim
    entered: datetime = field(default_factory=timezone.now)  # the step in hand began then
    _said_at: float = 0.0
    _asked_at: float = 0.0

    def ensure_mine(self) -> None:
        """Raise `Fenced` if the lease was lost. Call before every call that changes a host."""
        self.claim.ensure_mine()

    def progress(self, percent: int, detail: str = "") -> None:
        """Show how far a long step is; at most once a second reaches the database."""
        now = time.monotonic()
        if now - self._said_at >= 1.0:
            self._said_at = now
            save_progress(self.claim, percent, detail)

    def check_not_called_off(self) -> None:
        """Raise `Fail` if somebody has called it off; at most once a second asks the database."""
        now = time.monotonic()
        if now - self._asked_at >= 1.0:
            self._asked_at = now
            if self.claim.rows().filter(cancel_wanted=True).exists():
                raise Fail("cancelled", "It was cancelled.")


StepFunction = Callable[[Context], Outcome | None]
UndoFunction = Callable[[Context], None]
EndFunction = Callable[[Action], None]


@dataclass(frozen=True, slots=True)
class Step:
    """One named step. `label` is what the customer reads while it runs.

    With `no_return`, there is no way back from the moment it begins, with
    `settles` from the moment it is recorded: a failure from there on parks the
    action instead of undoing it.
    """

    name: str
    label: str
    do: StepFunction
    undo: UndoFunction | None = None
    no_return: bool = False
    settles: bool = False
    when: Callable[[Action], bool] | None = None  # None: always

    def applies(self, action: Action) -> bool:
        """Whether this action has the step."""
        return self.when is None or self.when(action)


@dataclass(frozen=True, slots=True)
class Command:
    """A kind of action.

    `on_success` and `on_error` run inside the transaction that ends the
    action: rows only, no host. `on_error` runs after every undo has
    succeeded, and for a cancelled action.
    """

    name: str
    title: str  # "Create server"
    done: str  # "Server created"
    failed: str  # "Creating the server failed"
    steps: tuple[Step, ...]
    deadline: float  # seconds from its beginning
    on_success: EndFunction | None = None
    on_error: EndFunction | None = None
    quiet: bool = False  # housekeeping: leaves no line in the customer's timeline
    can_be_called_off: bool = False  # while it runs, and as long as there is a way back

    def step(self, name: str) -> Step:
        """The step of that name; KeyError if there is none."""
        for step in self.steps:
            if step.name == name:
                return step
        raise KeyError(name)

    def can_turn_back(self, action: Action) -> bool:
        """Whether what the action did may still be undone."""
        done = action.done()
        touched = done | {action.step}
        return not any(
            (step.no_return and step.name in touched) or (step.settles and step.name in done)
            for step in self.steps
        )

    def steps_of(self, action: Action) -> list[Step]:
        """The steps that this action has, in order."""
        return [step for step in self.steps if step.applies(action)]

    def percent(self, action: Action, done: int) -> int:
        """Progress after `done` steps."""
        return min(99, done * 100 // len(self.steps_of(action)))


class Registry:
    """All commands by name."""

    def __init__(self) -> None:
        self._commands: dict[str, Command] = {}

    def add(self, command: Command) -> Command:
        """Register; raises ValueError on a name that is taken or steps that share a name."""
        names = [step.name for step in command.steps]
        if command.name in self._commands or len(set(names)) != len(names):
            raise ValueError(f"command {command.name!r} or one of its steps is there twice")
        self._commands[command.name] = command
        return command

    def get(self, name: str) -> Command:
        """KeyError if unknown."""
        return self._commands[name]

    def __contains__(self, name: str) -> bool:
        return name in self._commands

    def __iter__(self) -> Iterator[Command]:
        return iter(self._commands.values())


registry = Registry()
