"""Commands that touch no host, for measuring the engine alone."""

from __future__ import annotations

import time

from vpspanel.actions.command import Command, Context, Outcome, Step, registry

__all__ = ["LONG", "NOOP", "registry"]

LONG_SECONDS = 1.5


def nothing(context: Context) -> Outcome:
    """Do nothing."""
    return Outcome()


def linger(context: Context) -> Outcome:
    """Take long enough to be killed in between."""
    time.sleep(LONG_SECONDS)
    return Outcome()


NOOP = registry.add(
    Command(
        "bench_noop",
        title="Nothing",
        done="Nothing was done",
        failed="Nothing failed",
        deadline=600,
        steps=(Step("nothing", "Doing nothing", nothing),),
    )
)
LONG = registry.add(
    Command(
        "bench_long",
        title="Something long",
        done="It was done",
        failed="It failed",
        deadline=600,
        steps=(Step("linger", "Taking time", linger),),
    )
)
