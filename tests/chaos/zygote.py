"""Workers for real hosts. libvirt outlives no fork, so they come from a process that never used it.

The fork server is a fresh interpreter that imports this module; each worker is forked from it.
"""

from __future__ import annotations

import multiprocessing
import signal

import django
from django.db import connections

django.setup()

from tests.chaos.mortal import LONG_LEASE, dies_at  # noqa: E402
from vpspanel.actions.command import registry  # noqa: E402
from vpspanel.actions.worker import Worker  # noqa: E402


def _work(database: str, action_id: int, point: str) -> None:
    connections.settings["default"]["NAME"] = database
    observer = dies_at(action_id, point)
    Worker(registry, lease_seconds=LONG_LEASE, observer=observer).run_until_idle()


def killed_on_a_real_host(action_id: int, point: str) -> bool:
    """As `mortal.killed_at`, whatever the host."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    name = str(connections["default"].settings_dict["NAME"])
    worker = context.Process(target=_work, args=(name, action_id, point))
    worker.start()
    worker.join(120)
    if worker.is_alive():
        worker.kill()
        raise AssertionError(f"the worker hangs on its way to {point}")
    return worker.exitcode == -signal.SIGKILL
