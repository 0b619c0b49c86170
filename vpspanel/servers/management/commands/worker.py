"""`manage.py worker`: carries out actions, and tells webhooks what happened."""

from __future__ import annotations

import threading
from typing import Any

import structlog
from django.core.management.base import BaseCommand, CommandParser

from vpspanel.actions.command import registry
from vpspanel.actions.worker import Worker
from vpspanel.servers import commands  # noqa: F401 - fills the registry
from vpspanel.servers.daemon import run_until_signal
from vpspanel.webhooks import sender

log = structlog.get_logger(__name__)


class Command(BaseCommand):
    """Runs until SIGTERM or SIGINT; what is left then is taken over by another worker."""

    help = "Carry out actions: build, start, stop and delete servers."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--threads", type=int, default=8, help="actions at once")
        parser.add_argument(
            "--grace", type=float, default=5.0, help="seconds that actions get to end in"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        log.info("worker_starts", commands=len(list(registry)), threads=options["threads"])
        webhooks = sender.Sender()
        worker = Worker(
            registry,
            threads=options["threads"],
            grace_seconds=options["grace"],
            connections_besides=sender.THREADS + 1,
        )

        def stop() -> None:
            webhooks.stop()
            worker.stop()

        threading.Thread(target=webhooks.run, name="webhooks", daemon=True).start()
        run_until_signal(worker.run, stop)
