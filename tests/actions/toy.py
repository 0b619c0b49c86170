"""Toy commands for the engine: steps that note that they ran, and do or raise what a test plans."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.utils import timezone

from vpspanel.actions import services
from vpspanel.actions.claims import Claim, claim_next
from vpspanel.actions.command import Command, Context, Outcome, Registry, Step
from vpspanel.actions.models import Action, ActionState
from vpspanel.actions.runner import Runner
from vpspanel.actions.worker import Worker
from vpspanel.events.actor import SYSTEM

Planned = BaseException | Outcome | Callable[[Context], Outcome | None] | None


class Toys:
    """A registry of its own. `calls` says what ran, in order; `plan[step]` what comes next."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.calls: list[str] = []
        self.plan: dict[str, list[Planned]] = defaultdict(list)
        self.ended: list[str] = []

    def step(self, name: str, *, undo: bool = True, **options: Any) -> Step:
        """A step that can be undone, unless told otherwise."""

        def undo_it(context: Context) -> None:
            self._play(f"undo {name}", context)

        return Step(
            name,
            name.title(),
            lambda context: self._play(name, context),
            undo_it if undo else None,
            **options,
        )

    def command(self, *steps: str | Step, name: str = "toy", **options: Any) -> Command:
        """Register a command of those steps."""
        return self.registry.add(
            Command(
                name,
                title="Toy",
                done="Toy done",
                failed="Toy failed",
                steps=tuple(self.step(s) if isinstance(s, str) else s for s in steps),
                **{
                    "deadline": 600.0,
                    "on_success": lambda action: self.ended.append("success"),
                    "on_error": lambda action: self.ended.append("error"),
                    **options,
                },
            )
        )

    def _play(self, name: str, context: Context) -> Outcome | None:
        self.calls.append(name)
        planned = self.plan[name].pop(0) if self.plan[name] else None
        if isinstance(planned, BaseException):
            raise planned
        return planned(context) if callable(planned) else planned

    def work(self, **options: Any) -> int:
        """Run everything that is due, in this thread; how many claims that took."""
        return Worker(self.registry, **options).run_until_idle()

    def run(self, claim: Claim) -> None:
        """Carry out one claim."""
        Runner(self.registry).run(claim)


def submit(command: str = "toy", number: int = 1, **options: Any) -> Action:
    """Queue it for resource `number`."""
    return services.submit(command, resource=("toy", number), actor=SYSTEM, **options)


def claim(worker: str = "me", **options: Any) -> Claim:
    """Claim what is due; there must be something."""
    found = claim_next(worker, **options)
    assert found is not None
    return found


def fresh(action: Action) -> Action:
    """As the database has it."""
    return Action.objects.get(pk=action.pk)


def lease_runs_out(action: Action) -> None:
    """Whoever holds it is taken for dead."""
    past = timezone.now() - timedelta(seconds=1)
    held = Action.objects.filter(pk=action.pk, state=ActionState.RUNNING)
    held.filter(lease_until__isnull=False).update(lease_until=past)


def pause_is_over(action: Action) -> None:
    """It need not wait any longer."""
    Action.objects.filter(pk=action.pk, lease_until=None).update(run_after=timezone.now())
