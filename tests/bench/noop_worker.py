"""A worker process whose actions do nothing: `python -m tests.bench.noop_worker LOG`.

It writes a line `action, time of the claim` to LOG for each action that it has
claimed; the time is that of the wall clock, in seconds.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import django

django.setup()

from tests.bench import noop  # noqa: E402 - it imports models
from vpspanel.actions.models import Action  # noqa: E402
from vpspanel.actions.worker import Worker  # noqa: E402
from vpspanel.servers.daemon import run_until_signal  # noqa: E402


def main(log: str) -> None:
    """Work until SIGTERM, with the lease and the threads of production."""
    with Path(log).open("a", buffering=1) as file:

        def note(action: Action, point: str) -> None:
            if point == "claimed":
                file.write(f"{action.pk} {time.time()}\n")

        worker = Worker(noop.registry, threads=8, observer=note)
        run_until_signal(worker.run, worker.stop)


if __name__ == "__main__":
    main(*sys.argv[1:])
