"""`manage.py web`: the web process alone, for machines with a service manager."""

from __future__ import annotations

import os
import socket
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from vpspanel.listen import CannotListen, open_listener
from vpspanel.web import serve_web


class Command(BaseCommand):
    """Serves pages and websockets."""

    help = "Serve pages and websockets (no worker, no monitor)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--bind", default=os.environ.get("BIND") or "127.0.0.1")
        parser.add_argument("--port", type=int, default=int(os.environ.get("PORT") or 8000))
        parser.add_argument("--fd", type=int, help="an open socket, handed down by the parent")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            if options["fd"] is not None:
                listener = socket.socket(fileno=options["fd"])
            else:
                listener = open_listener(options["bind"], options["port"])
        except (CannotListen, OSError) as error:
            raise CommandError(str(error)) from error
        serve_web(listener)
