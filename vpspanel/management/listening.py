"""What the commands that serve have in common: where they listen."""

from __future__ import annotations

import os
import socket
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from vpspanel.listen import CannotListen, open_listener
from vpspanel.web import with_web_environment


class ListeningCommand(BaseCommand):
    """Opens its socket, or takes the one that its parent has opened, and serves on it."""

    port = 8000  # unless PORT says another one

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--bind", default=os.environ.get("BIND") or "127.0.0.1")
        parser.add_argument("--port", type=int, default=int(os.environ.get("PORT") or self.port))
        parser.add_argument("--fd", type=int, help="an open socket, handed down by the parent")

    def handle(self, *args: Any, **options: Any) -> None:
        with_web_environment()
        try:
            if options["fd"] is not None:
                listener = socket.socket(fileno=options["fd"])
            else:
                listener = open_listener(options["bind"], options["port"])
        except (CannotListen, OSError) as error:
            raise CommandError(str(error)) from error
        self.serve(listener)

    def serve(self, listener: socket.socket) -> None:
        """Until SIGTERM or SIGINT."""
        raise NotImplementedError
