"""`manage.py monitor`: watches the hosts and keeps house."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import structlog
from django.core.management.base import BaseCommand, CommandParser
from django.db import close_old_connections

from hosts.monitor import Monitor, Pace
from vpspanel.servers.daemon import run_until_signal
from vpspanel.servers.draining import conduct_due
from vpspanel.servers.drift_finder import DriftFinder
from vpspanel.servers.housekeeping import keep_house
from vpspanel.servers.observe import Observer
from vpspanel.servers.restarts import start_due
from vpspanel.servers.suspending import stop_suspended

log = structlog.get_logger(__name__)

HOUSEKEEPING_SECONDS = 60.0
RESTART_SECONDS = 5.0
DRAIN_SECONDS = 3.0
SUSPENSION_SECONDS = 5.0
DRIFT_SECONDS = 60.0


class Command(BaseCommand):
    """Runs until SIGTERM or SIGINT."""

    help = "Watch the hosts and their guests, and keep house once a minute."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--hold",
            type=float,
            default=Pace().hold,
            help="seconds that a stop waits before it is believed: a reboot may follow",
        )
        parser.add_argument(
            "--list", type=float, default=60.0, help="seconds between full lists of each host"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        pace = Pace(hold=options["hold"], full_list=options["list"])
        monitor = Monitor(Observer(), pace)
        stopping = threading.Event()

        def stop() -> None:
            stopping.set()
            monitor.stop()

        parts = (
            (keep_house, HOUSEKEEPING_SECONDS),
            (start_due, RESTART_SECONDS),
            (conduct_due, DRAIN_SECONDS),
            (stop_suspended, SUSPENSION_SECONDS),
            (DriftFinder().find_drift, DRIFT_SECONDS),
        )
        for act, seconds in parts:
            threading.Thread(
                target=repeat, args=(act, seconds, stopping), name=act.__name__, daemon=True
            ).start()
        log.info("monitor_starts")
        run_until_signal(monitor.run, stop)


def repeat(act: Callable[[], object], seconds: float, stopping: threading.Event) -> None:
    """Do it now and again after so many seconds, until told to stop; a failure is logged."""
    while not stopping.is_set():
        try:
            act()
        except Exception:
            log.exception("housekeeping_failed", part=act.__name__)
        finally:
            close_old_connections()
        stopping.wait(seconds)
