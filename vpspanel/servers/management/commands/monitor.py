"""`manage.py monitor`: watches the hosts and keeps house."""

from __future__ import annotations

import threading
from typing import Any

import structlog
from django.core.management.base import BaseCommand, CommandParser
from django.db import close_old_connections

from hosts.monitor import Monitor, Pace
from vpspanel.servers.daemon import run_until_signal
from vpspanel.servers.housekeeping import keep_house
from vpspanel.servers.observe import Observer

log = structlog.get_logger(__name__)

HOUSEKEEPING_SECONDS = 60.0


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

        keeper = threading.Thread(target=keep, args=(stopping,), name="housekeeping", daemon=True)
        keeper.start()
        log.info("monitor_starts")
        run_until_signal(monitor.run, stop)


def keep(stopping: threading.Event) -> None:
    """Keep house now and once a minute, until told to stop; a failure is logged and tried again."""
    while not stopping.is_set():
        try:
            keep_house()
        except Exception:
            log.exception("housekeeping_failed")
        finally:
            close_old_connections()
        stopping.wait(HOUSEKEEPING_SECONDS)
